from e2e.cluster import leftovers, mounts

BEFORE = """# Generated
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:MINE - [0:0]
-A INPUT -j MINE
COMMIT
"""
AFTER = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [1:60]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE
-A DOCKER -i br-0123456789ab -j RETURN
COMMIT
*filter
:INPUT ACCEPT [5:300]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:MINE - [0:0]
:LATER - [0:0]
-A INPUT -j MINE
-A FORWARD -j DOCKER-USER
-A FORWARD -m comment --comment "of somebody else" -j LATER
-A FORWARD -o br-0123456789ab -j DOCKER
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_only_what_bears_the_engines_mark_is_taken_back():
    calls = leftovers.undo_filter(BEFORE, AFTER)
    said = "\n".join(" ".join(call) for call in calls)
    assert "MINE" not in said
    assert "LATER" not in said
    assert ["-t", "nat", "-D", "POSTROUTING", "-s", "172.18.0.0/16", "!", "-o", "br-0123456789ab", "-j", "MASQUERADE"] in calls
    assert ["-t", "filter", "-D", "FORWARD", "-j", "DOCKER-USER"] in calls


def test_rules_go_before_their_chains_and_chains_are_emptied_before_they_go():
    calls = [call for call in leftovers.undo_filter(BEFORE, AFTER) if call[1] == "filter"]
    kinds = [call[2] for call in calls]
    assert kinds.index("-D") < kinds.index("-F") < kinds.index("-X")


def test_the_policy_that_was_there_comes_back():
    assert ["-t", "filter", "-P", "FORWARD", "ACCEPT"] in leftovers.undo_filter(BEFORE, AFTER)
    was_drop = BEFORE.replace("FORWARD ACCEPT", "FORWARD DROP")
    assert ["-t", "filter", "-P", "FORWARD", "ACCEPT"] not in leftovers.undo_filter(was_drop, AFTER)


def test_nothing_added_is_nothing_to_undo():
    assert leftovers.undo_filter(AFTER, AFTER) == []


def test_chains_that_were_there_before_stay():
    assert leftovers.undo_filter(AFTER.replace("br-0123456789ab", "br-x"), AFTER)[-1][2] != "-X"


def test_a_quoted_comment_is_one_word():
    assert leftovers.split_rule('-A FORWARD -m comment --comment "two words" -j X')[5:7] == ["two words", "-j"]


def test_empty_tables_that_were_not_there_go_and_others_stay():
    after = "*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n*raw\n:OUTPUT DROP [0:0]\nCOMMIT\n" + BEFORE
    assert leftovers.empty_tables(BEFORE, after) == ["nat"]
    assert leftovers.empty_tables(after, after) == []


def test_only_bridges_of_the_engines_networks_are_removed():
    network = "0123456789ab" + "c" * 52
    links = ["br-0123456789ab", "br-ffffffffffff", "docker0", "eth0"]
    assert leftovers.marked_links(["eth0"], links, [network]) == ["br-0123456789ab", "docker0"]
    assert leftovers.marked_links(["eth0", "docker0"], links, [network]) == ["br-0123456789ab"]


def test_mount_points_come_deepest_and_latest_first_and_only_those_below():
    info = "\n".join(f"1 0 0:1 / {point} rw - tmpfs x rw" for point in ("/c", "/c/a", "/cc", "/c/a/b", "/c/with\\040space", "/c/a"))
    points = mounts.mount_points(info)
    from pathlib import Path

    assert mounts.below(points, Path("/c")) == ["/c/a/b", "/c/a", "/c/with space", "/c/a", "/c"]
