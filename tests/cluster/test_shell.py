import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from e2e.cluster import locks, progress, shell
from e2e.cluster.faults import Fault

ROOT = Path(__file__).resolve().parents[2]


def gone(pid, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_failure_shows_the_end_of_the_log_its_path_and_the_fix(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(Fault) as caught:
        shell.run(["sh", "-c", "echo reason; exit 3"], log, fix="do this")
    report = caught.value.report()
    assert "sh -c" in report
    assert "ended with 3" in report
    assert "| reason" in report
    assert str(log) in report
    assert "fix: do this" in report


def test_a_program_that_is_not_there_is_a_fault(tmp_path):
    with pytest.raises(Fault, match="cannot start /nowhere/x"):
        shell.run(["/nowhere/x"], tmp_path / "log")
    assert shell.answer(["/nowhere/x"])[0] == 127


def test_too_long_ends_the_whole_group(tmp_path):
    pid_file = tmp_path / "pid"
    with pytest.raises(Fault, match="longer than"):
        shell.run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], tmp_path / "log", timeout=1)
    assert gone(int(pid_file.read_text()))


def test_a_child_dies_with_a_killed_parent(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, time; from e2e.cluster import shell; from pathlib import Path\n"
        f"p = shell.start(['sleep', '60'], subprocess.DEVNULL); Path({str(pid_file)!r}).write_text(str(p.pid)); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(5)
    assert gone(int(pid_file.read_text()))


def test_a_lock_falls_with_its_killed_holder(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import time; from pathlib import Path; from e2e.cluster.locks import locked\n"
        f"with locked(Path({str(path)!r}), 'x'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Fault, match="another process"), locks.locked(path, "x", timeout=0.5):
        pass
    holder.kill()
    holder.wait(5)
    with locks.locked(path, "x", timeout=5):
        pass
    holder.stdout.close()


def test_a_holder_may_remove_what_it_holds_and_the_next_one_holds_a_file_that_is_there(tmp_path):
    path = tmp_path / "run" / "lock"
    order = []

    def wait():
        with locks.locked(path, "x", timeout=10):
            order.append(path.exists())

    with locks.locked(path, "x"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        shutil.rmtree(path.parent)
    waiting.join(10)
    assert order == [True]


@pytest.mark.parametrize(("seconds", "shown"), [(0.42, "0.4s"), (12.6, "13s"), (185, "3m05s")])
def test_durations(seconds, shown):
    assert progress.clock(seconds) == shown


def test_a_step_shows_name_and_time_and_says_when_it_failed(capsys):
    with progress.step("good"):
        pass
    with pytest.raises(ValueError, match="x"), progress.step("bad"):
        raise ValueError("x")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split()[:2] == ["ok", "good"]
    assert lines[1].split()[:2] == ["!!", "bad"]


def test_a_long_step_shows_that_it_lives(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "PLAIN_TICK", 0.3)
    log = tmp_path / "log"
    log.write_text("compiling x\n")
    with progress.step("long", log):
        time.sleep(1)
    alive = [line for line in capsys.readouterr().err.splitlines() if line.strip().startswith("..")]
    assert alive
    assert "long" in alive[0]
    assert "compiling x" in alive[0]
