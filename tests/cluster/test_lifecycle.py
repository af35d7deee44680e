import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster.mounts import unmount_below
from e2e.cluster.places import places

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "holdfast-test"
# /sys of a new network namespace has to be mounted anew, and the cgroups under it kept
ENTER = (
    "mount --make-rprivate / && ip link set lo up && mount --rbind /sys/fs/cgroup {keep} && mount -t sysfs sysfs /sys"
    ' && mount --rbind {keep} /sys/fs/cgroup && umount -l {keep} && exec "$@"'
)


@pytest.mark.lifecycle
@pytest.mark.timeout(1200)
def test_a_cluster_survives_every_kill_and_leaves_nothing(tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "e2e" / "cluster", checkout / "e2e" / "cluster")
    shutil.copy(ROOT / "e2e" / "__init__.py", checkout / "e2e")
    keep = tmp_path / "cgroups"
    keep.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in {"DOCKER_HOST", "KUBECONFIG", "CLUSTER"}}
    environment |= {"HOLDFAST_ENGINE": ENGINE, "HOLDFAST_REGISTRY": "no", "PYTHONPATH": str(checkout)}
    scenario = [sys.executable, Path(__file__).with_name("lifecycle.py")]
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", ENTER.format(keep=keep), "sh", *scenario]
    try:
        done = subprocess.run(argv, cwd=checkout, env=environment, timeout=1100, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    finally:
        data = places().cache / "engine" / ENGINE
        unmount_below(data)
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(Path("/run") / ENGINE, ignore_errors=True)
