"""Order, duplicates, back-off: with time as a number."""

import asyncio

import pytest

from holdfast_operator.queue import FIRST_DELAY, MAX_DELAY, Queue, Retry, Schedule

A, B = ("ns", "a"), ("ns", "b")


def plain() -> Schedule:
    return Schedule(chance=lambda: 0.5)  # the middle of the jitter: no change


def test_a_key_is_due_once_however_often_it_is_added() -> None:
    schedule = plain()
    for _ in range(100):
        schedule.add(A, 1.0)

    assert schedule.pop(1.0) == A
    schedule.done(A)
    assert schedule.pop(1.0) is None
    assert len(schedule) == 0


def test_the_longest_due_comes_first_and_nothing_before_its_time() -> None:
    schedule = plain()
    schedule.add(A, 2.0)
    schedule.add(B, 1.0)

    assert schedule.pop(0.9) is None
    assert schedule.next_due() == 1.0
    assert schedule.pop(5.0) == B
    assert schedule.pop(5.0) == A


def test_an_earlier_time_wins_and_a_later_one_changes_nothing() -> None:
    schedule = plain()
    schedule.add(A, 10.0)
    schedule.add(A, 3.0)
    schedule.add(A, 20.0)

    assert schedule.pop(3.0) == A
    schedule.done(A)
    assert schedule.next_due() is None


def test_what_becomes_due_during_the_work_is_looked_at_again_afterwards() -> None:
    schedule = plain()
    schedule.add(A, 0.0)
    schedule.pop(0.0)
    schedule.add(A, 0.0)

    assert schedule.pop(9.0) is None
    schedule.done(A)
    assert schedule.pop(9.0) == A


def test_overtaken_times_do_not_pile_up() -> None:
    schedule = plain()
    for time in range(10_000, 0, -1):
        schedule.add(A, float(time))

    assert len(schedule._heap) < 200
    assert schedule.pop(1.0) == A


def test_back_off_doubles_to_a_cap_and_success_ends_it() -> None:
    schedule, waits = plain(), []
    for _ in range(12):
        schedule.add(A, 0.0)
        schedule.pop(1e9)
        waits.append(schedule.failed(A, 0.0))

    assert waits[:4] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert waits[-1] == MAX_DELAY
    schedule.pop(1e9)
    schedule.done(A)
    schedule.add(A, 0.0)
    schedule.pop(1e9)
    assert schedule.failed(A, 0.0) == FIRST_DELAY


def test_jitter_spreads_by_a_quarter_either_way() -> None:
    waits = []
    for chance in (0.0, 1.0):
        schedule = Schedule(chance=lambda chance=chance: chance)
        schedule.add(A, 0.0)
        schedule.pop(0.0)
        waits.append(schedule.failed(A, 0.0))

    assert waits == [0.75 * FIRST_DELAY, 1.25 * FIRST_DELAY]


def test_the_servers_retry_after_is_kept() -> None:
    schedule = plain()
    schedule.add(A, 0.0)
    schedule.pop(0.0)

    assert schedule.failed(A, 0.0, after=30.0) == 30.0
    assert schedule.pop(29.0) is None
    assert schedule.pop(30.0) == A


async def test_a_key_is_worked_on_by_one_worker_at_a_time() -> None:
    running, most, total = 0, 0, 0

    async def work(key: tuple[str, str]) -> None:
        nonlocal running, most, total
        running += 1
        most, total = max(most, running), total + 1
        await asyncio.sleep(0)
        queue.add(key) if total < 20 else finished.set()
        await asyncio.sleep(0)
        running -= 1

    finished, queue = asyncio.Event(), Queue(work, workers=8)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await asyncio.wait_for(finished.wait(), 5)
    task.cancel()

    assert most == 1


@pytest.mark.parametrize("error", [Retry("not now"), ValueError("a defect")], ids=["retry", "defect"])
async def test_an_error_never_ends_the_queue(error: Exception) -> None:
    tries = 0
    finished = asyncio.Event()

    async def work(_: tuple[str, str]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        finished.set()

    queue = Queue(work, workers=1)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await asyncio.wait_for(finished.wait(), 5)
    task.cancel()

    assert tries == 2


async def test_looking_again_later_needs_no_event() -> None:
    times: list[float] = []
    finished = asyncio.Event()

    async def work(_: tuple[str, str]) -> float | None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 2:
            finished.set()
        return 0.05

    queue = Queue(work, workers=1)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await asyncio.wait_for(finished.wait(), 5)
    task.cancel()

    assert times[1] - times[0] >= 0.05
