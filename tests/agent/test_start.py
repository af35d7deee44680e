"""The program refuses to start on what it cannot serve, with one line that says what to mend."""

import json
import subprocess
import sys

import pytest

from tests.agent.agents import agent_config

CONFIG = agent_config("http://127.0.0.1:1").document()


def _serve(tmp_path, document, **environ):
    path = tmp_path / "agent.json"
    if document is not None:
        path.write_text(document if isinstance(document, str) else json.dumps(document))
    env = {"PATH": "/usr/bin", "HOLDFAST_CONFIG": str(path), "APP_API_TOKEN": "t"} | environ
    argv = [sys.executable, "-m", "holdfast_agent", "serve", "--host", "127.0.0.1", "--port", "1"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("document", "environ", "told"),
    [
        (None, {}, ["agent.json", "cannot be read", "HOLDFAST_CONFIG"]),
        ("{", {}, ["is not an AgentConfig"]),
        ({"kind": "AgentConfig"}, {}, ["is not an AgentConfig", "name", "Field required"]),
        (CONFIG | {"limits": {"maxIterations": "many"}}, {}, ["limits.maxIterations"]),
        (CONFIG, {"APP_API_TOKEN": ""}, ["APP_API_TOKEN is not set", "agent-app-token", "spec.access.auth"]),
        (CONFIG, {"HOLDFAST_LOG_LEVEL": "loud"}, ["HOLDFAST_LOG_LEVEL", "loud", "debug, info, warning, error"]),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused_in_one_line(tmp_path, document, environ, told):
    code, output = _serve(tmp_path, document, **environ)
    assert code == 2, output
    assert len(output.strip().splitlines()) == 1
    for words in told:
        assert words in output


def test_fields_of_a_newer_operator_are_ignored(tmp_path):
    code, output = _serve(tmp_path, CONFIG | {"fromTheFuture": True}, APP_API_TOKEN="")
    assert code == 2
    assert "APP_API_TOKEN" in output, "the document was accepted, the token was looked at next"


@pytest.mark.parametrize("port", ["-1", "65536", "http", "99999999999"])
def test_a_port_that_is_none_is_refused(port):
    argv = [sys.executable, "-m", "holdfast_agent", "serve", "--port", port]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tool_that_cannot_be_offered_ends_the_program_with_its_name(tmp_path):
    schema = {"type": "object", "properties": {}}
    tool = {
        "name": "search",
        "http": {"url": "http://127.0.0.1:1", "inputSchema": schema, "headersFrom": [{"name": "X", "env": "MISSING"}]},
    }
    argv = [sys.executable, "-m", "holdfast_agent", "serve", "--host", "127.0.0.1", "--port", "0"]
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(CONFIG | {"tools": [tool]}))
    env = {"PATH": "/usr/bin", "HOLDFAST_CONFIG": str(path), "APP_API_TOKEN": "t", "DAPR_HTTP_PORT": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "holdfast-agent: " in done.stderr
    assert "search" in done.stderr


def test_the_verbs_are_told_by_help():
    done = subprocess.run([sys.executable, "-m", "holdfast_agent", "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    for verb in ("serve", "run", "scripted"):
        assert verb in done.stdout
