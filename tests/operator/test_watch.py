"""A watch through all that an API server can do to it: it goes on where it was, or begins anew, and never in a storm."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast_operator import kinds, watch
from holdfast_operator.cluster import ApiError
from holdfast_operator.watch import FORBIDDEN_SECONDS, Followed, Watch

Event = tuple[str, dict[str, Any]]
BROKEN, BUSY, OLD, FORBIDDEN = (
    ApiError(0, "", "reset"),
    ApiError(429, "", "busy"),
    ApiError(410, "Expired", "old"),
    ApiError(403, "Forbidden", "no"),
)


def event(version: str, kind: str = "MODIFIED") -> Event:
    return kind, {"metadata": {"namespace": "n", "name": f"at-{version}", "resourceVersion": version}}


class Server:
    """Answers each watch by its script and then ends the test; notes what it was asked for."""

    def __init__(self, *script: list[Event | ApiError]) -> None:
        self.script, self.asked, self.told, self.lists, self.starts = list(script), list[str](), list[str](), 0, 0
        self.ended = asyncio.Event()

    async def watch(self, kind: kinds.Kind, scope: str | None, version: str, *, selector: str) -> AsyncIterator[Event]:
        assert (kind, scope, selector) == (kinds.SERVICE, "n", "mine")
        self.asked.append(version)
        if not self.script:
            self.ended.set()
            await asyncio.Event().wait()
        for part in self.script.pop(0):
            if isinstance(part, ApiError):
                raise part
            yield part

    async def take_list(self) -> str:
        self.lists += 1
        return f"list-{self.lists}"

    def tell(self, kind: str, live: dict[str, Any]) -> None:
        self.told.append(live["metadata"]["name"])

    def start_anew(self) -> None:
        self.starts += 1


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each pause, none of which is waited for."""
    found: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await real(0)

    monkeypatch.setattr(watch.asyncio, "sleep", sleep)
    return found


async def follow(server: Server, version: str = "5") -> None:
    followed = Watch(
        server, Followed(kinds.SERVICE, "n", "mine"), take_list=server.take_list, tell=server.tell, start_anew=server.start_anew
    )  # type: ignore[arg-type]
    running = asyncio.create_task(followed.run(version))
    await asyncio.wait_for(server.ended.wait(), 60)
    running.cancel()


@pytest.mark.parametrize("failure", [BROKEN, BUSY, ApiError(500, "InternalError", "etcdserver: no leader")], ids=["broken", "busy", "500"])
async def test_it_goes_on_where_it_was_and_skips_nothing(pauses: list[float], failure: ApiError) -> None:
    server = Server([event("6"), event("9", "BOOKMARK"), failure], [event("10")])

    await follow(server)

    assert server.asked == ["5", "9", "10"]
    assert (server.told, server.lists) == (["at-6", "at-10"], 0)


@pytest.mark.parametrize("failure", [OLD, FORBIDDEN], ids=["too-old", "forbidden"])
async def test_it_begins_with_a_list_where_it_cannot_go_on(pauses: list[float], failure: ApiError) -> None:
    server = Server([event("6"), failure], [event("10")])

    await follow(server)

    assert server.asked == ["5", "list-1", "10"]


async def test_a_version_that_is_only_ever_refused_is_given_up(pauses: list[float]) -> None:
    """As after an etcd that was put back to an earlier state: the server waits for a version that never comes."""
    server = Server(*([ApiError(504, "Timeout", "too large resource version")] for _ in range(5)))

    await follow(server)

    assert server.asked == ["5"] * 5 + ["list-1"]


async def test_without_a_version_a_list_comes_first_and_one_that_fails_is_taken_again(pauses: list[float]) -> None:
    server = Server()
    real, failures = server.take_list, [BROKEN, OLD]

    async def failing() -> str:
        if failures:
            raise failures.pop()
        return await real()

    server.take_list = failing  # type: ignore[method-assign]
    await follow(server, "")

    assert server.asked == ["list-1"]


async def test_pauses_grow_while_it_is_deaf_and_heed_retry_after(pauses: list[float]) -> None:
    waits = ApiError(429, "", "busy", retry_after=30.0)
    server = Server([], [], [], [event("6")], [waits], [])

    await follow(server)

    assert pauses[0] < 1 < pauses[2] < 5
    assert pauses[3] < 1  # it has heard something
    assert 30 < pauses[4] < 32  # not all watches at the same moment


async def test_a_right_to_watch_that_is_missing_is_told_once_and_asked_for_seldom(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", watch.logger.name)
    server = Server([FORBIDDEN], [FORBIDDEN], [FORBIDDEN], [event("6")], [FORBIDDEN])

    await follow(server)

    # What can be listed is listed meanwhile, as often.
    assert server.asked == ["5", "list-1", "list-2", "list-3", "6", "list-4"]
    assert [pause > FORBIDDEN_SECONDS for pause in pauses[:5]] == [True, True, True, False, True]
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG", "WARNING"]


async def test_a_namespace_that_may_not_be_listed_is_asked_for_seldom_and_told_by_nobody_here(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    server, left = Server(), [FORBIDDEN, FORBIDDEN]
    real = server.take_list

    async def failing() -> str:
        if left:
            raise left.pop()
        return await real()

    server.take_list = failing  # type: ignore[method-assign]
    await follow(server, "")

    assert [pause > FORBIDDEN_SECONDS for pause in pauses] == [True, True]
    assert not caplog.records


async def test_a_kind_that_is_not_served_is_told(pauses: list[float]) -> None:
    server = Server([ApiError(404, "", "404 page not found")])

    await follow(server)

    assert server.starts == 1


@pytest.mark.parametrize(("listed", "starts"), [("8", 1), ("9", 0), ("10", 0)], ids=["earlier", "same", "later"])
async def test_a_list_of_an_earlier_state_than_was_seen_is_told(pauses: list[float], listed: str, starts: int) -> None:
    """As after an etcd that was put back: all that it tells from now on would be older than what is remembered, and no news."""
    server, answers = Server([event("9"), OLD]), [BROKEN, listed]

    async def take_list() -> str:
        answer = answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    server.take_list = take_list  # type: ignore[method-assign]
    await follow(server)

    assert (server.asked, server.starts) == (["5", listed], starts)
