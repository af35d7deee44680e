"""`holdfast_agent serve FILE`: an agent on this machine, with its HTTP API, until Ctrl-C; or all Agents of the files, side by side."""

import argparse
import asyncio
import contextlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from holdfast_agent.local import options as common
from holdfast_agent.local.beside import Beside, beside
from holdfast_agent.local.documents import Documents
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.frame import exit_code, say
from holdfast_agent.local.session import Session, running
from holdfast_agent.local.signals import interruption
from holdfast_agent.local.workspace import Workspace
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
        description="Serve an agent, or all Agents of the files, on Dapr's own processes and SQLite. Only this machine can call them.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common.add(parser)
    parser.add_argument(
        "--port",
        type=_port,
        default=names.APP_PORT,
        help="port of the HTTP API (default: %(default)s; 0: any free one); of several Agents the first one's, the next ones follow",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 0 (any free one) to {_LAST_PORT}")
    return int(text)


async def _main(given: argparse.Namespace) -> int:
    found = common.everybody(given)
    several = len(found) > 1
    if given.port and given.port + len(found) - 1 > _LAST_PORT:
        raise LocalError(
            f"--port {given.port}: {len(found)} Agents need as many ports from there on: choose a lower one, or 0 for any free ones"
        )
    with contextlib.ExitStack() as stack:
        places = [common.workspace(given, documents, several=several) for documents in found]
        for place in places:
            stack.enter_context(place.alone())
        interrupted = stack.enter_context(interruption())
        serving = asyncio.create_task(_serve(found, places, given.port, beside(found, places[0]) if several else None))
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


async def _serve(found: Sequence[Documents], places: Sequence[Workspace], port: int, together: Beside | None) -> None:
    """Serve until canceled. Of several Agents each gets its own port, from the first one on."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = []
        for number, (documents, place) in enumerate(zip(found, places, strict=True)):
            name = documents.agent.metadata.name if together else ""
            tell = partial(_tell, name) if together else say
            here = running(documents, place, os.environ, tell, port=port and port + number, beside=together)
            sessions.append(await stack.enter_async_context(here))
            for line in _welcome(sessions[-1], place.folder, name):
                say(line)
        while True:
            for session in sessions:
                session.mend()
            await asyncio.sleep(_POLL_SECONDS)


def _tell(name: str, text: str) -> None:
    say(f"{name}: {text}")


def _welcome(session: Session, folder: Path, name: str) -> list[str]:
    """What somebody needs who wants to call it; `name`: which one it is, where there are several."""
    url, bearer = session.client.url, '-H "Authorization: Bearer $TOKEN"'
    return [
        f"serving {name} at {url}, state in {folder}" if name else f"serving at {url}, state in {folder}",
        f"TOKEN={session.client.token}",
        f"curl -X POST '{url}/run?wait=30s' {bearer} -d '{{\"task\": \"…\"}}'",
        f"curl {url}/runs {bearer}",
        f"curl -N {url}/runs/ID/events {bearer}",
        f"curl -X POST {url}/runs/ID/approvals/TURN.CALL {bearer} -d '{{\"approved\": true}}'",
    ]
