"""`holdfast_agent serve FILE`: an agent on this machine, with its HTTP API, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from holdfast_agent.local import options as common
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.frame import exit_code, say
from holdfast_agent.local.session import Session, running
from holdfast_agent.local.signals import interruption
from holdfast_api import names

STOPPED = 0
_POLL_SECONDS = 0.2
_LAST_PORT = 65535
_EXIT_CODES = """exit codes:
  0    stopped (Ctrl-C, SIGTERM); runs that had not ended are kept
  2    it could not be served: the YAML, a secret, a missing program, another command in the same folder
  130  stopped at once by a second Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; gives the exit code."""
    return exit_code(_main(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="holdfast_agent serve",
        description="Serve an agent on this machine, on Dapr's own processes and SQLite. Only this machine can call it.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common.add(parser)
    parser.add_argument("--port", type=_port, default=names.APP_PORT, help="port of the HTTP API (default: %(default)s; 0: any free one)")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 0 (any free one) to {_LAST_PORT}")
    return int(text)


async def _main(given: argparse.Namespace) -> int:
    documents = common.documents(given)
    workspace = common.workspace(given, documents)
    with workspace.alone(), interruption() as interrupted:
        serving = asyncio.create_task(_serve(running(documents, workspace, os.environ, say, port=given.port), workspace.folder))
        stopping = asyncio.create_task(interrupted.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            say("stopping; what is in flight may finish first (once more: stop at once)")
            serving.cancel()
        stopping.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            say("stopped; runs that had not ended are kept, and go on when the agent is served again")
        except LocalError:
            if not interrupted.is_set():
                raise
    return STOPPED


async def _serve(starting: "contextlib.AbstractAsyncContextManager[Session]", folder: Path) -> None:
    async with starting as session:
        for line in _welcome(session, folder):
            say(line)
        while True:
            session.mend()
            await asyncio.sleep(_POLL_SECONDS)


def _welcome(session: Session, folder: Path) -> list[str]:
    """What somebody needs who wants to call it."""
    url, bearer = session.client.url, '-H "Authorization: Bearer $TOKEN"'
    return [
        f"serving at {url}, state in {folder}",
        f"TOKEN={session.client.token}",
        f"curl -X POST '{url}/run?wait=30s' {bearer} -d '{{\"task\": \"…\"}}'",
        f"curl {url}/runs {bearer}",
        f"curl -N {url}/runs/ID/events {bearer}",
        f"curl -X POST {url}/runs/ID/approvals/TURN.CALL {bearer} -d '{{\"approved\": true}}'",
    ]
