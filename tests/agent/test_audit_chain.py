"""One hash over every record of a run."""

from holdfast_agent.audit import Auditor, fingerprint, genesis, link
from holdfast_agent.audit.chain import mac

BEGUN = genesis(run="r", revision="abc", spiffe="spiffe://cluster/ns/a/agent", task_digest="d")


def result(key, document=None):
    return {"key": key, "digest": fingerprint(document or {"key": key})}


def test_a_chain_begins_with_who_does_what_and_nothing_else():
    assert BEGUN["count"] == 0
    for name in ("run", "revision", "spiffe", "task_digest"):
        fields = {"run": "r", "revision": "abc", "spiffe": "spiffe://cluster/ns/a/agent", "task_digest": "d"}
        assert genesis(**fields) == BEGUN
        assert genesis(**fields | {name: "other"})["hash"] != BEGUN["hash"]


def test_links_depend_on_what_came_in_which_order():
    first, second = result("r/1/0"), result("r/1/1")

    assert link(BEGUN, [first, second])["count"] == 2
    assert link(BEGUN, [first, second]) == link(link(BEGUN, [first]), [second])
    assert link(BEGUN, [first, second])["hash"] != link(BEGUN, [second, first])["hash"]
    assert link(BEGUN, [first]) != link(BEGUN, [first | {"key": "r/1/1"}])
    assert link(BEGUN, [first]) != link(BEGUN, [first | {"digest": second["digest"]}])


def test_results_that_stored_nothing_are_no_links():
    assert link(BEGUN, [{"key": "r/1/0", "error": {"class": "fatal"}}]) == BEGUN


def test_a_run_that_began_without_a_chain_has_none():
    assert link(None, [result("r/1/model")]) is None
    assert Auditor("", "key").seal({"id": "r"}, None) is None


def test_the_tail_names_the_records_since_the_newest_model_turn():
    chain = link(BEGUN, [result("r/1/model"), result("r/1/0"), result("r/1/1"), result("r/2/model"), result("r/2/0")])

    assert [name.split()[0] for name in chain["tail"]] == ["2/model", "2/0"]


def test_an_anchor_is_signed_over_the_run_its_owner_and_the_whole_chain():
    auditor = Auditor("spiffe://cluster/ns/a/agent", "the-key")
    head = {"id": "r", "status": "COMPLETED", "audit": auditor.begin("r", revision="abc", task_digest="d")}
    anchor = auditor.seal(head, link(BEGUN, [result("r/1/model")]))

    assert anchor["mac"] == mac("the-key", run="r", anchor=anchor)
    assert anchor["spiffe"] == "spiffe://cluster/ns/a/agent"
    assert anchor["count"] == 2
    assert mac("another", run="r", anchor=anchor) != anchor["mac"]
    for other in ({"count": 1}, {"hash": "0" * 64}, {"spiffe": "spiffe://cluster/ns/b/agent"}):
        assert mac("the-key", run="r", anchor=anchor | other) != anchor["mac"]
    assert mac("the-key", run="s", anchor=anchor) != anchor["mac"]
    assert "the-key" not in str(anchor)


def test_an_anchor_holds_the_head_as_it_ended():
    auditor = Auditor("", "the-key")
    head = {"id": "r", "status": "COMPLETED", "audit": auditor.begin("r", revision="abc", task_digest="d")}

    assert auditor.seal(head, BEGUN) == auditor.seal(head, BEGUN)
    assert auditor.seal(head, BEGUN)["hash"] != auditor.seal(head | {"status": "FAILED"}, BEGUN)["hash"]


def test_without_a_key_there_is_an_anchor_without_a_signature():
    anchor = Auditor().seal({"id": "r"}, BEGUN)

    assert anchor["count"] == 1
    assert "mac" not in anchor
    assert "kid" not in anchor
