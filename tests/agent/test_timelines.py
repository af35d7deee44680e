"""How the documents of a run become what people are shown of it."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from holdfast_agent.documents import Head, ModelTurn, ToolCall, ToolOutcome, Usage
from holdfast_agent.http.steps import steps
from holdfast_agent.http.watch import Watch
from holdfast_agent.store import Entry
from holdfast_agent.timelines import Timelines

HEAD = Head(id="r", task="go", digest="d", revision="abc", created=0.0, deadline=60.0, max_iterations=50, longest_call=60.0)
USED = Usage(turns=1, tool_calls=1, input_tokens=10, output_tokens=5)


class Memory:
    """A store in memory that counts the keys of the widest request."""

    def __init__(self):
        self.documents, self.widest = {}, 0

    async def get(self, key):
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys):
        wanted = list(keys)
        self.widest = max(self.widest, len(wanted))
        return {key: Entry(self.documents[key], "1") for key in wanted if key in self.documents}


def _turn(number, *, tools=1):
    calls = tuple(ToolCall(f"c{call}", "search", "{}") for call in range(tools))
    return ModelTurn(key=f"r/{number}/model", content="", calls=calls, usage=USED, model="m", started=0.0, ended=1.0)


def _outcome(key, content="done"):
    return ToolOutcome(key=key, tool="search", call_id="c", content=content, is_error=False, started=0.0, ended=1.0)


@pytest.fixture
def store():
    return Memory()


async def test_a_long_timeline_is_read_in_pieces_and_holds_no_more_of_a_result_than_is_shown(store):
    for number in range(1, 46):
        store.documents |= {
            f"run/r/{number}/model": _turn(number).dump(),
            f"run/r/{number}/0": _outcome(f"r/{number}/0", "x" * 100_000).dump(),
        }
    timeline = await Timelines(store).read(HEAD, 3, 44)
    assert [turn.number for turn in timeline.turns] == list(range(3, 45))
    assert len(timeline.outcomes) == 42
    assert max(len(outcome.content) for outcome in timeline.outcomes.values()) <= 2001
    assert store.widest <= 40
    assert steps(HEAD, timeline)[1]["output"].endswith("x…")


async def test_what_was_undone_comes_in_the_order_in_which_it_was_the_newest_call_first(store):
    for number in range(1, 31):
        store.documents[f"run/r/{number}/model"] = _turn(number, tools=2).dump()
    for key in ("r/2/0", "r/2/1", "r/25/1"):
        store.documents[f"run/{key}/undo"] = _outcome(f"{key}/undo").dump()
    undone = await Timelines(store).undone(HEAD, 40)
    assert [outcome.key for outcome in undone] == ["r/25/1/undo", "r/2/1/undo", "r/2/0/undo"]


async def test_summaries_critics_and_the_session_have_their_places_among_the_steps(store):
    store.documents |= {
        "run/r/context": {"entries": [{"run": "q"}], "summary": None},
        "run/r/1/model": _turn(1).dump(),
        "run/r/1/0": _outcome("r/1/0").dump(),
        "run/r/2/compact": {"content": "so far", "through": 1, "usage": {"input_tokens": 7}},
        "run/r/2/model": _turn(2, tools=0).dump(),
        "run/r/2/evaluation": {"accepted": False, "feedback": "longer", "usage": {}},
    }
    head = replace(HEAD, session="s")
    found = steps(head, await Timelines(store).read(head, 1, 20), newest=False)
    assert [(step["id"], step["kind"]) for step in found] == [
        ("0.1", "recall"),
        ("1.1", "model"),
        ("1.2", "tool"),
        ("2.0", "compaction"),
        ("2.1", "model"),
        ("2.2", "evaluation"),
    ]
    assert (found[0]["entries"], found[3]["through"], found[3]["tokens"]["input"], found[5]["accepted"]) == (1, 1, 7, False)


class Slow(Memory):
    """Reads so slowly that the run goes on under it: `meanwhile` happens after the first request."""

    def __init__(self, meanwhile):
        super().__init__()
        self._meanwhile = meanwhile

    async def get_many(self, keys):
        found = await super().get_many(keys)
        self.documents |= self._meanwhile
        return found


async def test_a_turn_that_is_seen_is_never_seen_without_the_session_before_it():
    store, head = Slow({"run/r/context": {"entries": []}, "run/r/1/model": _turn(1).dump()}), replace(HEAD, session="s")
    first, second = [steps(head, await Timelines(store).read(head, 1, 20), newest=False) for _ in range(2)]
    assert [step["id"] for step in first] in ([], ["0.1"])
    assert [step["id"] for step in second] == ["0.1", "1.1", "1.2"]


async def test_turns_end_at_the_first_that_was_not_there_when_it_was_read(store):
    store.documents |= {f"run/r/{number}/model": _turn(number).dump() for number in (1, 2, 4, 5)}
    assert [turn.number for turn in (await Timelines(store).read(HEAD, 1, 40)).turns] == [1, 2]
    assert (await Timelines(store).read(HEAD, 3, 40)).turns == []


class Counting(Memory):
    """Keeps which keys were read, and how many results at most in one request."""

    def __init__(self):
        super().__init__()
        self.read, self.results = [], 0

    async def get_many(self, keys):
        wanted = list(keys)
        self.read += wanted
        self.results = max(self.results, sum(key.rpartition("/")[2].isdecimal() for key in wanted))
        return await super().get_many(wanted)


async def test_few_results_are_held_whole_at_a_time():
    store = Counting()
    for number in range(1, 21):
        store.documents[f"run/r/{number}/model"] = _turn(number, tools=10).dump()
        store.documents |= {f"run/r/{number}/{call}": _outcome(f"r/{number}/{call}").dump() for call in range(10)}
    assert len((await Timelines(store).read(HEAD, 1, 20)).outcomes) == 200
    assert store.results == 16


async def test_a_watched_run_has_each_result_read_once_unless_its_id_is_a_new_runs():
    store, head = Counting(), HEAD
    store.documents |= {"run/r/1/model": _turn(1, tools=2).dump(), "run/r/1/0": _outcome("r/1/0").dump()}

    async def find(_):
        await asyncio.sleep(0)
        return head

    parts, watch = SimpleNamespace(runs=SimpleNamespace(find=find), timelines=Timelines(store)), Watch("r")

    async def looked():
        store.read.clear()
        watch.notice()
        outcomes = (await watch.look(parts)).timeline.outcomes
        return set(outcomes), {key for key in store.read if key.rpartition("/")[2].isdecimal()}

    assert await looked() == ({"r/1/0"}, {"run/r/1/0", "run/r/1/1"})
    store.documents["run/r/1/1"] = _outcome("r/1/1").dump()
    assert await looked() == ({"r/1/0", "r/1/1"}, {"run/r/1/1"})
    assert await looked() == ({"r/1/0", "r/1/1"}, set())
    head = replace(HEAD, created=1.0)
    assert (await looked())[1] == {"run/r/1/0", "run/r/1/1"}
