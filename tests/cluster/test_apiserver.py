import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from e2e.cluster import apiserver, tools
from e2e.cluster.apiserver import ApiServer
from e2e.cluster.places import places

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def server():
    with ApiServer() as running:
        yield running


def kubectl(server, *arguments, check=True):
    program = tools.find(places(), "kubernetes", "kubectl")
    done = subprocess.run([program, "--kubeconfig", server.kubeconfig, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if check else done.stderr


def test_it_serves_its_admin(server):
    assert "default" in kubectl(server, "get", "namespaces")
    assert (
        json.loads(kubectl(server, "version", "-o", "json"))["serverVersion"]["gitVersion"] == f"v{tools.projects()['kubernetes'].version}"
    )


def test_roles_are_enforced(server):
    refused = kubectl(server, "get", "secrets", "--as", "somebody", check=False)
    assert "Forbidden" in refused


def test_pods_can_be_made_by_hand_without_controllers(server):
    kubectl(server, "run", "by-hand", "--image", "x")
    assert "by-hand" in kubectl(server, "get", "pods")


def test_it_listens_on_loopback_only(server):
    for pid in server.pids.values():
        inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink() and os.path.lexists(link)}
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                assert fields[1].startswith("0100007F:")


def test_what_was_written_survives_a_kill_of_each_part(server):
    kubectl(server, "create", "configmap", "kept")
    for part in ("etcd", "apiserver"):
        server.kill(part)
        assert part not in server.pids
        server.restart(part)
        assert "kept" in kubectl(server, "get", "configmaps")


def test_a_frozen_part_goes_on(server):
    server.pause("apiserver")
    server.resume("apiserver")
    server.wait_ready()


def test_an_unknown_part_names_the_known_ones(server):
    with pytest.raises(ValueError, match="etcd, apiserver"):
        server.kill("kubelet")


def test_stopping_leaves_no_process_and_no_folder():
    server = ApiServer().start()
    pids, folder = list(server.pids.values()), server.folder
    assert len(pids) == 2
    server.stop()
    assert not folder.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_two_at_once_do_not_meet(server):
    with ApiServer() as other:
        assert other.url != server.url
        kubectl(other, "create", "configmap", "only-here")
        assert "only-here" not in kubectl(server, "get", "configmaps")


def test_controllers_make_pods_of_deployments():
    with ApiServer(controllers=True) as server:
        kubectl(server, "create", "deployment", "d", "--image", "x")
        deadline = time.monotonic() + 30
        while "d-" not in kubectl(server, "get", "pods") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "d-" in kubectl(server, "get", "pods")


def test_a_killed_owner_takes_all_along_and_the_next_start_sweeps_its_folder(tmp_path):
    code = (
        "from e2e.cluster.apiserver import ApiServer; import time\n"
        "s = ApiServer().start(); print(*s.pids.values(), s.folder, flush=True); time.sleep(60)"
    )
    # A place of its own: whoever starts an API server on this machine meanwhile sweeps the usual one.
    here = os.environ | {"TMPDIR": str(tmp_path)}
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=here)
    *pids, folder = owner.stdout.readline().split()
    owner.send_signal(signal.SIGKILL)
    owner.wait(5)
    owner.stdout.close()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert apiserver.sweep(tmp_path) == [Path(folder)]
    assert not Path(folder).exists()


def test_a_living_owners_folder_is_not_swept(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix=f"{apiserver.PREFIX}{os.getpid()}-", dir=tmp_path))
    assert apiserver.sweep(tmp_path) == []
    assert folder.exists()
