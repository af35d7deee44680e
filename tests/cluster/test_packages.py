"""Programs of Debian packages: found where Debian puts them, and named by package where they are missing."""

from pathlib import Path

import pytest

from e2e.cluster import packages


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(packages, "POSTGRES", tmp_path / "postgresql")
    return tmp_path


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_what_is_missing_is_named_by_its_package(machine):
    assert packages.missing_packages(["redis-server", "postgres"])[:1] == ["postgresql"]


def test_the_newest_postgresql_is_found_where_debian_puts_it(machine):
    put(machine / "postgresql/9.6/bin", "postgres")
    newest = put(machine / "postgresql/15/bin", "postgres")
    assert packages.program("postgres") == newest
    assert "postgresql" not in packages.missing_packages(["postgres"])
