"""Who is measured: how each is started, asked and waited for. All of them find the same sidecar, store, model and tool."""

import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast_api.config import AgentConfig, HttpToolConfig, LimitsConfig, ModelConfig, ToolConfig

HERE = Path(__file__).resolve().parent
PINS = HERE / "dapr-agents.txt"
OURS = "holdfast"
TASK = "What is the weather in London? Number {number}"


@dataclass(frozen=True)
class Contender:
    """One of them.

    Attributes:
        workflow: the name to schedule; None for ours, which is asked by HTTP because a run begins with its head.
        argv: of the worker, from the port that is left for it.
        imports: what its program imports, to be timed.
        state: name of the store's component that holds workflows.
        others: more components of the same store.
    """

    name: str
    workflow: str | None
    python: Path
    argv: Callable[[int], list[str]]
    imports: str
    state: str = "state"
    others: tuple[str, ...] = ()


def contenders(library: Path) -> list[Contender]:
    """All of them.

    Args:
        library: the Python that has dapr-agents.
    """
    own = Path(sys.executable)
    worker = str(HERE / "dapr_agents_worker.py")
    made = [
        Contender(
            OURS,
            None,
            own,
            lambda port: ["-m", "holdfast_agent", "serve", "--host", "127.0.0.1", "--port", str(port)],
            "holdfast_agent.program",
        )
    ]
    for kind in ("async", "sync"):
        argv = [str(HERE / "floor_worker.py"), kind]
        made.append(
            Contender(f"floor-{kind}", "floor", own, lambda _, argv=argv: argv, "dapr.ext.workflow, dapr.clients, dapr.aio.clients")
        )
    for kind in ("lean", "tuned", "default"):
        others = ("agent-memory", "agent-registry") if kind == "default" else ()
        made.append(
            Contender(
                f"dapr-agents-{kind}",
                "dapr.agents.Bench.workflow",
                library,
                lambda _, kind=kind: [worker, kind],
                "dapr_agents",
                "agent-workflow",
                others,
            )
        )
    return made


def library_python(folder: Path) -> Path:
    """A Python with exactly the packages of `dapr-agents.txt`, made once, from where pip is configured to find packages."""
    python, done = folder / "bin" / "python", folder / "done.txt"
    if not done.exists() or done.read_text() != PINS.read_text():
        print(f"making an environment for dapr-agents in {folder} (a few minutes)", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", PINS], check=True)
        done.write_text(PINS.read_text())
    return python


def import_seconds(contender: Contender) -> float:
    """Wall time of its imports in a fresh process, without the interpreter's own start."""
    text = f"import time; began = time.perf_counter(); import {contender.imports}; print(time.perf_counter() - began)"
    out = subprocess.run([contender.python, "-W", "ignore", "-c", text], check=True, capture_output=True, text=True)
    return float(out.stdout.split()[-1])


def our_config(outside: str) -> AgentConfig:
    """Our agent with the same tool, called over HTTP."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    http = HttpToolConfig(url=f"{outside}/tools/get_weather", method="POST", input_schema=schema)
    return AgentConfig(
        name="bench",
        system_prompt="You are a weather assistant.",
        model=ModelConfig(component="llm", label="openai/outside", timeout_seconds=60),
        tools=(ToolConfig(name="get_weather", description="Current weather in a city.", timeout_seconds=60, http=http),),
        state_component="state",
        memory_component="state",
        limits=LimitsConfig(max_iterations=500),
        auth="none",
    )


def environ(base: Mapping[str, str], config: Path) -> dict[str, str]:
    """Variables of a worker."""
    return dict(base) | {
        "HOLDFAST_CONFIG": str(config),
        "HOLDFAST_LOG_LEVEL": "warning",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def write_config(path: Path, outside: str) -> None:
    """Put our configuration there."""
    path.write_text(json.dumps(our_config(outside).document()))


def task(number: int) -> str:
    """One task; all are different."""
    return TASK.format(number=f"{number}-{time.time_ns()}")


Json = dict[str, Any]
