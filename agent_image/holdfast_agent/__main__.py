"""Verbs of the agent's program. Each loads only what it needs."""

import argparse
import asyncio
import os
import sys

_USAGE_ERROR = 2
_LAST_PORT = 65535


def main(arguments: list[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] == "scripted":
        from holdfast_agent.scripted.command import main as scripted  # noqa: PLC0415 - each verb loads its own

        return scripted(given[1:])
    if given and given[0] == "run":
        from holdfast_agent.local.command import main as local  # noqa: PLC0415 - each verb loads its own

        return local(given[1:])
    if given and given[0] == "verify":
        from holdfast_agent.audit.command import main as verify  # noqa: PLC0415 - each verb loads its own

        return verify(given[1:])
    options, more = _parser().parse_known_args(given or ["serve"])
    if options.files:
        from holdfast_agent.local.serve import main as local_serve  # noqa: PLC0415 - each verb loads its own

        return local_serve(given[1:])
    if more:
        _parser().error(f"unrecognized arguments: {' '.join(more)}")
    return _serve(options.host, options.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="holdfast-agent", description="One durable LLM agent on Dapr Workflow.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    serve = verbs.add_parser(
        "serve",
        help="serve the agent of $HOLDFAST_CONFIG beside a Dapr sidecar (the default), or that of an agent.yaml here",
        epilog="With a FILE it takes the options of `run` for secrets, addresses and folders as well; see `run --help`.",
    )
    serve.add_argument("files", nargs="*", metavar="FILE", help="an agent.yaml to serve here, without a cluster")
    serve.add_argument("--host", default=None, help="address to listen on (default: all)")
    serve.add_argument("--port", type=_port, default=None, help="port to listen on (default: 8001)")
    verbs.add_parser("run", help="run an agent.yaml here, without a cluster", add_help=False)
    verbs.add_parser("verify", help="find out whether anything was changed in what a run left behind", add_help=False)
    verbs.add_parser("scripted", help="serve a model that answers from a script", add_help=False)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 0 (any free one) to {_LAST_PORT}")
    return int(text)


def _serve(host: str | None, port: int | None) -> int:
    from holdfast_agent import logs  # noqa: PLC0415 - each verb loads its own
    from holdfast_agent.settings import Settings, SettingsError  # noqa: PLC0415

    try:
        settings = Settings.read(os.environ, host=host, port=port)
    except SettingsError as error:
        print(f"holdfast-agent: {error}", file=sys.stderr)
        return _USAGE_ERROR
    logs.configure(settings.log_level)
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # children only exec; the handlers would write into the log
    from holdfast_agent.engine import EngineError  # noqa: PLC0415
    from holdfast_agent.program import Program  # noqa: PLC0415 - after the settings, whose errors need no half second of imports
    from holdfast_agent.tools import ToolboxError  # noqa: PLC0415

    try:
        asyncio.run(Program(settings).run())
    except (ToolboxError, EngineError, OSError) as error:
        print(f"holdfast-agent: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
