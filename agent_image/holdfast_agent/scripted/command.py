"""`holdfast_agent.scripted SCRIPT`: the command line of the scripted model.

Exit codes: 0 ended by a signal, 2 the script, the ledger or an argument cannot be used.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast_agent.scripted.script import Script, ScriptError, load
from holdfast_agent.scripted.server import serving

UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a script until SIGTERM or Ctrl-C; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        script = load(options.script)
        asyncio.run(_serve(script, options))
    except (ScriptError, OSError, ValueError) as error:
        sys.stderr.write(f"scripted: {error}\n")
        return UNUSABLE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast_agent scripted", description="A model that follows a script, over the OpenAI API.")
    parser.add_argument("script", type=Path, help="the script, YAML")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s; 0.0.0.0 in a pod)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for any free one (default: %(default)s)")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="append every request to this file (default: in memory only)")
    return parser


async def _serve(script: Script, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(script, host=options.host, port=options.port, ledger=options.ledger) as url:
        sys.stdout.write(f"scripted model at {url}/v1, tools at {url}/tools/, ledger at {url}/ledger\n")
        sys.stdout.flush()
        await stop.wait()
