"""`holdfast_agent run`: one agent on this machine, one task.

The steps go to stderr as they happen, the answer alone to stdout. Everything that was done is kept in the state folder, so that the
same command after Ctrl-C, a crash or `kill -9` goes on with the unfinished run and repeats nothing that was finished.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast_agent.documents import ID_PATTERN
from holdfast_agent.local import manifests, trace
from holdfast_agent.local import options as common
from holdfast_agent.local.client import TERMINAL, NoAnswer, View
from holdfast_agent.local.decisions import ALL, Answers, Desk, Undecided, terminal
from holdfast_agent.local.display import OPEN, Timeline
from holdfast_agent.local.documents import Documents
from holdfast_agent.local.faults import LocalError, UnknownRunError
from holdfast_agent.local.frame import REFUSED, exit_code, say
from holdfast_agent.local.session import Session, new_run_id, running
from holdfast_agent.local.signals import INTERRUPTED, interruption
from holdfast_agent.local.workspace import AskedRun, Workspace

ANSWERED, FAILED, WAITS = 0, 1, 3
_EXIT_CODES = """exit codes:
  0    the run was answered
  1    the run failed; why is on stderr
  2    it could not be run: the YAML, a secret, a missing program, another command in the same folder
  3    the run waits for a person and nobody is at the terminal; how to decide is on stderr, the run is kept
  130  interrupted (Ctrl-C, SIGTERM); the run is kept
