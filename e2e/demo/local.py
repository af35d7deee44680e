"""The demo without a cluster: `holdfast_agent run`, killed with all its processes in the middle, and the same command typed again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from e2e.caller import MODEL, SLOW_TOOL, request
from e2e.cluster import shell, tools
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places
from e2e.cluster.progress import say, step
from e2e.demo import proof
from e2e.demo.cluster import TASK
from e2e.holdfast import ROOT

CLAIM = "everything was killed in the middle, the same command gave the answer, nothing that had finished was done again"
RUN_SECONDS, KILL_SECONDS = 240.0, 120.0
SHOWN_SECONDS = 1.0  # so that the screen shows the call before the kill


def show(here: Places) -> list[str]:
    """Run the demo; returns what is wrong with the proof, empty when it holds."""
    with step("find Dapr's programs, or build them (some minutes)"):
        tools.provide(here, ["dapr"])
    with TemporaryDirectory(prefix="holdfast-demo-") as folder:
        server, url = _scripted_model(Path(folder))
        try:
            return _show(Path(folder), url)
        finally:
            shell.end_group(server)


def _show(folder: Path, url: str) -> list[str]:
    command = [sys.executable, "-m", "holdfast_agent", "run", "examples/trip-planner.yaml", "--task", TASK]
    command += ["--map", f"http://{MODEL}:8080={url}", "--state-dir", str(folder / "state"), "--json"]
    say(f"\n  $ python -m holdfast_agent run examples/trip-planner.yaml --task '{TASK}'")
    first = _start(command)
    at_kill = _when_at_work(url, first)
    say(f"\n  >>>  kill -9 of the command, the agent and Dapr's processes      ({SLOW_TOOL} is at work)\n")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    say("  $ the same command again")
    second = _start(command)
    try:
        output, _ = second.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        shell.end_group(second)
        raise Fault(f"the run has not ended after {RUN_SECONDS:.0f} s") from None
    result: dict[str, Any] = json.loads(output) if output.strip() else {}
    found = proof.rows(request(f"{url}/ledger")["calls"], at_kill)
    say(f"\n  answer: {result.get('result') or result.get('error')}\n")
    print(proof.table(found))
    return proof.verdict(found, answer=result.get("result"), interrupted=SLOW_TOOL)


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    """The command as a user types it: its steps on our screen, its answer to us."""
    before = shell.die_with_parent()
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True, preexec_fn=before)  # noqa: PLW1509 - as in shell


def _scripted_model(folder: Path) -> tuple["subprocess.Popen[bytes]", str]:
    """Start the example's scripted model as a process; returns it and its URL."""
    documents = yaml.safe_load_all((ROOT / "examples/scripted-model.yaml").read_text())
    script = next(one["data"]["script.yaml"] for one in documents if one["kind"] == "ConfigMap")
    (folder / "script.yaml").write_text(script)
    log = folder / "scripted.log"
    arguments: list[str | Path] = [folder / "script.yaml", "--port", "0", "--ledger", folder / "ledger.jsonl"]
    with log.open("wb") as out:
        server = shell.start([sys.executable, "-m", "holdfast_agent.scripted", *arguments], out)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"http://\S+?:\d+", log.read_text())
        if found:
            return server, found.group()
        time.sleep(0.1)
    shell.end_group(server)
    raise Fault("the scripted model did not start", log=log)


def _when_at_work(url: str, command: "subprocess.Popen[bytes]") -> int:
    """Wait until the slow tool is at work; returns the number of the last call so far."""
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline and command.poll() is None:
        calls = request(f"{url}/ledger")["calls"]
        if any(one["name"] == SLOW_TOOL and not one.get("finished") for one in calls):
            time.sleep(SHOWN_SECONDS)
            return int(calls[-1]["number"])
        time.sleep(0.2)
    shell.end_group(command)
    raise Fault(f"the run did not come to {SLOW_TOOL}; what it said is above")


NEXT = """
Go on by hand:
  .venv/bin/python -m holdfast_agent run examples/assistant.yaml --task "Write a haiku about kelp."     # needs an API key
  .venv/bin/python -m holdfast_agent run --help
"""
