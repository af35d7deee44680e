"""Listeners that do not read, and listeners whose store is away: what a real connection does not show on demand."""

import asyncio
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from holdfast_agent.documents import Head
from holdfast_agent.http import events
from holdfast_agent.http.app import Server
from holdfast_agent.store import StoreError
from holdfast_agent.timelines import Timeline

HEAD = Head(id="r", task="go", digest="d", revision="abc", created=0.0, deadline=60.0, max_iterations=5, longest_call=60.0)


class House:
    """A run under way, whose head can be read unless `away`."""

    def __init__(self):
        self.head, self.away, self.looks = HEAD, False, 0

    async def find(self, run):
        self.looks += 1
        if self.away:
            raise StoreError("away")
        return self.head

    async def read(self, head, first, last, known=None):
        return Timeline()


@pytest.fixture
async def client():
    house, server = House(), Server("agent", token=None, ready=None)
    server.parts = SimpleNamespace(runs=house, timelines=house)
    async with TestClient(TestServer(server.app)) as client:
        client.house = house
        yield client


async def test_who_reads_nothing_is_cut_off_and_makes_room(client, monkeypatch):
    monkeypatch.setattr(events, "_SLOW_SECONDS", 0.05)
    monkeypatch.setattr(events, "LISTENERS", 1)

    async def stuck(self, data):
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(web.StreamResponse, "write", stuck)
        stream = await client.get("/runs/r/events")
        with pytest.raises(aiohttp.ClientError):
            await stream.read()
    assert (await client.get("/runs/r/events")).status == 200


async def test_a_crowd_at_one_run_costs_as_many_looks_as_one_listener_and_none_once_it_has_gone(client):
    streams = await asyncio.gather(*(client.get("/runs/r/events") for _ in range(50)))
    before = client.house.looks
    await asyncio.sleep(4 * events.POLL_SECONDS)
    assert 2 <= client.house.looks - before <= 10
    for stream in streams:
        stream.close()
    await asyncio.sleep(3 * events.POLL_SECONDS)
    before = client.house.looks
    await asyncio.sleep(3 * events.POLL_SECONDS)
    assert client.house.looks == before


async def test_a_stream_outlives_a_store_that_is_away_for_a_while(client):
    stream = await client.get("/runs/r/events")
    client.house.away = True
    await asyncio.sleep(2 * events.POLL_SECONDS)
    client.house.away, client.house.head = False, HEAD.completed("yes", HEAD.usage, 5.0)
    assert "event: end" in (await asyncio.wait_for(stream.read(), 10)).decode()
