"""One flight per key, and a gate that lets those in the air come down."""

import asyncio

import pytest

from holdfast_agent.flights import Flights


class Work:
    """Counts how often it is begun, and ends when told to."""

    def __init__(self):
        self.begun, self.end = 0, asyncio.Event()

    async def __call__(self):
        self.begun += 1
        await self.end.wait()
        return f"result {self.begun}"


async def test_a_second_caller_joins_the_first_and_both_get_its_result():
    flights, work = Flights(), Work()
    callers = [asyncio.ensure_future(flights.join("k", work)) for _ in range(3)]
    await asyncio.sleep(0)
    work.end.set()
    assert await asyncio.gather(*callers) == ["result 1"] * 3
    assert work.begun == 1


async def test_a_key_that_has_landed_can_fly_again():
    flights, work = Flights(), Work()
    work.end.set()
    assert [await flights.join("k", work), await flights.join("k", work)] == ["result 1", "result 2"]
    assert flights.count == 0


async def test_a_caller_that_is_canceled_leaves_the_flight_in_the_air():
    flights, work = Flights(), Work()
    gone = asyncio.ensure_future(flights.join("k", work))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    joined = asyncio.ensure_future(flights.join("k", work))
    await asyncio.sleep(0)
    work.end.set()
    assert await joined == "result 1"


async def test_draining_waits_for_what_flies_lets_it_be_joined_and_parks_what_is_new():
    flights, work, late = Flights(), Work(), Work()
    flying = asyncio.ensure_future(flights.join("k", work))
    await asyncio.sleep(0.01)
    drained = asyncio.create_task(flights.drain())
    await asyncio.sleep(0.01)
    joined = asyncio.ensure_future(flights.join("k", work))
    parked = asyncio.ensure_future(flights.join("new", late))
    await asyncio.sleep(0.01)
    assert not drained.done()
    work.end.set()
    await asyncio.wait_for(drained, 1)
    assert await asyncio.gather(flying, joined) == ["result 1"] * 2
    assert (late.begun, parked.done()) == (0, False)
    parked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parked


async def test_a_failure_reaches_everybody_who_joined():
    async def breaks():
        await asyncio.sleep(0)
        raise LookupError("gone")

    flights = Flights()
    results = await asyncio.gather(flights.join("k", breaks), flights.join("k", breaks), return_exceptions=True)
    assert [str(error) for error in results] == ["gone", "gone"]
