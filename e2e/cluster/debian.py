"""One Debian root file system, and the slices of it that images are made of.

debootstrap runs once. An image then gets the files of a few packages and of all that those depend on, read from dpkg's own
records: no shell, no package manager, unless it asks for them. What Debian's install scripts make, and thus no package lists
(certificates, alternatives, the /bin and /lib links), is added by name.
"""

import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.faults import Fault
from e2e.cluster.locks import locked
from e2e.cluster.mounts import unmount_below
from e2e.cluster.packages import search_path
from e2e.cluster.pins import digest
from e2e.cluster.places import Places
from e2e.cluster.progress import step

PINS = Path(__file__).parent / "debian" / "packages.toml"
KEY_FILE = ".holdfast-key"
MIRROR_FIX = "set HOLDFAST_DEBIAN_MIRROR to the address of a Debian mirror"
MADE_BY_SCRIPTS = ("etc/ssl/certs/ca-certificates.crt", "etc/alternatives", "etc/ld.so.cache", "etc/localtime", "etc/debian_version")


@dataclass(frozen=True)
class Recipe:
    """The contents of packages.toml."""

    release: str
    slices: dict[str, list[str]]
    without: frozenset[str]

    @property
    def key(self) -> str:
        """The key of what debootstrap makes; how it is cut into slices does not matter to it."""
        return digest(self.release, *self.include)

    @property
    def include(self) -> list[str]:
        """All packages that debootstrap must install."""
        return sorted({name for names in self.slices.values() for name in names})


def read_recipe(path: Path = PINS) -> Recipe:
    """Read what is to be installed."""
    table = tomllib.loads(path.read_text())
    release, without = table.pop("release"), table.pop("without")
    return Recipe(release, table, frozenset(without["packages"]))


def mirror_in(sources: str) -> str:
    """Find the first Debian mirror in apt's sources, of either format; empty when there is none."""
    one_line = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+\S+\s+main\b")
    uri = ""
    for line in sources.splitlines():
        if found := one_line.match(line):
            candidate = found.group(1)
        elif line.startswith("URIs:"):
            candidate = line.split()[1]
        else:
            continue
        if candidate.rstrip("/").endswith("/debian"):
            return candidate
        uri = uri or candidate
    return uri if uri.rstrip("/").endswith("debian") else ""


def mirror() -> str:
    """Find the mirror that this machine uses itself."""
    if own := os.environ.get("HOLDFAST_DEBIAN_MIRROR"):
        return own
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    found = mirror_in("\n".join(file.read_text(errors="replace") for file in files if file.is_file()))
    if not found:
        raise Fault("apt's sources name no Debian mirror", fix=MIRROR_FIX)
    return found


def root(here: Places) -> Path:
    """Where the root file system is."""
    return here.cache / "debian" / read_recipe().release


def ready(here: Places) -> bool:
    """Tell whether the root file system is there and made from these pins."""
    key = root(here) / KEY_FILE
    return key.is_file() and key.read_text() == read_recipe().key


def remove(path: Path) -> None:
    """Remove a root file system, of which a killed debootstrap may have left /proc mounted."""
    unmount_below(path)
    if path.exists():
        shutil.rmtree(path)


def provide(here: Places) -> None:
    """Make the root file system unless it is there."""
    if ready(here):
        return
    with locked(here.cache / "debian" / ".lock", "installing Debian for the images"):
        if not ready(here):
            _install(here)


def _install(here: Places) -> None:
    recipe, target = read_recipe(), root(here)
    fresh = target.with_name(target.name + ".new")
    log = here.log("debootstrap")
    log.unlink(missing_ok=True)
    with step(f"install Debian {recipe.release} for the images", log):
        remove(fresh)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        argv = ["debootstrap", "--variant=minbase", f"--include={','.join(recipe.include)}", recipe.release, str(fresh), mirror()]
        environment = {**os.environ, "PATH": search_path(), "DEBIAN_FRONTEND": "noninteractive"}
        shell.run(argv, log, env=environment, timeout=1200, fix=MIRROR_FIX)
        unmount_below(fresh)
        shutil.rmtree(fresh / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(fresh / "var/lib/apt/lists", ignore_errors=True)
        (fresh / KEY_FILE).write_text(recipe.key)
        remove(target)
        fresh.rename(target)


@dataclass(frozen=True)
class Package:
    """One paragraph of dpkg's status file."""

    name: str
    essential: bool
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def parse_status(status: str) -> dict[str, Package]:
    """Read dpkg's status file: which package needs which others; each need a tuple of alternatives."""
    packages = {}
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Essential|Depends|Pre-Depends|Provides): (.*)$", paragraph, re.MULTILINE))
        if "Package" not in fields:
            continue
        needs = ", ".join(filter(None, (fields.get("Depends"), fields.get("Pre-Depends"))))
        depends = tuple(tuple(_name(one) for one in need.split("|")) for need in needs.split(",") if need.strip())
        provides = tuple(_name(one) for one in fields.get("Provides", "").split(",") if one.strip())
        packages[fields["Package"]] = Package(fields["Package"], fields.get("Essential") == "yes", depends, provides)
    return packages


