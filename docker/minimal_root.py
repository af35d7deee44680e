# ruff: noqa: INP001, T201 - a script for the image build, not a package
"""Gather in one folder what a Python program needs to run and nothing else: the root file system of the final images.

    python3 minimal_root.py /rootfs /opt/holdfast

The final images start from `scratch` and hold this folder: the interpreter, its standard library without the parts that only developers
use, the shared libraries that the interpreter and the program's extension modules are linked with, time zones, and one user without
rights. There is no shell, no compiler, no pip and no package manager, whatever the base image brought along.
Standard library only; no shell is needed. Runs in any glibc image with Python >= 3.11, such as python:3.11-slim.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

USER_ID = 65532
ZONES = Path("/usr/share/zoneinfo")
MERGED = ("bin", "lib", "lib64", "sbin")
LOADERS = ("lib64/ld-linux*.so.*", "lib/ld-linux*.so.*")
# Linked by nobody and opened by glibc at run time: pthread_cancel needs it.
ALSO = ("libgcc_s.so.1",)
# Tests, IDEs, installers and GUI bindings; site-packages is where the base keeps pip.
UNUSED = ("test", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "pydoc_data", "distutils", "site-packages", "dist-packages")
UNUSED_FILES = ("*.a", "*.o", "config-3*", "_tkinter*.so", "_test*.so", "xxlimited*.so", "EXTERNALLY-MANAGED")
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/nonexistent\nholdfast:x:{USER_ID}:{USER_ID}:holdfast:/tmp:/nonexistent\n",
    "etc/group": f"root:x:0:\nholdfast:x:{USER_ID}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def place(path: Path, root: Path) -> None:
    """Copy a file under `root` at its own path; a link is copied as a link, together with what it points at."""
    target = root / path.parent.resolve().relative_to("/") / path.name
    if target.is_symlink() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(path.readlink())
        place(path.parent.resolve() / path.readlink(), root)
    else:
        shutil.copy2(path, target)


def linked(binaries: list[Path]) -> Iterator[Path]:
    """Shared libraries, the loader included, that the binaries need, as the loader itself finds them.

    A module of the standard library may lack one (it cannot be imported in the base either); a program's module may not.
    """
    loader = next(path for pattern in LOADERS for path in Path("/").glob(pattern))
    yield loader
    for binary in binaries:
        listing = subprocess.run([str(loader), "--list", str(binary)], capture_output=True, text=True, check=False).stdout
        if missing := re.findall(r"(\S+) => not found", listing):
            print(f"minimal_root: {binary} is linked with {', '.join(missing)}, which this base lacks", file=sys.stderr)
            if not binary.is_relative_to(sysconfig.get_path("stdlib")):
                sys.exit("minimal_root: take another PYTHON_BUILD_BASE, or install the libraries in it")
        yield from (Path(found) for found in re.findall(r"=> (/\S+) \(0x", listing))


def standard_library(root: Path) -> Path:
    """Copy the standard library without what only developers use.

    Returns:
        Its place under `root`.
    """
    source = Path(sysconfig.get_path("stdlib"))
    target = root / source.relative_to("/")
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", *UNUSED, *UNUSED_FILES))
    return target


def interpreter(root: Path) -> Path:
    """Copy the interpreter, and name it python3 beside itself.

    Returns:
        The binary in the base image.
    """
    binary = Path(sys.executable).resolve()
    place(binary, root)
    (root / binary.parent.relative_to("/") / "python3").symlink_to(binary.name)
    return binary


def system_files(root: Path) -> None:
    """Users, name resolution, time zones, a place for temporary files."""
    for path in (Path("/etc/os-release"), Path("/etc/ld.so.cache")):
        if path.exists():
            place(path, root)
    if ZONES.exists():
        shutil.copytree(ZONES, root / ZONES.relative_to("/"), symlinks=True, ignore=shutil.ignore_patterns("right", "posix"))
    for name, text in FILES.items():
        (root / name).write_text(text)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def main() -> None:
    """Fill the folder of the first argument for the programs in the folders of the others."""
    root, programs = Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]]
    root.mkdir(parents=True)
    for name in MERGED:
        if (Path("/") / name).is_symlink():
            (root / name).symlink_to((Path("/") / name).readlink())
    binary, library = interpreter(root), standard_library(root)
    extensions = [path for folder in (library, *programs) for path in folder.rglob("*.so*") if path.is_file()]
    found = set(linked([binary, *extensions]))
    for path in sorted(found | {beside.parent / name for beside in found for name in ALSO}):
        inside = any(path.is_relative_to(program) for program in programs)
        if path.exists() and not inside:
            place(path, root)
    system_files(root)
    copies = [Path(shutil.copytree(program, root / program.relative_to("/"), symlinks=True)) for program in programs]
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(root)]
    subprocess.run([*compiling, str(library), *map(str, copies)], check=True)


if __name__ == "__main__":
    main()
