"""Container images made here: the base images for our Dockerfile, Redis, Dapr's own, and what kubeadm and kind ask for.

Each one is a few programs on nothing, or a slice of Debian. They carry the very names under which charts, kubeadm and kind look for
them, so nothing that uses them has to know where they came from. Where a registry answers none of this runs, and `in_force` names
the public ones.
"""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import debian, shell, tools
from e2e.cluster.engine import Engine
from e2e.cluster.imagetar import Image, write_archive, write_layer
from e2e.cluster.pins import digest
from e2e.cluster.places import Places
from e2e.cluster.progress import step

MADE_PYTHON, MADE_BUILD, MADE_REDIS = "holdfast.local/python:3.11", "holdfast.local/python:3.11-build", "holdfast.local/redis:7"
PUBLIC_PYTHON, PUBLIC_REDIS = "python:3.11-slim", "redis:7"
NONROOT = "65532:65532"
PASSWD = "".join(
    f"{name}:x:{number}:{number}:{name}:{home}:/sbin/nologin\n"
    for name, number, home in (("root", 0, "/"), ("nobody", 65534, "/"), ("nonroot", 65532, "/home/nonroot"))
)
GROUP = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"
USERS = {"etc/passwd": PASSWD, "etc/group": GROUP}
DAPR_REGISTRY = "ghcr.io/dapr"
DAPR_PROGRAMS = ("daprd", "placement", "scheduler", "sentry", "operator", "injector")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Names:
    """Which base images are in force."""

    python: str
    python_build: str
    redis: str
    made_here: bool


def in_force(*, made_here: bool) -> Names:
    """Name the base images: ours, or the public ones."""
    if made_here:
        return Names(MADE_PYTHON, MADE_BUILD, MADE_REDIS, made_here=True)
    return Names(PUBLIC_PYTHON, PUBLIC_PYTHON, PUBLIC_REDIS, made_here=False)


def architecture() -> str:
    """Name this machine's architecture as images do."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def debian_layer(here: Places, target: Path, name: str, *, whole: bool = False, extra: tuple[Path, list[str]] | None = None) -> Path:
    """Write a slice of the Debian root file system (or all of it but what is foreign to the slice) as a layer.

    `extra` is a folder whose contents lie over it, and paths of Debian's to leave out.
    """
    base, recipe = debian.root(here), debian.read_recipe()
    files = debian.image_files(base, recipe, name) if whole else debian.slice_files(base, recipe, name)
    over: list[str] = []
    if extra:
        # no path may be in a layer twice: files of ours replace Debian's, folders of Debian's serve for both
        ours = {str(path.relative_to(extra[0])): path.is_dir() and not path.is_symlink() for path in extra[0].rglob("*")}
        replaced = {path for path, is_folder in ours.items() if not is_folder}
        files = [path for path in files if path not in replaced and not _matches(path, extra[1])]
        over = sorted(set(ours) - set(files))
    _tar(here, target, base, files, "-cf")
    if extra:
        _tar(here, target, extra[0], over, "-rf", "--owner=0", "--group=0")
    return target


def _tar(here: Places, target: Path, base: Path, files: list[str], *options: str) -> None:
    listing = target.with_suffix(".files")
    listing.write_text("\0".join(files))
    # --hard-dereference: a hard link's other name may be in another slice
    always: shell.Words = ["--no-recursion", "--null", "--numeric-owner", "--hard-dereference", "--mtime=@0", "--files-from", listing]
    shell.run(["tar", options[0], target, *options[1:], "-C", base, *always], here.log("images"), timeout=600)


def _matches(path: str, patterns: list[str]) -> bool:
    return any(Path(path).match(pattern) for pattern in patterns)


def python_images(here: Places, folder: Path) -> list[Image]:
    """Make the base images of our Dockerfile: one to install with, one to run on."""
    # both have the interpreter where the public image has it, so that what one installs runs on the other
    links = {f"usr/local/bin/{name}": "/usr/bin/python3.11" for name in ("python", "python3", "python3.11")}
    over = folder / "python-over.tar"
    write_layer(over, {}, USERS, links)
    build_over = folder / "python-build-over.tar"
    write_layer(build_over, {}, {}, links)
    run = debian_layer(here, folder / "python.tar", "python")
    build = debian_layer(here, folder / "python-build.tar", "python-build", whole=True)
    config = {"Env": [PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]}
    return [Image((MADE_PYTHON,), (run, over), config), Image((MADE_BUILD,), (build, build_over), config)]


def redis_image(here: Places, folder: Path) -> Image:
    """Make Redis from Debian's package."""
    over = folder / "redis-over.tar"
    write_layer(over, {}, {"etc/passwd": PASSWD + "redis:x:999:999::/data:/sbin/nologin\n", "etc/group": GROUP + "redis:x:999:\n"})
    layer = debian_layer(here, folder / "redis.tar", "redis")
    config = {"Env": [PATH], "Cmd": ["redis-server"], "WorkingDir": "/"}
    return Image((MADE_REDIS,), (layer, over), config)


