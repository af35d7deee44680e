"""Programs from pinned Go modules, each project in a folder of the cache, each program beside the key of the pins it was made from.

What is missing or has another key is built. Every program is built beside its place and renamed into it: a killed build leaves
nothing half, and what runs from there is never pulled away under somebody. While one project compiles, the next one's
modules are fetched. Go's own caches reach 15 GB; once all that a cluster needs is there they have served and are removed.
"""

import json
import os
import shutil
import stat
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.faults import Fault
from e2e.cluster.golang import build_environment, go_program, temporary
from e2e.cluster.locks import locked
from e2e.cluster.pins import Project, read_projects, read_sets, wanted
from e2e.cluster.places import Places
from e2e.cluster.progress import step

BUILD_FIX = "read the log; `go env GOPROXY` must name a reachable module proxy"


@dataclass(frozen=True)
class Job:
    """What of one project is still to be made, and where."""

    project: Project
    folder: Path
    artefacts: list[str]


@cache
def projects() -> dict[str, Project]:
    """All projects by name."""
    return read_projects()


def folder(here: Places, name: str) -> Path:
    """Where a project's programs are."""
    return here.bin(name, projects()[name].version)


def missing(project: Project, at: Path, artefacts: list[str]) -> list[str]:
    """Which artefacts are not there, or not made from these pins."""
    return [name for name in artefacts if not (at / name).exists() or _made_from(at, name) != project.key]


def _key_file(at: Path, artefact: str) -> Path:
    return at / f".{artefact}.key"


def _made_from(at: Path, artefact: str) -> str:
    try:
        return _key_file(at, artefact).read_text().strip()
    except OSError:
        return ""


def plan(here: Places, names: list[str]) -> list[Job]:
    """List what has to be built for these sets."""
    try:
        need = wanted(read_sets(), projects(), names)
    except ValueError as error:
        raise Fault(str(error)) from None
    jobs = [Job(projects()[name], folder(here, name), missing(projects()[name], folder(here, name), need[name])) for name in need]
    return [job for job in jobs if job.artefacts]


def find(here: Places, name: str, program: str) -> Path:
    """Find a program (or folder) of a project that must be there already."""
    at = folder(here, name)
    if missing(projects()[name], at, [program]):
        raise Fault(f"{name}'s {program} has not been built", fix=f"python3 -m e2e.cluster tools {set_with(name)}")
    return at / program


def set_with(name: str) -> str:
    """Name the smallest set that holds a project."""
    holding = [which for which, items in read_sets().items() if any(item.partition("/")[0] == name for item in items)]
    return min(holding, key=lambda which: len(read_sets()[which]), default="cluster")


def provide(here: Places, names: list[str]) -> None:
    """Build whatever of these sets is missing."""
    if not plan(here, names):
        return
    with locked(here.cache / "bin" / ".lock", "building tools"):
        jobs = plan(here, names)
        if not jobs:
            return
        go = go_program(here)
        environment = build_environment(here, go)
        remove_tree(temporary(here))
        temporary(here).mkdir(parents=True)
        with ThreadPoolExecutor(1, "fetch") as pool:
            fetched = {job.project.name: pool.submit(_fetch, here, job, go, environment) for job in jobs}
            try:
                for job in jobs:
                    _build(here, job, go, environment, fetched[job.project.name])
            except BaseException:
                for future in fetched.values():
                    future.cancel()
                shell.end_all()
                raise
        if not plan(here, ["cluster"]):
            drop_go_caches(here)


def drop_go_caches(here: Places) -> None:
    """Remove what only the builds needed, unless the owner of the machine wants to keep it."""
    if os.environ.get("HOLDFAST_KEEP_GO_CACHE"):
        return
    with step("remove Go's caches"):
        for name in ("build", "mod", "download", "tmp"):
            remove_tree(here.cache / "go" / name)


def remove_tree(path: Path) -> None:
    """Remove a tree, Go's read-only module folders included."""
    if not path.exists():
        return
    for root, _, _ in os.walk(path):
        os.chmod(root, stat.S_IRWXU)  # noqa: PTH101 - os.walk gives strings, and there are a hundred thousand
    shutil.rmtree(path)


def _packages(job: Job) -> list[str]:
    return [job.project.binaries[name] for name in job.artefacts if name in job.project.binaries]


def _fetch(here: Places, job: Job, go: Path, environment: dict[str, str]) -> None:
    """Download exactly the modules that the packages need: walking their imports does."""
    log = here.log(f"fetch-{job.project.name}")
    log.unlink(missing_ok=True)
    tags = ["-tags", job.project.tags] if job.project.tags else []
    packages = _packages(job)
    if packages:
        argv: shell.Words = [go, "list", "-deps", *tags, "-f", "", *packages]
        shell.run(argv, log, env=environment, cwd=job.project.source, fix=BUILD_FIX)


def _build(here: Places, job: Job, go: Path, environment: dict[str, str], fetched: "Future[None]") -> None:
    project, log = job.project, here.log(f"build-{job.project.name}")
    log.unlink(missing_ok=True)
    with step(f"fetch {project.name} {project.version}", here.log(f"fetch-{project.name}")):
        fetched.result()
    job.folder.mkdir(parents=True, exist_ok=True)
    with step(f"build {project.name} {project.version}", log) as running:
        for number, name in enumerate(job.artefacts, 1):
            running.note = f"{number}/{len(job.artefacts)} {name}"
            if name in project.folders:
                _copy_folder(job, name, go, environment)
            else:
                _compile(job, name, go, environment, log)
            _key_file(job.folder, name).write_text(project.key + "\n")
        running.note = ""


def _compile(job: Job, name: str, go: Path, environment: dict[str, str], log: Path) -> None:
    fresh = job.folder / f".{name}.new"
    argv: shell.Words = [go, "build", "-v", "-ldflags", f"-s -w {job.project.ldflags}".strip()]
    argv += ["-tags", job.project.tags] if job.project.tags else []
    shell.run([*argv, "-o", fresh, job.project.binaries[name]], log, env=environment, cwd=job.project.source, fix=BUILD_FIX)
    _key_file(job.folder, name).unlink(missing_ok=True)
    fresh.rename(job.folder / name)


def _copy_folder(job: Job, name: str, go: Path, environment: dict[str, str]) -> None:
    argv = [str(go), "mod", "download", "-json", f"{job.project.module}@v{job.project.version}"]
    done = subprocess.run(argv, capture_output=True, env=environment, cwd=job.project.source, check=False)
    try:
        source = Path(json.loads(done.stdout)["Dir"]) / job.project.folders[name]
    except (ValueError, KeyError):
        raise Fault(f"cannot fetch the module {job.project.module}", fix=BUILD_FIX) from None
    fresh, target = job.folder / f".{name}.new", job.folder / name
    remove_tree(fresh)
    remove_tree(target)
    shutil.copytree(source, fresh)
    for entry in (fresh, *fresh.rglob("*")):
        entry.chmod(entry.stat().st_mode | stat.S_IWUSR)
    fresh.rename(target)
