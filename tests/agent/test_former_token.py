"""While its token is replaced an agent takes the former one from callers as well, and from nobody else."""

import json
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from holdfast_agent.http.app import Server
from holdfast_agent.settings import Settings
from holdfast_api import names

CONFIG = {"apiVersion": names.GROUP_VERSION, "kind": "AgentConfig", "name": "agent", "stateComponent": "s", "memoryComponent": "s"}
MODEL = {"model": {"component": "m", "label": "echo"}}


@pytest.mark.parametrize(("sent", "status"), [("new", 503), ("old", 503), ("other", 401), ("", 401)], ids=["new", "old", "other", "none"])
async def test_the_token_and_the_former_one_admit_callers(sent: str, status: int) -> None:
    server = Server("agent", token="new", former_token="old", ready=None)
    async with TestClient(TestServer(server.app)) as client, client.get("/runs", headers={"Authorization": f"Bearer {sent}"}) as answer:
        assert answer.status == status  # 503: admitted, but nothing is behind it here


async def test_the_sidecar_shows_the_present_token_for_events() -> None:
    server = Server("agent", token="new", former_token="old", sidecar_token="new", ready=None)
    async with (
        TestClient(TestServer(server.app)) as client,
        client.post("/events/topic", json={}, headers={"dapr-api-token": "old"}) as answer,
    ):
        assert answer.status == 403


@pytest.mark.parametrize(("former", "found"), [("old", "old"), ("", None), (None, None)], ids=["set", "empty", "unset"])
def test_it_comes_from_the_environment_and_may_be_absent(tmp_path: Path, former: str | None, found: str | None) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(CONFIG | MODEL))
    environ = {names.ENV_CONFIG: str(path), names.ENV_APP_TOKEN: "new"} | ({} if former is None else {names.ENV_FORMER_TOKEN: former})

    assert Settings.read(environ, host=None, port=None).former_token == found
