"""What /readyz tells anybody who asks, without a token: what the agent waits for, and nothing of where its parts are."""

import asyncio
import json

from aiohttp.test_utils import TestClient, TestServer

from holdfast_agent import program
from holdfast_agent.program import Program
from holdfast_agent.settings import Settings
from holdfast_agent.store import StoreError
from holdfast_api import names
from tests.agent.agents import agent_config

SECRET = "failed to connect to `host=db.internal user=agents database=holdfast`"


class Revisions:
    """Cannot be stored until `back` is set."""

    def __init__(self):
        self.asked, self.back = asyncio.Event(), False

    async def publish(self):
        self.asked.set()
        if not self.back:
            raise StoreError(SECRET)


async def test_a_store_that_is_away_is_told_of_without_what_it_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(program, "_RETRY_SECONDS", 0.01)
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(agent_config("http://127.0.0.1:1").document()))
    serving = Program(Settings.read({names.ENV_CONFIG: str(path), names.ENV_APP_TOKEN: "t"}, host=None, port=None))
    revisions = Revisions()
    publishing = asyncio.ensure_future(serving._publish(revisions))
    await asyncio.wait_for(revisions.asked.wait(), 10.0)
    async with TestClient(TestServer(serving._server.app)) as client, client.get("/readyz") as answer:
        told = await answer.text()
        assert (answer.status, "the state store" in told) == (503, True)
    assert "db.internal" not in told
    assert "db.internal" in caplog.text
    revisions.back = True
    await asyncio.wait_for(publishing, 10.0)
