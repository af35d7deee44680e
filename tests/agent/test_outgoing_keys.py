"""What tools and other agents get as key: the same for every attempt of a call, and no other run's, also of a run that had the same id."""

from dataclasses import replace

from aiohttp import web

from holdfast_agent.documents import Head, outgoing_key
from holdfast_agent.lineage import child_run


async def test_a_run_whose_id_was_another_ones_before_has_keys_of_its_own(desk):
    asked = []

    async def till(request):
        asked.append((request.path, request.headers["Idempotency-Key"]))
        return web.Response(status=503) if len(asked) == 1 else web.json_response({"ok": True})

    here = await desk(till, ("pay", {}), tools={"pay": {"compensate": "refund"}, "refund": {}})
    before = dict(here.store.documents)
    await here.change(lambda head: replace(head, epoch=1700))
    assert "error" in await here.tool()
    await here.another().tool(attempt=2, failed=1)
    await here.undo()

    # It was erased, and its id is used again.
    here.store.documents = before
    await here.change(lambda head: replace(head, epoch=1800))
    await here.another().tool()
    assert asked == [("/pay", "r/1/0~1700")] * 2 + [("/refund", "r/1/0~1700/undo"), ("/pay", "r/1/0~1800")]
    assert here.outcome().key == "r/1/0"


def test_a_run_that_an_older_version_began_keeps_its_keys():
    head = Head("r", "go", "d", "v", created=1.0, deadline=2.0, max_iterations=9, longest_call=60)
    assert "epoch" not in head.dump()
    assert outgoing_key("r/1/0/undo", head.epoch) == "r/1/0/undo"
    assert Head.load(replace(head, epoch=5).dump()).epoch == 5


def test_the_run_that_a_call_begins_at_another_agent_is_no_former_ones():
    assert len({child_run("planner", outgoing_key("r/1/0", epoch)) for epoch in (None, 1700, 1800)}) == 3