def _name(item: str) -> str:
    return item.strip().split(" ")[0].split(":")[0]


def closure(packages: dict[str, Package], wanted: list[str], without: frozenset[str] = frozenset()) -> set[str]:
    """List the packages needed by some, and by those in turn, leaving out some and what only they need."""
    provided = {name: package.name for package in packages.values() for name in package.provides}
    found: set[str] = set()
    queue = list(wanted)
    while queue:
        name = queue.pop()
        real = name if name in packages else provided.get(name)
        if real is None or real in found or real in without:
            continue
        found.add(real)
        for alternatives in packages[real].depends:
            queue += [next((one for one in alternatives if one in packages or one in provided), alternatives[0])]
    return found


def package_files(base: Path, names: set[str]) -> set[str]:
    """List the files of packages as they are in the root file system, without documentation; paths relative, links resolved.

    A package may list /lib/x while /lib is a link to /usr/lib: the folder part of every path is resolved.
    """
    files = set()
    info = base / "var/lib/dpkg/info"
    resolved: dict[str, str] = {}
    for record in info.glob("*.list"):
        if record.name.removesuffix(".list").split(":")[0] not in names:
            continue
        for line in record.read_text().splitlines():
            if line == "/." or line.startswith(("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/lintian/")):
                continue
            parent, _, last = line.rpartition("/")
            if parent not in resolved:
                real = (base / parent.lstrip("/")).resolve()
                resolved[parent] = str(real.relative_to(base)) if real.is_relative_to(base) else parent.lstrip("/")
            path = f"{resolved[parent]}/{last}".lstrip("/").removeprefix("./")
            if os.path.lexists(base / path):
                files.add(path)
    return files


def alternatives(base: Path) -> dict[str, str]:
    """Map every link that Debian's alternatives made (/usr/sbin/iptables) to the file that it leads to in the end."""
    found = {}
    for record in (base / "var/lib/dpkg/alternatives").iterdir():
        for line in record.read_text().splitlines():
            link = base / line.lstrip("/")
            if line.startswith("/") and link.is_symlink():
                choice = base / str(link.readlink()).lstrip("/")
                if choice.is_symlink():
                    found[line.lstrip("/")] = str(choice.readlink()).lstrip("/")
    return found


def slice_files(base: Path, recipe: Recipe, name: str) -> list[str]:
    """List the files of a slice, ready for tar: parents first."""
    packages = parse_status((base / "var/lib/dpkg/status").read_text())
    files = package_files(base, closure(packages, recipe.slices[name], recipe.without))
    files |= {path for path in MADE_BY_SCRIPTS if os.path.lexists(base / path)}
    files |= {str(path.relative_to(base)) for path in (base / "etc/alternatives").iterdir()}
    files |= {link for link, target in alternatives(base).items() if target in files}
    links = {entry.name for entry in base.iterdir() if entry.is_symlink()}  # /bin, /lib, ... of a merged /usr
    files |= links | {str((base / link).readlink()) for link in links}
    parents = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    return sorted(files | parents)


def image_files(base: Path, recipe: Recipe, name: str) -> list[str]:
    """List every file of the root file system but those of packages that neither this slice nor Debian itself needs."""
    packages = parse_status((base / "var/lib/dpkg/status").read_text())
    essential = [package.name for package in packages.values() if package.essential]
    kept = closure(packages, [*recipe.slices[name], *essential, "apt", "debian-archive-keyring"])
    foreign = package_files(base, set(packages) - kept) - package_files(base, kept)
    every = []
    for folder, folders, files in os.walk(base):
        at = os.path.relpath(folder, base)
        every += [os.path.normpath(os.path.join(at, one)) for one in (*folders, *files)]  # noqa: PTH118 - strings, for tar
    return sorted(path for path in every if path not in foreign and path != KEY_FILE)
