"""How ends of runs are told, over a store in memory and a broker that comes and goes."""

import logging
import time

import pytest

from holdfast_agent import outbox as module
from holdfast_agent.documents import Head, head_key
from holdfast_agent.metrics import Metrics
from holdfast_agent.openruns import OpenRuns
from holdfast_agent.outbox import Outbox, ending, event_id
from holdfast_agent.publishing import PublishError
from holdfast_agent.store import StoreError
from tests.agent.houses import Memory, head_of

WHERE = {"component": "broker", "topic": "results"}


class Telling:
    """An outbox, and what it published."""

    def __init__(self, monkeypatch):
        self.store, self.published, self.away = Memory(), [], False
        self.tries, self.refused = [], set()
        self.index = OpenRuns(self.store, pod="a")
        self.metrics = Metrics()
        self.outbox = Outbox(agent="a", sidecar=None, store=self.store, index=self.index, metrics=self.metrics)
        monkeypatch.setattr(module, "publish", self._publish)

    async def _publish(self, _, publication):
        self.tries.append(publication.id)
        if self.away or publication.id in self.refused:
            raise PublishError("away")
        self.published.append((publication.component, publication.topic, publication.id))

    def ended(self, run, **more):
        head = head_of(run, status="COMPLETED", result="done", ended=1.0, publish=WHERE, **more)
        self.store.documents[head_key(run)] = head.dump()
        return head

    def stored(self, run):
        return Head.load(self.store.documents[head_key(run)])


@pytest.fixture
def telling(monkeypatch):
    return Telling(monkeypatch)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch):
        self.now = float(round(time.time()))
        monkeypatch.setattr(time, "time", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


async def test_an_end_is_told_once_and_that_is_written_down(telling):
    head = telling.ended("r")
    assert await telling.outbox.tell(head)
    assert await telling.outbox.tell(telling.stored("r"))
    assert telling.published == [("broker", "results", event_id(head))]
    assert telling.stored("r").published is not None


@pytest.mark.parametrize("more", [{"status": "RUNNING"}, {"publish": None}, {"published": 2.0}], ids=["open", "nowhere", "told"])
async def test_what_is_not_to_be_told_is_not(telling, more):
    assert await telling.outbox.tell(head_of("r", **{"status": "COMPLETED", "ended": 1.0, "publish": WHERE} | more))
    assert telling.published == []


async def test_what_the_broker_does_not_take_stays_in_the_index_until_it_does(telling, clock):
    head, telling.away = telling.ended("r"), True
    assert not await telling.outbox.tell(head)
    assert "r" in await telling.index.all()
    telling.away = False
    clock.passes(2.0)
    assert await telling.outbox.tell_later(telling.stored("r"))
    await telling.index.flush()
    assert "r" not in await telling.index.all()
    assert len(telling.published) == 1


async def test_what_was_published_and_could_not_be_written_down_is_not_published_again_by_the_same_process(telling):
    head = telling.ended("r")
    telling.store.broken = {head_key("r")}
    with pytest.raises(StoreError):
        await telling.outbox.tell(head)
    telling.store.broken = set()
    assert await telling.outbox.tell(head)
    assert len(telling.published) == 1


async def test_the_end_of_a_run_whose_id_was_used_before_is_told(telling):
    former = telling.ended("r")
    telling.store.broken = {head_key("r")}
    with pytest.raises(StoreError):
        await telling.outbox.tell(former)
    telling.store.broken = set()
    later = telling.ended("r", created=former.created + 60)
    assert await telling.outbox.tell(former)
    assert telling.stored("r").untold
    assert await telling.outbox.tell(later)
    assert [event for *_, event in telling.published] == [event_id(former), event_id(later)]
    assert not telling.stored("r").untold


async def test_what_another_process_wrote_down_is_remembered_no_longer(telling):
    head = telling.ended("r")
    telling.store.broken = {head_key("r")}
    with pytest.raises(StoreError):
        await telling.outbox.tell(head)
    telling.store.broken = set()
    assert await telling.outbox.tell_later(telling.ended("r", created=head.created, published=2.0))
    telling.ended("r", created=head.created)
    assert await telling.outbox.tell(telling.stored("r"))
    assert len(telling.published) == 2


async def test_an_old_end_that_is_told_late_leaves_the_entry_of_a_newer_run_of_the_same_id_alone(telling):
    former = telling.ended("r")
    telling.store.documents[head_key("r")] = head_of("r", created=former.created + 60, publish=WHERE).dump()
    await telling.index.ensure("r")
    telling.index.admission.add("r")
    assert await telling.outbox.tell(former)
    await telling.index.flush()
    assert "r" in await telling.index.all()
    assert "r" in telling.index.admission


async def test_a_topic_that_never_takes_anything_is_tried_ever_more_seldom_and_complained_of_once(telling, clock, caplog):
    caplog.set_level(logging.INFO)
    telling.away = True
    heads = [telling.ended("r"), telling.ended("s")]
    for head in heads:
        assert not await telling.outbox.tell(head)
    for _ in range(240):  # the janitor of four hours
        clock.passes(60.0)
        for head in heads:
            await telling.outbox.tell_later(head)
    assert len(telling.tries) == 2 * 25
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    stands = telling.outbox.postponed(heads[0])
    assert stands.message == "away"
    assert stands.failed == 25
    assert stands.until - clock.now <= 900.0
    assert b'holdfast_results_unpublished{component="broker",topic="results"} 2.0' in telling.metrics.page()


async def test_what_waits_for_a_topic_is_tried_at_once_when_it_takes_something_again_but_only_once(telling, clock):
    telling.away = True
    waiting, poison = telling.ended("r"), telling.ended("s")
    for _ in range(12):
        clock.passes(900.0)
        for head in (waiting, poison):
            await telling.outbox.tell_later(head)
    telling.away, telling.refused = False, {event_id(poison)}
    for run in ("t", "u", "v"):
        clock.passes(1.0)
        assert await telling.outbox.tell(telling.ended(run))
        for name in ("r", "s"):
            await telling.outbox.tell_later(telling.stored(name))
    assert telling.tries.count(event_id(waiting)) == telling.tries.count(event_id(poison)) == 13
    assert telling.stored("r").published is not None
    assert telling.outbox.postponed(telling.stored("r")) is None
    assert b'holdfast_results_unpublished{component="broker",topic="results"} 1.0' in telling.metrics.page()


async def test_what_another_process_told_is_waited_for_no_longer(telling):
    head, telling.away = telling.ended("r"), True
    await telling.outbox.tell(head)
    assert await telling.outbox.tell_later(telling.ended("r", created=head.created, published=2.0))
    assert b'holdfast_results_unpublished{component="broker",topic="results"} 0.0' in telling.metrics.page()


def test_what_is_told_of_a_run_and_that_a_long_result_is_cut_off():
    failed = head_of("r", status="FAILED", error={"type": "ToolFailed", "message": "no"}, session="s", ended=0.5)
    told = ending(failed, "a")
    assert {name: told[name] for name in ("agent", "run", "status", "session_id", "error")} == {
        "agent": "a",
        "run": "r",
        "status": "FAILED",
        "session_id": "s",
        "error": {"type": "ToolFailed", "message": "no"},
    }
    assert "result" not in told
    assert told["ended"] == "1970-01-01T00:00:00.500Z"
    long = ending(head_of("r", status="COMPLETED", result="é" * 200_000), "a")
    assert (len(long["result"]), long["truncated"]) == (131_072, True)
