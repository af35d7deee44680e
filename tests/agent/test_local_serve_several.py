"""`holdfast_agent serve team.yaml`: all Agents of the files side by side, which find each other."""

import asyncio
import json
import re
import signal

import pytest
import yaml

from holdfast_agent.local.beside import Beside
from holdfast_agent.local.documents import read, read_all
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.manifests import plan
from holdfast_agent.local.workspace import CONFIG, named_folder
from holdfast_api.v1alpha1 import Agent
from tests.agent.commands import Caller


def _agent(name, url="http://127.0.0.1:9", **spec):
    model = {"provider": "openai", "name": "scripted", "endpoint": f"{url}/v1"}
    metadata = {"name": name}
    return {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Agent", "metadata": metadata, "spec": {"model": model, **spec}}


class Served(Caller):
    """One of them, and who calls it."""

    def __init__(self, name, said):
        super().__init__(*re.search(rf"serving {name} at (\S+), state in \S+\nTOKEN=(\S+)", said).groups())

    async def answer(self, task, eventually):
        status, accepted = await self.ask("POST", "/run", json={"task": task})
        assert status == 202, accepted

        async def ended():
            _, run = await self.ask("GET", f"/runs/{accepted['instance_id']}")
            return run if run["status"] != "RUNNING" else None

        return await eventually(ended, within=120)


async def _started(command):
    process = await command.start("--port", "0", verb="serve")
    said = await command.line(process, "serving writer")
    return process, said + await command.line(process, "approvals/TURN.CALL")


@pytest.mark.dapr
async def test_agents_of_one_file_call_each_other_by_tool_and_as_a_team(serve_script, command, eventually):
    judged = {"toolCalls": [{"name": "judge", "arguments": {"task": "judge it"}}]}
    asked = {"toolCalls": [{"name": "ask_teammate", "arguments": {"name": "critic", "task": "judge it"}}]}
    rules = [
        {"task": "judge it", "turns": [{"answer": "too long"}]},
        {"task": "by tool", "turns": [judged, {"answer": "short"}]},
        {"task": "by team", "turns": [asked, {"answer": "shorter"}]},
    ]
    url = await serve_script({"rules": rules})
    critic = _agent("critic", url, team="desk", description="Judges texts", access={"callers": ["writer"]})
    writer = _agent("writer", url, team="desk", tools=[{"name": "judge", "agent": {"name": "critic"}}])
    command.write(critic, writer)
    process, said = await _started(command)
    assert "note:" not in said
    served = {name: Served(name, said) for name in ("critic", "writer")}
    for task, answer in (("by tool", "short"), ("by team", "shorter")):
        run = await served["writer"].answer(task, eventually)
        assert (run["status"], run["result"]) == ("COMPLETED", answer)
        _, page = await served["writer"].ask("GET", f"/runs/{run['id']}/steps")
        [call] = [step for step in page["steps"] if step["kind"] == "tool"]
        assert (call["status"], "too long" in call["output"]) == ("completed", True), call
        _, child = await served["critic"].ask("GET", f"/runs/{call['child_run']}")
        assert (child["callers"], child["result"]) == (["writer"], "too long")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(90):
        await process.communicate()
    assert process.returncode == 0
    assert command.left == {}
    assert {place.name for place in (command.folder / "state" / "holdfast").iterdir()} == {"critic", "writer"}


def _files(tmp_path, *documents):
    path = tmp_path / "agents.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return [path]


def _beside(tmp_path, *documents):
    return Beside(tuple(Agent.model_validate(document) for document in documents), tmp_path)


def test_who_is_not_served_and_who_would_be_refused_in_a_cluster_is_told_beforehand(tmp_path):
    writer = _agent("writer", tools=[{"name": name, "agent": {"name": name}} for name in ("critic", "editor", "nobody")])
    together = _beside(tmp_path, writer, _agent("critic", access={"callers": ["writer"]}), _agent("editor"))
    [agent, *_] = together.agents
    assert together.here(agent) == {"critic", "editor"}
    assert together.refused(agent) == ["in a cluster editor refuses calls of writer: put it into spec.access.callers there"]
    [note] = plan(read(_files(tmp_path, writer)), tmp_path / "state.db", together.here(agent)).notes
    assert note.startswith("calls of nobody fail and the model is told so: serve all of them together")
    elsewhere = _agent("critic") | {"metadata": {"name": "critic", "namespace": "other"}}
    assert _beside(tmp_path, writer, elsewhere).here(agent) == frozenset()


def test_all_agents_of_the_files_are_read_or_the_one_that_is_named(tmp_path):
    files = _files(tmp_path, _agent("a"), _agent("b"))
    assert [found.agent.metadata.name for found in read_all(files)] == ["a", "b"]
    assert [found.agent.metadata.name for found in read_all(files, name="b")] == ["b"]
    with pytest.raises(LocalError, match="there is no Agent 'c'; there are: a, b"):
        read_all(files, name="c")
    with pytest.raises(LocalError, match="there are two Agents 'a': rename one of them"):
        read_all(_files(tmp_path, _agent("a"), _agent("a")))


def test_an_agent_keeps_its_folder_however_it_is_served_the_next_time(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    _served(alone, "writer")
    for name in ("writer", "critic"):
        _served(together / name, name)
    for several in (False, True):
        assert named_folder(alone, "writer", several=several) == alone
        assert named_folder(together, "writer", several=several) == together / "writer"
    assert named_folder(alone, "critic", several=True) == alone / "critic"
    assert named_folder(tmp_path, "writer", several=False) == tmp_path
    assert named_folder(tmp_path, "logs", several=True) == tmp_path / "logs"
    with pytest.raises(LocalError, match="belongs to the Agent 'writer': choose another with --state-dir"):
        named_folder(alone, "logs", several=True)
    (alone / CONFIG).write_text("[")
    assert named_folder(alone, "writer", several=True) == alone / "writer"


def _served(folder, name):
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"name": name}))