"""
_POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.task is None) == (options.resume is None):
        parser.error("give exactly one of --task TEXT and --resume [ID]")
    if options.session is not None and options.resume is not None:
        parser.error("--session belongs to --task: a run that is gone on with is in its session already")
    return exit_code(_main(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast_agent run",
        description="Run an agent on this machine, on Dapr's own processes and SQLite.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common.add(parser)
    parser.add_argument("--task", help="what to do; - reads it from stdin")
    parser.add_argument(
        "--resume", nargs="?", const="", metavar="ID", help="go on with a run: the last unfinished one, or the one of that id"
    )
    parser.add_argument(
        "--session", type=_session, metavar="ID", help="the conversation that the task belongs to; it begins with its first task"
    )
    parser.add_argument("--new", action="store_true", help="start another run even when one of the same task has not ended")
    for verb in ("approve", "reject"):
        parser.add_argument(
            f"--{verb}",
            action="append",
            default=[],
            type=_call,
            metavar="CALL",
            help=f"{verb} this call, TURN.CALL, when it is asked; or all",
        )
    parser.add_argument("--trace", action="store_true", help="print at the end what took how long and how many tokens, as a tree")
    parser.add_argument("--json", action="store_true", help="print the whole run as JSON instead of its answer")
    return parser


def _session(text: str) -> str:
    if not ID_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no session's id: use 1 to 64 letters, digits, - and _, a letter or digit first")
    return text


def _call(text: str) -> str:
    if text != ALL and not re.fullmatch(r"[0-9]+\.[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no call: use TURN.CALL as the command shows it, for example 2.0, or {ALL}")
    return text


async def _main(options: argparse.Namespace) -> int:
    documents = common.documents(options)
    workspace = common.workspace(options, documents)
    with workspace.alone():
        run = _choose(options, workspace)
        with interruption() as interrupted:
            try:
                outcome = await _until_ended(_Work(options, documents, workspace, run, interrupted))
            except UnknownRunError:
                say(f"error: there is no run {run.id} in {workspace.folder}: start one with --task TEXT, or give its --state-dir")
                return REFUSED
            except LocalError as error:
                say(f"error: {error}")
                say(f"run {run.id} is kept; when that is mended, go on with: {common.again(options)} --resume {run.id}")
                return REFUSED
            except Undecided as undecided:
                say("\n".join([f"run {run.id} waits for a person, and nobody is at the terminal:", *undecided.lines()]))
                call = undecided.questions[0]["call"] if undecided.questions else "CALL"
                say(f"it is kept; decide with: {common.again(options)} --resume {run.id} --approve {call}  (or --reject {call})")
                return WAITS
    if outcome is None:
        say(f"run {run.id} is kept; go on with: {common.again(options)} --resume {run.id}")
        return INTERRUPTED
    return _report(outcome, as_json=options.json)


def _choose(options: argparse.Namespace, workspace: Workspace) -> AskedRun:
    """The run that the options mean; written down before anything is asked of the agent."""
    if options.resume is not None:
        known = {run.id: run for run in workspace.runs()}
        run = workspace.unfinished() if not options.resume else known.get(options.resume, AskedRun(options.resume, ""))
        if run is None:
            raise LocalError(f"there is no unfinished run in {workspace.folder}: start one with --task")
        say(f"going on with run {run.id}")
        return run
    task = sys.stdin.read() if options.task == "-" else options.task
    if not task.strip():
        raise LocalError("the task is empty")
    unfinished = workspace.unfinished(task, options.session)
    if unfinished and not options.new:
        say(f"going on with run {unfinished.id}, which has the same task and had not ended (--new starts another)")
        return unfinished
    run = AskedRun(new_run_id(), task, session=options.session)
    workspace.remember(run)
    return run


async def _until_ended(work: "_Work") -> View | None:
    """What the run came to; None when it was interrupted."""
    working = asyncio.create_task(work.carry_out())
    stopping = asyncio.create_task(work.interrupted.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        say("stopping; what is in flight may finish first (once more: stop at once)")
        working.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await working
    return None


@dataclass(frozen=True)
class _Work:
    """One run, from its start to its end."""

    options: argparse.Namespace
    documents: Documents
    workspace: Workspace
    run: AskedRun
    interrupted: asyncio.Event

    async def carry_out(self) -> View:
        """What the run came to.

        Raises:
            LocalError: it could not be carried out.
            Undecided: it waits for a person who is not here.
        """
        run, workspace = self.run, self.workspace
        async with running(manifests.unprompted(self.documents), workspace, os.environ, say) as session:
            say(f"run {run.id}, state in {workspace.folder}")
            await self._begin(session)
            try:
                outcome = await self._watch(session)
            except LocalError:
                if not self.interrupted.is_set():
                    raise
                raise asyncio.CancelledError from None
            workspace.remember(replace(run, ended=True))
            if self.options.trace:
                say("\n".join(trace.tree(outcome, await session.client.all_steps(run.id))))
            return outcome

    async def _begin(self, session: Session) -> None:
        """Ask for the run, or let it go on; the agent may not answer at once."""
        client, run = session.client, self.run
        while True:
            session.mend()
            try:
                if run.task:
                    await client.run(run.task, run.id, session=run.session)
                if (await client.status(run.id))["status"] == "SUSPENDED":
                    await client.resume(run.id)
            except NoAnswer:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return

    async def _watch(self, session: Session) -> View:
        """Show the steps and ask what is to be decided, until the run has ended; gives the run."""
        client, run, timeline = session.client, self.run.id, Timeline()

        async def decide(call: str, approved: bool, reason: str) -> None:  # noqa: FBT001 - as it is sent
            await client.approve(run, call, approved=approved, reason=reason)

        desk = Desk(Answers.of(self.options.approve, self.options.reject), decide, say, terminal())
        with contextlib.closing(desk):
            while True:
                session.mend()
                with contextlib.suppress(NoAnswer):
                    status, steps = await client.steps(run, turn=timeline.turn)
                    for news in timeline.news(steps):
                        say(news)
                    if status in TERMINAL:
                        desk.tell_unused([])
                        return await client.status(run)
                    waiting = {step["status"] for step in steps if step["status"] in OPEN}
                    if desk.busy or waiting & {"retrying", "awaiting_approval"}:
                        view = await client.status(run)
                        for news in timeline.trouble(view):
                            say(news)
                        await desk.look(view.get("approvals", []), idle=waiting == {"awaiting_approval"})
                await asyncio.sleep(_POLL_SECONDS)


def _report(outcome: View, *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(outcome, ensure_ascii=False, indent=2) + "\n")
    elif "result" in outcome:
        sys.stdout.write(f"{outcome['result']}\n")
    if outcome["status"] == "COMPLETED":
        return ANSWERED
    error = outcome.get("error") or {}
    say(f"run {outcome['id']} ended as {outcome['status']}: {error.get('message', error)}")
    return FAILED
