import itertools
import json
import re

import pytest
import yaml

from e2e.cluster import daprinstall, engine, golang, kindcluster, tools
from e2e.cluster.kindcluster import DATA, Machine, config_files

MACHINES = [Machine(*flags) for flags in itertools.product((False, True), repeat=2)]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("own_image", [False, True])
def test_every_combination_is_one_document_with_no_key_twice(machine, own_image):
    text = "\n".join((DATA / part).read_text() for part in config_files(machine, own_image=own_image))
    keys = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert len(keys) == len(set(keys))
    config = yaml.safe_load(text)
    assert config["kind"] == "Cluster"
    assert ("networking" in config) == own_image
    assert ("kubeadmConfigPatches" in config) == machine.cgroup_v1


def test_a_usual_machine_gets_kinds_defaults():
    assert config_files(Machine(cgroup_v1=False, no_sys_resource=False), own_image=False) == ["cluster.yaml"]


def test_the_pod_range_is_the_same_for_kind_and_for_the_bridge():
    network = yaml.safe_load((DATA / "own-node-image.yaml").read_text())["networking"]["podSubnet"]
    bridge = json.loads((DATA.parent / "debian" / "bridge.conflist").read_text())
    assert bridge["plugins"][0]["ipam"]["ranges"] == [[{"subnet": network}]]


def test_dapr_is_strict_and_its_timers_are_durable():
    values = yaml.safe_load(daprinstall.VALUES.read_text())
    assert values["global"]["mtls"]["enabled"] is True
    assert values["dapr_sidecar_injector"]["sidecarDropALLCapabilities"] is True
    assert values["dapr_scheduler"]["cluster"]["inMemoryStorage"] is False


def release(status="deployed", description="holdfast abc"):
    return json.dumps({"name": "dapr", "info": {"status": status, "description": description}})


def test_only_a_complete_release_from_the_same_values_counts():
    assert daprinstall.installed(release(), "abc")
    assert not daprinstall.installed(release(status="pending-install"), "abc")
    assert not daprinstall.installed(release(description="holdfast abd"), "abc")
    assert not daprinstall.installed("", "abc")


def test_no_pod_is_not_ready():
    assert not daprinstall.all_ready('{"items": []}')
    pod = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert daprinstall.all_ready(json.dumps({"items": [pod]}))
    assert not daprinstall.all_ready(json.dumps({"items": [pod, {"status": {}}]}))


def test_our_dockerd_stays_apart_from_any_other(tmp_path):
    config = engine.daemon_config(tmp_path, mended=True)
    assert config["data-root"] == str(tmp_path)
    assert all(str(config[name]).startswith(str(engine.RUN)) for name in ("exec-root", "pidfile"))
    assert config["hosts"] == [f"unix://{engine.SOCKET}"]
    assert config["default-runtime"] == "mended"
    assert "default-runtime" not in engine.daemon_config(tmp_path, mended=False)


@pytest.mark.parametrize(("text", "version"), [("go1.26.8", (1, 26, 8)), ("go version go1.27 linux/amd64", (1, 27, 0)), ("", ())])
def test_go_versions(text, version):
    assert golang.parse_version(text) == version


def test_an_old_go_is_not_new_enough():
    assert golang.parse_version("go1.26.5") < golang.NEEDED <= golang.parse_version("go1.26.6")
    assert golang.parse_version("") < golang.NEEDED


def test_what_is_made_from_other_pins_is_missing(tmp_path):
    project = tools.projects()["etcd"]
    assert tools.missing(project, tmp_path, ["etcd"]) == ["etcd"]
    (tmp_path / "etcd").touch()
    assert tools.missing(project, tmp_path, ["etcd"]) == ["etcd"]
    (tmp_path / ".etcd.key").write_text("old\n")
    assert tools.missing(project, tmp_path, ["etcd"]) == ["etcd"]
    (tmp_path / ".etcd.key").write_text(project.key + "\n")
    assert tools.missing(project, tmp_path, ["etcd"]) == []


def test_the_smallest_set_with_a_project_is_named_in_the_fix():
    assert tools.set_with("dapr") == "dapr"
    assert tools.set_with("coredns") == "cluster"


def test_data_files_of_the_cluster_exist():
    assert all((kindcluster.DATA / part).is_file() for part in config_files(Machine(True, True), own_image=True))  # noqa: FBT003
