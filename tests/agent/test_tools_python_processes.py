"""The processes that Python tools run in: ended in time with all that they started, used again, replaced when they die."""

import asyncio
import os
from pathlib import Path

import pytest

from holdfast_agent.outcome import Failure
from holdfast_agent.tools import Toolbox, ToolResult
from tests.agent.toolboxes import python_config, python_tool


async def test_a_call_that_takes_too_long_is_ended_with_all_that_it_started_while_others_go_on(open_python, tmp_path, eventually):
    source = f"""
        import os, subprocess, time
        def hang() -> str:
            child = subprocess.Popen(["sleep", "60"])
            open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
            while True:
                pass
        def quick() -> str:
            return "done"
    """
    box = await open_python(python_tool(source, "hang", timeoutSeconds=1.0), python_tool(source, "quick"))
    hanging = asyncio.create_task(box.call("hang", {}, key="k1"))
    assert await box.call("quick", {}, key="k2") == ToolResult("done")
    failure = await hanging
    assert failure == Failure("transient", "the function did not finish within 1 s and was ended", reach="lost")
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]

    async def gone():
        return not any(_lives(pid) for pid in pids)

    await eventually(gone)
    assert await box.call("quick", {}, key="k3") == ToolResult("done")


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_function_that_prints_without_end_is_ended_and_fills_no_log(open_python, caplog):
    source = """
        def shout() -> str:
            while True:
                print("x" * 1000)
        def quick() -> str:
            print("quiet")
            return "done"
    """
    caplog.set_level("INFO")
    box = await open_python(python_tool(source, "shout", timeoutSeconds=1.0), python_tool(source, "quick"))
    shouting = asyncio.create_task(box.call("shout", {}, key="k1"))
    assert await box.call("quick", {}, key="k2") == ToolResult("done")
    assert (await shouting).reach == "lost"
    printed = [record.getMessage() for record in caplog.records if "[shout k1]" in record.getMessage()]
    assert printed[-1].endswith("prints more than 256 KiB; the rest is left out")
    assert sum(map(len, printed)) < 300 * 1024
    assert await box.call("quick", {}, key="k3") == ToolResult("done")


async def test_calls_run_beside_each_other_and_the_processes_are_used_again(open_python):
    source = """
        import os, time
        def nap() -> int:
            time.sleep(0.5)
            return os.getpid()
    """
    box = await open_python(python_tool(source, "nap"))
    first = {result.content for result in await asyncio.gather(*(box.call("nap", {}, key=str(n)) for n in range(3)))}
    again = {result.content for result in await asyncio.gather(*(box.call("nap", {}, key=str(n)) for n in range(3)))}
    assert len(first) == 3
    assert again == first


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os._exit(7)", "its process ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("os.close(socket); time.sleep(30)", "its process closed the connection"),
        ("os.write(socket, b'\\x7f' * 64); time.sleep(30)", "it spoke out of turn"),
        ("os.write(socket, b'\\0\\0\\0\\1['); time.sleep(30)", "it spoke out of turn"),
    ],
)
async def test_a_process_that_dies_or_misbehaves_is_a_transient_failure_and_is_replaced(open_python, body, words):
    source = f"""
        import os, signal, sys, time
        socket = int(sys.argv[1])
        def f(bad: bool) -> str:
            if bad:
                {body}
            return "fine"
    """
    box = await open_python(python_tool(source, "f", timeoutSeconds=10))
    failure = await box.call("f", {"bad": True}, key="k")
    assert (failure.kind, words in failure.message) == ("transient", True), failure
    assert await box.call("f", {"bad": False}, key="k") == ToolResult("fine")


async def test_a_canceled_call_ends_its_process(open_python, eventually, tmp_path):
    source = f"""
        import os, time
        def f() -> None:
            open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
            time.sleep(60)
    """
    box = await open_python(python_tool(source, "f"))
    call = asyncio.create_task(box.call("f", {}, key="k"))

    async def pid():
        return (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()

    number = int(await eventually(pid))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not _lives(number)


async def test_closing_ends_all_processes(tmp_path):
    source = """
        import os
        def f() -> int:
            return os.getpid()
    """
    box = await Toolbox.open(python_config(python_tool(source, "f")), environ=dict(os.environ))
    pid = int((await box.call("f", {}, key="k")).content)
    await box.close()
    assert not _lives(pid)


async def test_closing_ends_calls_that_run_with_a_failure(eventually):
    source = """
        import time
        def f() -> None:
            time.sleep(60)
    """
    box = await Toolbox.open(python_config(python_tool(source, "f")), environ=dict(os.environ))
    call = asyncio.create_task(box.call("f", {}, key="k"))

    async def running():
        return any(worker.doing == "f k" for worker in box._tools["f"]._pool._all)

    await eventually(running)
    await box.close()
    assert (await call).kind == "transient"
