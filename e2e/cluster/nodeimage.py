"""kind's node image where no registry has it: `kind build node-image`, fed with what is made here.

kind's own verb does the building; it wants a base image and a Kubernetes release as a tar file. The base is Debian with kind's
own files (from the kind module) and our containerd; the release is our programs and, so that kind finds nothing left to pull,
archives with every image that a cluster needs, Dapr's included: a cluster then starts without loading anything.
"""

import gzip
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

from e2e.cluster import debian, images, shell, tools
from e2e.cluster.engine import Engine
from e2e.cluster.imagetar import Image, entry, write_archive
from e2e.cluster.locks import locked
from e2e.cluster.pins import digest
from e2e.cluster.places import Places
from e2e.cluster.progress import step

HERE = Path(__file__).parent
KEPT_IMAGES = 2
SYSTEMD = "etc/systemd/system"
ENABLED = ("kubelet.service", "containerd.service", "undo-mount-hacks.service")
# what kind's own base image removes: units that have no place in a container
UNWANTED = [
    "*/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "*/systemd/system/multi-user.target.wants/*",
    "etc/systemd/system/*.wants/*",
    "*/systemd/system/local-fs.target.wants/*",
    "*/systemd/system/sockets.target.wants/*udev*",
    "*/systemd/system/sockets.target.wants/*initctl*",
    "*/systemd/system/basic.target.wants/*",
]


def key() -> str:
    """Give the key of everything that is in the node image."""
    code = [(HERE / name).read_bytes() for name in ("nodeimage.py", "images.py", "imagetar.py", "debian.py")]
    data = [(HERE / "debian" / name).read_bytes() for name in ("packages.toml", "bridge.conflist")]
    return digest(*(project.key for project in tools.projects().values()), *code, *data)


def image_name() -> str:
    """Name the node image after its contents."""
    return f"holdfast.local/kind-node:v{tools.projects()['kubernetes'].version}-{key()}"


def provide(here: Places, engine: Engine) -> str:
    """Build the node image unless the engine has it, and return its name."""
    name = image_name()
    if engine.has_image(name):
        return name
    with locked(here.cache / "tmp" / ".node-image.lock", "building the node image"):
        if engine.has_image(name):
            return name
        folder = here.cache / "tmp" / "node-image"
        tools.remove_tree(folder)
        folder.mkdir(parents=True)
        log = here.log("node-image")
        log.unlink(missing_ok=True)
        base = f"holdfast.local/kind-base:{key()}"
        with step("node image: base", log):
            archive = folder / "base.tar"
            write_archive(archive, [_base(here, folder, base)], images.architecture())
            shell.run(["docker", "load", "--quiet", "--input", archive], log, env=engine.environment(), timeout=300)
            archive.unlink()
        with step("node image: control plane, Dapr, Redis", log):
            release = _release(here, folder)
        with step("node image: kind build node-image", log):
            argv: shell.Words = [
                tools.find(here, "kind", "kind"),
                "build",
                "node-image",
                "--type",
                "file",
                "--base-image",
                base,
                "--image",
                name,
            ]
            environment = {**engine.environment(), "TMPDIR": str(folder)}
            shell.run([*argv, release], log, env=environment, timeout=900)
        tools.remove_tree(folder)
        _forget_older(engine, name)
    return name


def _forget_older(engine: Engine, name: str) -> None:
    """Remove all but the newest node images: another checkout may have other pins, and one on which a cluster runs cannot be removed."""
    engine.ask("image", "rm", f"holdfast.local/kind-base:{key()}")
    listed = engine.ask("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=holdfast.local/kind-node").split()
    for other in [one for one in listed if one != name][KEPT_IMAGES:]:
        engine.ask("image", "rm", other)


def _base(here: Places, folder: Path, name: str) -> Image:
    over = folder / "over"
    files = tools.find(here, "kind", "node-files")
    shutil.copytree(files, over, ignore=shutil.ignore_patterns("LICENSES"))
    for path in over.rglob("*"):
        executable = path.is_dir() or "bin" in path.parts
        path.chmod(0o755 if executable else 0o644)
    for program in ("containerd", "containerd-shim-runc-v2", "ctr"):
        shutil.copy2(tools.find(here, "containerd", program), over / "usr/local/bin" / program)
    shutil.copytree(debian.root(here) / "usr/lib/cni", over / "opt/cni/bin")
    for empty in ("etc/kubernetes/manifests", "etc/cni/net.d", "kind/manifests", "etc/systemd/journald.conf.d"):
        (over / empty).mkdir(parents=True, exist_ok=True)
    shutil.copy2(HERE / "debian/bridge.conflist", over / "etc/cni/net.d/10-bridge.conflist")
    (over / "etc/systemd/journald.conf.d/kind.conf").write_text("[Journal]\nReadKMsg=no\n")
    (over / "etc/containerd/cri-base.json").write_text(_container_spec(over / "usr/local/bin/ctr"))
    wants = over / SYSTEMD / "multi-user.target.wants"
    wants.mkdir()
    for unit in ENABLED:
        (wants / unit).symlink_to(f"/{SYSTEMD}/{unit}")
    (over / SYSTEMD / "systemd-binfmt.service").symlink_to("/dev/null")
    layer = images.debian_layer(here, folder / "base-layer.tar", "node", whole=True, extra=(over, UNWANTED))
    config: dict[str, Any] = {
        "Env": [images.PATH, "container=docker"],
        "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
        "StopSignal": "SIGRTMIN+3",
    }
    return Image((name,), (layer,), config)


def _container_spec(ctr: Path) -> str:
    """Make what every container in the node starts from, as kind does: containerd's own default with a hook of kind's."""
    return mend_spec(shell.ask([ctr, "oci", "spec"]))


def mend_spec(text: str) -> str:
    """Add kind's hook to an OCI spec and take the limits out of it."""
    spec = json.loads(text)
    spec.setdefault("hooks", {}).setdefault("createContainer", []).append({"path": "/kind/bin/mount-product-files.sh"})
    spec["process"].pop("rlimits", None)
    return json.dumps(spec)


def _release(here: Places, folder: Path) -> Path:
    """Write the tar file of a Kubernetes release, in the layout that kind reads."""
    made = images.control_plane_images(here, folder)
    own = {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
    archives = {name: [made[name]] for name in own}
    rest = [image for name, image in made.items() if name not in own]
    archives["kube-proxy"] = [*rest, *images.dapr_images(here, folder), images.redis_image(here, folder)]
    release = folder / "kubernetes.tar.gz"
    with gzip.open(release, "wb", compresslevel=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        version = folder / "version"
        version.write_text(f"v{tools.projects()['kubernetes'].version}\n")
        _add(tar, "kubernetes/version", version)
        for name in ("kubeadm", "kubelet", "kubectl"):
            _add(tar, f"kubernetes/server/bin/{name}", tools.find(here, "kubernetes", name))
        for name, content in archives.items():
            path = folder / f"{name}.archive"
            write_archive(path, content, images.architecture())
            _add(tar, f"kubernetes/server/bin/{name}.tar", path)
            path.unlink()
    for layer in folder.glob("*.tar"):
        os.unlink(layer)  # noqa: PTH108 - disk space matters before the next step
    return release


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    with path.open("rb") as file:
        tar.addfile(entry(name, 0o755, path.stat().st_size), file)