def dapr_images(here: Places, folder: Path) -> list[Image]:
    """Make Dapr's images under the names that its chart asks for."""
    base = debian_layer(here, folder / "static.tar", "static")
    users = folder / "static-users.tar"
    write_layer(users, {}, USERS)
    tag = tools.projects()["dapr"].version
    made = []
    for name in DAPR_PROGRAMS:
        layer = folder / f"dapr-{name}.tar"
        write_layer(layer, {name: tools.find(here, "dapr", name)})
        made.append(Image((f"{DAPR_REGISTRY}/{name}:{tag}",), (base, users, layer), {"User": NONROOT, "WorkingDir": "/", "Env": [PATH]}))
    return made


def named(source: str) -> dict[str, str]:
    """Find the image constants in kind's Go sources."""
    return dict(re.findall(r'const (\w+Image) = "([^"]+)"', source))


def sandbox_image(containerd_config: str) -> str:
    """Find the pause image in containerd's configuration."""
    found = re.search(r'sandbox_image\s*=\s*"([^"]+)"', containerd_config)
    if not found:
        raise ValueError("containerd's configuration names no sandbox image")
    return found.group(1)


def kubeadm_images(here: Places) -> list[str]:
    """Ask kubeadm which images it wants."""
    kubeadm = tools.find(here, "kubernetes", "kubeadm")
    version = f"v{tools.projects()['kubernetes'].version}"
    return shell.ask([kubeadm, "config", "images", "list", "--kubernetes-version", version]).split()


def control_plane_images(here: Places, folder: Path) -> dict[str, Image]:
    """Make what kubeadm and kind ask for; keyed by the last part of the name."""
    made: dict[str, Image] = {}
    at_path = {"Env": [PATH]}
    sources = tools.find(here, "kind", "sources")
    constants = named("\n".join(file.read_text() for file in sorted(sources.glob("const*.go"))))
    pause = sandbox_image((tools.find(here, "kind", "node-files") / "etc/containerd/config.toml").read_text())
    busybox = folder / "busybox.tar"
    shell_links = {f"bin/{name}": "/bin/busybox" for name in ("sh", "mkdir", "rm", "sleep")}
    write_layer(busybox, {"bin/busybox": debian.root(here) / "bin/busybox"}, USERS, shell_links)
    wanted = {split[0].rpartition("/")[2]: name for name in kubeadm_images(here) if (split := name.rpartition(":"))}

    def layer_of(name: str, place: str, project: str) -> Path:
        layer = folder / f"{name}.tar"
        write_layer(layer, {place: tools.find(here, project, name)}, USERS)
        return layer

    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        made[name] = Image((wanted[name],), (layer_of(name, f"usr/local/bin/{name}", "kubernetes"),), at_path)
    tables = debian_layer(here, folder / "iptables.tar", "kube-proxy")
    made["kube-proxy"] = Image((wanted["kube-proxy"],), (tables, layer_of("kube-proxy", "usr/local/bin/kube-proxy", "kubernetes")), at_path)
    made["etcd"] = Image((wanted["etcd"],), (layer_of("etcd", "usr/local/bin/etcd", "etcd"),), at_path)
    made["coredns"] = Image((wanted["coredns"],), (layer_of("coredns", "coredns", "coredns"),), {"Entrypoint": ["/coredns"]})
    # kind insists on kindnetd's image although our cluster starts without it: the name gets the pause image
    idle = {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"], "User": "65535:65535"}
    pauses = dict.fromkeys([pause, wanted.get("pause", pause), constants["kindnetdImage"]])
    made["pause"] = Image(tuple(pauses), (busybox,), idle)
    provisioner = layer_of("local-path-provisioner", "usr/local/bin/local-path-provisioner", "local-path-provisioner")
    made["local-path-provisioner"] = Image((constants["storageProvisionerImage"],), (provisioner,), at_path)
    made["local-path-helper"] = Image((constants["storageHelperImage"],), (busybox,), at_path)
    return made


def python_key() -> str:
    """Give the key of the base images for our Dockerfile."""
    return digest(debian.read_recipe().key, Path(__file__).read_bytes())


def provide_python(here: Places, engine: Engine) -> None:
    """Load the base images of our Dockerfile into the engine unless it has these very ones."""
    marker = f"holdfast.local/python-key:{python_key()}"
    if all(engine.has_image(name) for name in (MADE_PYTHON, MADE_BUILD, marker)):
        return
    debian.provide(here)
    folder = here.cache / "tmp" / f"python-{here.name}"
    tools.remove_tree(folder)
    folder.mkdir(parents=True)
    log = here.log("images")
    log.unlink(missing_ok=True)
    with step("make the Python base images", log):
        run, build = python_images(here, folder)
        archive = folder / "archive.tar"
        write_archive(archive, [Image((*run.names, marker), run.layers, run.config), build], architecture())
        shell.run(["docker", "load", "--quiet", "--input", archive], log, env=engine.environment(), timeout=300)
    tools.remove_tree(folder)
