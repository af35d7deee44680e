"""`holdfast_agent run`: one agent on this machine, one task.

The steps go to stderr as they happen, the answer alone to stdout. Everything that was done is kept in the state folder, so that the
same command after Ctrl-C, a crash or `kill -9` goes on with the unfinished run and repeats nothing that was finished.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast_agent.local import manifests
from holdfast_agent.local.client import TERMINAL, NoAnswer, View
from holdfast_agent.local.display import Timeline
from holdfast_agent.local.documents import Documents, read
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.session import Session, new_run_id, running
from holdfast_agent.local.workspace import AskedRun, Workspace, default_folder

ANSWERED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
_EXIT_CODES = """exit codes:
  0    the run was answered
  1    the run failed; why is on stderr
  2    it could not be run: the YAML, a secret, a missing program, another command in the same folder
  130  interrupted (Ctrl-C, SIGTERM); the run is kept
"""
_POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.task is None) == (options.resume is None):
        parser.error("give exactly one of --task TEXT and --resume [ID]")
    try:
        return asyncio.run(_main(options))
    except LocalError as error:
        _say(f"error: {error}")
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast_agent run",
        description="Run an agent on this machine, on Dapr's own processes and SQLite.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="YAML with the Agent and what it names")
    parser.add_argument("--task", help="what to do; - reads it from stdin")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="ID", help="go on with a run: the last unfinished one, or the one of that id"
    )
    parser.add_argument("--new", action="store_true", help="start another run even when one of the same task has not ended")
    parser.add_argument("--agent", metavar="NAME", help="which Agent, when the files hold several")
    parser.add_argument("--endpoint", metavar="URL", help="base URL of the model instead of spec.model.endpoint")
    parser.add_argument(
        "--map", action="append", default=[], type=_mapping, metavar="FROM=TO",
        help="put TO for FROM at the beginning of URLs of the model and of HTTP tools, for names that exist only in a cluster",
    )  # fmt: skip
    parser.add_argument("--secrets", action="append", default=[], type=Path, metavar="FILE", help="YAML with Secrets")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where runs are kept (default: ~/.local/state/holdfast/AGENT)")
    parser.add_argument("--json", action="store_true", help="print the whole run as JSON instead of its answer")
    return parser


def _mapping(text: str) -> tuple[str, str]:
    beginning, equals, instead = text.partition("=")
    if not (beginning and equals and instead):
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM=TO")
    return beginning, instead


async def _main(options: argparse.Namespace) -> int:
    documents = read([*options.files, *options.secrets], name=options.agent)
    agent = manifests.redirected(documents.agent, endpoint=options.endpoint, mappings=dict(options.map))
    documents = Documents(agent, documents.config_maps, documents.secrets, documents.components)
    workspace = Workspace(options.state_dir or default_folder(agent.metadata.name, os.environ, Path.home()))
    with workspace.alone():
        run = _choose(options, workspace)
        interrupted = asyncio.Event()
        with _signals(interrupted):
            try:
                outcome = await _until_ended(documents, workspace, run, interrupted)
            except LocalError as error:
                _say(f"error: {error}")
                _say(f"run {run.id} is kept; when that is mended, go on with: {_again(options)} --resume {run.id}")
                return REFUSED
    if outcome is None:
        _say(f"run {run.id} is kept; go on with: {_again(options)} --resume {run.id}")
        return INTERRUPTED
    return _report(outcome, as_json=options.json)


def _choose(options: argparse.Namespace, workspace: Workspace) -> AskedRun:
    """The run that the options mean; written down before anything is asked of the agent."""
    if options.resume is not None:
        known = {run.id: run for run in workspace.runs()}
        run = workspace.unfinished() if not options.resume else known.get(options.resume, AskedRun(options.resume, ""))
        if run is None:
            raise LocalError(f"there is no unfinished run in {workspace.folder}: start one with --task")
        _say(f"going on with run {run.id}")
        return run
    task = sys.stdin.read() if options.task == "-" else options.task
    if not task.strip():
        raise LocalError("the task is empty")
    unfinished = workspace.unfinished(task)
    if unfinished and not options.new:
        _say(f"going on with run {unfinished.id}, which has the same task and had not ended (--new starts another)")
        return unfinished
    run = AskedRun(new_run_id(), task)
    workspace.remember(run)
    return run


async def _until_ended(documents: Documents, workspace: Workspace, run: AskedRun, interrupted: asyncio.Event) -> View | None:
    """What the run came to; None when it was interrupted."""
    working = asyncio.create_task(_work(documents, workspace, run, interrupted))
    stopping = asyncio.create_task(interrupted.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        _say("stopping; what is in flight may finish first (once more: stop at once)")
        working.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await working
    return None


async def _work(documents: Documents, workspace: Workspace, run: AskedRun, interrupted: asyncio.Event) -> View:
    async with running(documents, workspace, os.environ, _say) as session:
        _say(f"run {run.id}, state in {workspace.folder}")
        if run.task:
            await _ask(session, run)
        try:
            outcome = await _watch(session, run.id)
        except LocalError:
            if not interrupted.is_set():
                raise
            raise asyncio.CancelledError from None
        workspace.remember(AskedRun(run.id, run.task, ended=True))
        return outcome


async def _ask(session: Session, run: AskedRun) -> None:
    while True:
        session.mend()
        try:
            return await session.client.run(run.task, run.id)
        except NoAnswer:
            await asyncio.sleep(_POLL_SECONDS)


async def _watch(session: Session, run: str) -> View:
    """Show the steps until the run has ended; gives the run."""
    timeline = Timeline()
    while True:
        session.mend()
        with contextlib.suppress(NoAnswer):
            status, steps = await session.client.steps(run, turn=timeline.turn)
            for news in timeline.news(steps):
                _say(news)
            if status in TERMINAL:
                return await session.client.status(run)
            if any(step["status"] == "retrying" for step in steps):
                for news in timeline.trouble(await session.client.status(run)):
                    _say(news)
        await asyncio.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _signals(interrupted: asyncio.Event) -> Iterator[None]:
    """The first signal asks for a stop; the second ends this process, and the kernel then ends the others."""
    loop = asyncio.get_running_loop()

    def received() -> None:
        if interrupted.is_set():
            os._exit(INTERRUPTED)
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _report(outcome: View, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(outcome, ensure_ascii=False, indent=2) + "\n")
    elif "result" in outcome:
        sys.stdout.write(f"{outcome['result']}\n")
    if outcome["status"] == "COMPLETED":
        return ANSWERED
    error = outcome.get("error") or {}
    _say(f"run {outcome['id']} ended as {outcome['status']}: {error.get('message', error)}")
    return FAILED


def _again(options: argparse.Namespace) -> str:
    words = ["python", "-m", "holdfast_agent", "run", *map(str, options.files)]
    for name in ("agent", "endpoint", "state_dir"):
        if value := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += [word for path in options.secrets for word in ("--secrets", str(path))]
    words += [word for pair in options.map for word in ("--map", "=".join(pair))]
    return shlex.join(words)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
