"""One hash over every record of a run."""

from holdfast_agent.audit import Auditor, fingerprint, genesis, link
from holdfast_agent.audit.chain import mac
from holdfast_agent.heads import Head

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


def test_the_tail_names_the_records_since_the_newest_model_turn():
    chain = link(BEGUN, [result("r/1/model"), result("r/1/0"), result("r/1/1"), result("r/2/model"), result("r/2/0")])

    assert [name.split()[0] for name in chain["tail"]] == ["2/model", "2/0"]


def head(status="COMPLETED", **more):
    return Head(
        id="r",
        task="t",
        digest="d",
        revision="abc",
        created=1.0,
        deadline=2.0,
        max_iterations=3,
        longest_call=4.0,
        status=status,
        **more,
    )


def test_a_new_runs_head_holds_the_begin_of_its_chain_and_whom_it_is_bound_to():
    begun = Auditor("spiffe://cluster/ns/a/agent", "the-key").begun(head("RUNNING"))

    assert begun.audit == BEGUN | {"spiffe": "spiffe://cluster/ns/a/agent"}


def test_an_anchor_is_signed_over_the_run_its_owner_and_the_whole_chain():
    auditor = Auditor("spiffe://cluster/ns/a/agent", "the-key")
    anchor = auditor.sealed(auditor.begun(head()), link(BEGUN, [result("r/1/model")])).audit

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

    assert auditor.sealed(head(), BEGUN) == auditor.sealed(head(), BEGUN)
    assert auditor.sealed(head(), BEGUN).audit["hash"] != auditor.sealed(head("FAILED"), BEGUN).audit["hash"]
    assert auditor.sealed(head(), BEGUN).audit["hash"] != auditor.sealed(head(result="other"), BEGUN).audit["hash"]


def test_a_run_that_began_without_a_chain_gets_no_anchor():
    assert Auditor("", "key").sealed(head(), None) == head()


def test_without_a_key_there_is_an_anchor_without_a_signature():
    anchor = Auditor().sealed(head(), BEGUN).audit

    assert anchor["count"] == 1
    assert "mac" not in anchor
    assert "kid" not in anchor
