"""What is needed in which version: read from `tools/projects.toml` and each project's `go.mod`, never written a second time."""

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"


@dataclass(frozen=True)
class Project:
    """One Go module and what we take from it."""

    name: str
    module: str
    version: str
    key: str
    binaries: dict[str, str]
    folders: dict[str, str] = field(default_factory=dict)
    ldflags: str = ""
    tags: str = ""

    @property
    def source(self) -> Path:
        """The folder with the pins."""
        return TOOLS / self.name


def required_version(go_mod: str, module: str) -> str:
    """Find the version (without its v) that a go.mod requires of a module."""
    found = re.search(rf"^(?:require\s+|\t){re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if not found:
        raise ValueError(f"go.mod requires no {module}")
    return found.group(1)


def digest(*parts: bytes | str) -> str:
    """Make a short key of everything that decides what is built."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def read_projects(folder: Path = TOOLS) -> dict[str, Project]:
    """Read every project's pins."""
    table = tomllib.loads((folder / "projects.toml").read_text())
    table.pop("sets")
    projects = {}
    for name, entry in table.items():
        go_mod, go_sum = (folder / name / "go.mod").read_text(), (folder / name / "go.sum").read_text()
        version = required_version(go_mod, entry["module"])
        ldflags = entry.get("ldflags", "").format(version=version, minor=version.split(".")[1])
        code = [file.read_text() for file in sorted((folder / name).glob("*.go"))]
        key = digest(repr(sorted(entry.items())), go_mod, go_sum, *code)
        projects[name] = Project(
            name, entry["module"], version, key, entry["binaries"], entry.get("folders", {}), ldflags, entry.get("tags", "")
        )
    return projects


def read_sets(folder: Path = TOOLS) -> dict[str, list[str]]:
    """Read which set asks for which projects."""
    sets: dict[str, list[str]] = tomllib.loads((folder / "projects.toml").read_text())["sets"]
    return sets


def wanted(sets: dict[str, list[str]], projects: dict[str, Project], names: list[str]) -> dict[str, list[str]]:
    """Say which artefacts (programs and folders) of which project a list of set names needs, in the order of the sets."""
    need: dict[str, list[str]] = {}
    for name in names:
        if name not in sets:
            raise ValueError(f"no tool set {name!r}; there are: {', '.join(sets)}")
        for item in sets[name]:
            project, _, artefact = item.partition("/")
            every = [*projects[project].binaries, *projects[project].folders]
            chosen = [artefact] if artefact else every
            kept = need.setdefault(project, [])
            kept += [one for one in chosen if one not in kept]
    return need
