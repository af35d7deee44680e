"""The life of a cluster on a machine of its own, as far as namespaces make one; run by test_lifecycle.py inside of them.

Everything that can be killed is killed, `up` is asked to mend it, and in the end the machine must be as it was.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.cluster import engine, leftovers
from e2e.cluster.places import places

CLUSTER = [sys.executable, "-m", "e2e.cluster"]
OURS = re.compile(rb"dockerd|containerd|runc|docker-proxy")


def machine():
    """Everything that must be the same before and after."""
    state = leftovers.now()
    filters = {name: leftovers.parse_filter(saved) for name, saved in state.filters.items()}
    cgroups = sorted(path for path in state.cgroups if path.endswith(f"/{engine.NAME}"))
    return {
        "packet filter": filters,
        "links": state.links,
        "kernel": state.kernel,
        "cgroups": cgroups,
        "mounts": sorted(state.mounts),
        "processes": sorted(bytes(command) for command in commands().values()),
        "run": Path(engine.RUN).exists(),
    }


def commands():
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command:
            found[int(folder.name)] = command
    return found


def call(*verb, check=True):
    started = time.monotonic()
    done = subprocess.run([*CLUSTER, *verb], timeout=600, check=False)
    sys.stderr.write(f"{' '.join(verb)}: {done.returncode} after {time.monotonic() - started:.0f} s\n")
    assert not check or done.returncode == 0, verb
    return done.returncode


def kill_all():
    """Kill every process of the engine and of the node: a power cut."""
    for _ in range(3):
        for pid in [
            *(pid for pid, command in commands().items() if OURS.search(command)),
            *leftovers.stray_pids(engine.RUN, engine.cgroup_parent()),
        ]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.3)


def node(*arguments):
    docker = ["docker", "--host", f"unix://{engine.SOCKET}"]
    return subprocess.run(
        [*docker, *arguments, f"{places().name}-control-plane"], check=True, capture_output=True, text=True
    ).stdout.strip()


def interrupted_up(seconds):
    """Start `up` and kill it, its children with it, after some seconds."""
    process = subprocess.Popen([*CLUSTER, "up", "--without-dapr"])
    time.sleep(seconds)
    process.kill()
    process.wait(10)
    time.sleep(0.5)
    assert not [command for command in commands().values() if b"kind\0create" in command]


def main():
    call("down")
    before = machine()
    call("up", "--without-dapr")
    first = node("inspect", "--format", "{{.Id}}")
    call("up", "--without-dapr")
    assert node("inspect", "--format", "{{.Id}}") == first, "the second up made another cluster"
    node("kill")
    call("up", "--without-dapr")
    os.kill(engine.daemon_pid(), signal.SIGKILL)
    call("up", "--without-dapr")
    kill_all()
    call("up", "--without-dapr")
    assert node("inspect", "--format", "{{.Id}}") == first, "the cluster was not mended but made anew"
    call("down")
    assert machine() == before, difference(before, machine())
    interrupted_up(6)
    call("up", "--without-dapr")
    assert call("status") == 0
    kill_all()
    call("down")
    assert machine() == before, difference(before, machine())
    call("down")
    sys.stderr.write("nothing is left\n")


def difference(before, after):
    return "\n".join(f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name])


if __name__ == "__main__":
    main()
