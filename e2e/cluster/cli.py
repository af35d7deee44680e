"""The verbs that people and the Makefile type."""

import argparse
import signal
import sys
import threading
from types import FrameType

from e2e.cluster import apiserver, cluster, dockerfile, engine, kindcluster, packages, preflight, purge, tools
from e2e.cluster.faults import Fault
from e2e.cluster.places import Places, places
from e2e.cluster.progress import say

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Describe the verbs."""
    top = argparse.ArgumentParser(prog="python3 -m e2e.cluster", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("preflight", help="say what this machine lacks, and change nothing")
    up = verbs.add_parser("up", help="have a kind cluster with Dapr")
    up.add_argument("--without-dapr", action="store_true", help="a bare cluster")
    verbs.add_parser("down", help="remove the cluster and all that was started for it")
    verbs.add_parser("status", help="say what is there; exit code 1 unless the cluster is healthy")
    build_tools = verbs.add_parser("tools", help="build programs from pinned Go modules")
    build_tools.add_argument("sets", nargs="*", default=["cluster"], help="kubernetes, dapr, client, collector, cluster (default)")
    programs = verbs.add_parser("programs", help="install programs that the tests need from Debian packages")
    programs.add_argument("names", nargs="+", choices=sorted(packages.PROGRAMS))
    load = verbs.add_parser("load", help="load images into the cluster")
    load.add_argument("images", nargs="+")
    build = verbs.add_parser("build", help="build a target of the root Dockerfile")
    build.add_argument("target", help="operator or agent")
    build.add_argument("tag", help="the image's name")
    verbs.add_parser("env", help="print shell exports")
    verbs.add_parser("apiserver", help="run an API server alone until Ctrl-C")
    verbs.add_parser("purge", help="delete the cache (not while a cluster uses it)")
    return top


def main(arguments: list[str]) -> int:
    """Run a verb; a Fault becomes a message, never a traceback."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return act(options, places())
    except Fault as fault:
        say(fault.report())
        return 1
    except KeyboardInterrupt:
        say(f"interrupted. What was finished is kept: run `{' '.join(['python3 -m e2e.cluster', *arguments])}` again to go on")
        return INTERRUPTED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def act(options: argparse.Namespace, here: Places) -> int:
    """Do what was asked."""
    simple = {"preflight": preflight.report, "env": cluster.print_exports, "apiserver": _serve, "purge": purge.purge}
    match options.verb:
        case "up":
            cluster.up(here, dapr=not options.without_dapr)
        case "down":
            cluster.down(here)
        case "status":
            return 0 if cluster.status(here) else 1
        case "tools":
            tools.provide(here, options.sets)
            say("built: " + ", ".join(options.sets) + f" in {here.cache / 'bin'}. Next: make cluster, or make test")
        case "programs":
            packages.provide(here, options.names)
        case "load":
            kindcluster.load(here, _running(here), options.images)
            say("loaded. Next: use the image with imagePullPolicy IfNotPresent")
        case "build":
            dockerfile.build(here, _running(here), options.target, options.tag, cluster.base_images(here))
            say(f"built {options.tag}. Next: python3 -m e2e.cluster load {options.tag}")
        case _:
            simple[options.verb](here)
    return 0


def _running(here: Places) -> engine.Engine:
    if found := engine.find():
        return found
    raise Fault(f"no engine runs for {here.name}", fix="python3 -m e2e.cluster up")


def _serve(here: Places) -> None:
    tools.provide(here, ["kubernetes"])
    with apiserver.ApiServer(controllers=True, here=here) as server:
        say(f"{server.url} is up. Next: export KUBECONFIG={server.kubeconfig}; Ctrl-C ends it")
        threading.Event().wait()


def run() -> None:
    """Enter from `__main__`."""
    sys.exit(main(sys.argv[1:]))
