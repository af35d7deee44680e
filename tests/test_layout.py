"""The house stands as it was drawn: arrows, names, and nothing that shadows the standard library."""

import operator
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_import_operator_is_the_standard_librarys():
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))
    assert not (ROOT / "operator/__init__.py").exists()


def test_import_operator_is_the_standard_librarys_from_the_root_too():
    code = "import operator; print(operator.add(2, 3))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.returncode) == ("5", 0)


def test_the_arrows_between_the_packages_hold():
    run = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout


def test_generated_files_are_what_the_models_say():
    run = subprocess.run([sys.executable, "crds/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout
