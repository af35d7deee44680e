"""What the commands `run` and `serve` are told alike: which agent, where its addresses are, and which folder it lives in."""

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path

from holdfast_agent.local import manifests
from holdfast_agent.local.documents import Documents, read, read_all
from holdfast_agent.local.workspace import Workspace, default_folder, named_folder


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to a command's own."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="YAML with the Agent and what it names")
    parser.add_argument("--agent", metavar="NAME", help="which Agent, when the files hold several")
    parser.add_argument("--endpoint", metavar="URL", help="base URL of the model instead of spec.model.endpoint")
    parser.add_argument(
        "--map", action="append", default=[], type=_mapping, metavar="FROM=TO",
        help="put TO for FROM at the beginning of URLs of models, HTTP tools and MCP servers, for names that exist only in a cluster",
    )  # fmt: skip
    parser.add_argument("--secrets", action="append", default=[], type=Path, metavar="FILE", help="YAML with Secrets")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where runs are kept (default: ~/.local/state/holdfast/AGENT)")


def documents(options: argparse.Namespace) -> Documents:
    """The Agent and what it names, with addresses that exist here.

    Raises:
        LocalError: a file cannot be read, or does not hold what is asked for.
    """
    return _redirected(options, read([*options.files, *options.secrets], name=options.agent))


def everybody(options: argparse.Namespace) -> list[Documents]:
    """The same for each Agent in the files, or for the one that is chosen.

    Raises:
        LocalError: see `documents`.
    """
    return [_redirected(options, found) for found in read_all([*options.files, *options.secrets], name=options.agent)]


def _redirected(options: argparse.Namespace, found: Documents) -> Documents:
    return replace(found, agent=manifests.redirected(found.agent, endpoint=options.endpoint, mappings=dict(options.map)))


def workspace(options: argparse.Namespace, found: Documents, *, several: bool = False) -> Workspace:
    """The agent's folder, see `named_folder`.

    Raises:
        LocalError: it cannot be made.
    """
    agent = found.agent.metadata.name
    if options.state_dir:
        return Workspace(named_folder(options.state_dir, agent, several=several))
    return Workspace(default_folder(agent, os.environ, Path.home()))


def again(options: argparse.Namespace) -> str:
    """The command `run` with the same agent, for people to copy."""
    words = ["python", "-m", "holdfast_agent", "run", *map(str, options.files)]
    for name in ("agent", "endpoint", "state_dir"):
        if value := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += [word for path in options.secrets for word in ("--secrets", str(path))]
    words += [word for pair in options.map for word in ("--map", "=".join(pair))]
    return shlex.join(words)


def _mapping(text: str) -> tuple[str, str]:
    beginning, equals, instead = text.partition("=")
    if not (beginning and equals and instead):
        raise argparse.ArgumentTypeError(f"{text!r} is not FROM=TO")
    return beginning, instead
