"""The runtime that stands in front of runc where root is not quite root.

Some sandboxes give root everything except CAP_SYS_RESOURCE. A `--privileged` container asks for all capabilities, so runc fails
there ("unable to apply caps"), and nobody may lower an oom score. This program takes out of an OCI spec what the machine cannot
give and hands over to runc. It runs once per container and per exec, hence no import beyond the essential, and it is copied
next to the engine's socket with a shebang (see `engine`).
"""

import json
import os
import sys

RUNC = "/usr/sbin/runc"
# enough for every kernel that runs this; what is missing here is left in the spec
CAPABILITIES = {0: "CHOWN", 12: "NET_ADMIN", 21: "SYS_ADMIN", 24: "SYS_RESOURCE", 25: "SYS_TIME", 38: "PERFMON", 39: "BPF"}


def forbidden(bounding: int) -> set[str]:
    """Name the capabilities that the bounding set lacks."""
    return {f"CAP_{name}" for bit, name in CAPABILITIES.items() if not bounding >> bit & 1}


def mend(process: dict[str, object], without: set[str], lowest_score: int) -> dict[str, object]:
    """Return an OCI process that this machine can start."""
    mended = dict(process)
    capabilities = process.get("capabilities")
    if isinstance(capabilities, dict):
        mended["capabilities"] = {name: [one for one in ones or [] if one not in without] for name, ones in capabilities.items()}
    score = process.get("oomScoreAdj")
    if isinstance(score, int) and score < lowest_score:
        mended["oomScoreAdj"] = lowest_score
    return mended


def spec_file(arguments: list[str]) -> tuple[str, bool]:
    """Find the file that a runc call reads its process from, and whether the process is the whole file."""
    for verb, flag in (("create", "--bundle"), ("run", "--bundle"), ("create", "-b"), ("run", "-b")):
        if verb in arguments and flag in arguments[:-1]:
            return os.path.join(arguments[arguments.index(flag) + 1], "config.json"), False  # noqa: PTH118 - no pathlib: 10 ms
    for flag in ("--process", "-p"):
        if "exec" in arguments and flag in arguments[:-1]:
            return arguments[arguments.index(flag) + 1], True
    return "", False


def bounding_set(status: str) -> int:
    """Read CapBnd from /proc/self/status."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    return -1


def main(arguments: list[str]) -> None:
    """Mend the spec, become runc."""
    path, whole = spec_file(arguments)
    if path:
        with open("/proc/self/status") as file:  # noqa: PTH123
            without = forbidden(bounding_set(file.read()))
        with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123
            lowest = int(file.read())
        with open(path) as file:  # noqa: PTH123
            spec = json.load(file)
        if whole:
            spec = mend(spec, without, lowest)
        else:
            spec["process"] = mend(spec["process"], without, lowest)
        with open(path, "w") as file:  # noqa: PTH123
            json.dump(spec, file)
    os.execv(RUNC, ["runc", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
