"""Dapr's processes start together, keep their ports, survive each other's deaths and never outlive their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import pytest

from holdfast_agent.local.binaries import DAPR_VERSION, find
from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.ports import free_ports, is_free
from holdfast_agent.local.process import Process

pytestmark = pytest.mark.dapr


async def _state(dapr, method, key="", **options):
    url = f"http://127.0.0.1:{dapr.http_port}/v1.0/state/state{key}"
    headers = {"dapr-api-token": "token-of-the-sidecar"}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, **options) as response:
        return response.status, await response.read()


async def _saved(dapr):
    try:
        status, _ = await _state(dapr, "POST", json=[{"key": "k", "value": "v"}])
    except aiohttp.ClientError:
        return False
    return status == 204


async def test_all_parts_serve_on_the_loopback_and_daprd_wants_its_token(start_dapr, sqlite_component):
    dapr = await start_dapr([sqlite_component])
    assert await _saved(dapr)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{dapr.http_port}/v1.0/state/state/k") as response:
        assert response.status == 401
    assert dapr.app_environ["DAPR_API_TOKEN"] == "token-of-the-sidecar"


async def test_killed_parts_come_back_on_the_same_ports_with_their_data(start_dapr, sqlite_component):
    dapr = await start_dapr([sqlite_component])
    assert await _saved(dapr)
    for part in ("placement", "daprd"):
        await dapr.kill(part)
        assert not dapr.processes[part].running
        await dapr.restart(part)
    assert await _state(dapr, "GET", "/k") == (200, b'"v"')


async def test_redis_keeps_what_it_acknowledged_across_a_kill(start_dapr, redis_server, eventually):
    dapr = await start_dapr([redis_server.component])
    assert await _saved(dapr)
    await redis_server.kill()
    await redis_server.start()
    assert await eventually(lambda: _read(dapr)) == b'"v"'


async def _read(dapr):
    status, body = await _state(dapr, "GET", "/k")
    return body if status == 200 else None


async def test_daprd_reads_secrets_from_its_environment(start_dapr, sqlite_component, tmp_path):
    sqlite_component["spec"]["metadata"][0] = {"name": "connectionString", "envRef": "HOLDFAST_SECRET_DB"}
    dapr = await start_dapr([sqlite_component], environ={"HOLDFAST_SECRET_DB": str(tmp_path / "elsewhere.db")})
    assert await _saved(dapr)
    assert (tmp_path / "elsewhere.db").exists()


async def test_a_component_that_daprd_refuses_is_told_with_the_end_of_its_log(start_dapr, sqlite_component):
    sqlite_component["spec"]["type"] = "state.nosuchstore"
    with pytest.raises(LocalError, match=r"(?s)daprd ended with code 1; the end of .*daprd\.log:.*state\.nosuchstore"):
        await start_dapr([sqlite_component])


async def test_a_program_that_ends_early_or_is_never_ready_is_told(tmp_path):
    short = Process("short", ["/bin/sh", "-c", "echo cannot go on; exit 3"], env={}, log=tmp_path / "short.log")
    short.start()
    with pytest.raises(LocalError, match=r"(?s)short ended with code 3.*cannot go on"):
        await short.until(_never, within=5)
    slow = Process("slow", ["/bin/sleep", "60"], env={}, log=tmp_path / "slow.log")
    slow.start()
    with pytest.raises(LocalError, match=r"slow was not ready within 0\.1 s"):
        await slow.until(_never, within=0.1)
    await slow.kill()
    assert slow.exit_code == -signal.SIGKILL


async def _never():
    return False


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    script = "trap '' TERM; echo trapped; while :; do sleep 0.05; done"
    stubborn = Process("stubborn", ["/bin/sh", "-c", script], env={"PATH": os.environ["PATH"]}, log=tmp_path / "log")
    stubborn.start()

    async def trapped():
        return "trapped" in stubborn.tail()

    await stubborn.until(trapped, within=5)
    await stubborn.stop(grace=0.3)
    assert stubborn.exit_code == -signal.SIGKILL


async def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LocalError, match=r"ghost cannot be started: .*No such file"):
        Process("ghost", [tmp_path / "ghost"], env={}, log=tmp_path / "log").start()


async def test_children_die_with_a_parent_that_was_killed(tmp_path, eventually):
    program = textwrap.dedent("""
        import pathlib, signal, sys, time
        from holdfast_agent.local.process import Process
        folder = pathlib.Path(sys.argv[1])
        hard = Process("hard", ["/bin/sleep", "60"], env={}, log=folder / "hard.log")
        soft = Process("soft", ["/bin/sh", "-c", "trap 'echo ended softly; exit' TERM; while :; do sleep 0.05; done"],
                       env={"PATH": "/bin:/usr/bin"}, log=folder / "soft.log", on_orphaned=signal.SIGTERM)
        hard.start(); soft.start()
        time.sleep(0.2)
        print(hard.pid, soft.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - it is not waited for
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()

    async def gone():
        return not any(_lives(pid) for pid in pids)

    await eventually(gone)
    assert "ended softly" in (tmp_path / "soft.log").read_text()


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_free_ports_are_different_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_a_port_is_given_to_one_process_while_that_lives():
    ours = free_ports(50)
    ask = (
        "import sys; from holdfast_agent.local import ports; ports._FIRST, ports._LAST = int(sys.argv[1]), int(sys.argv[1])\n"
        "try: print(ports.free_ports(1))\nexcept OSError: print('taken')"
    )
    told = subprocess.run([sys.executable, "-c", ask, str(ours[0])], capture_output=True, text=True, check=True)
    assert told.stdout == "taken\n", told


async def test_a_port_in_use_is_not_free():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        assert not is_free(server.sockets[0].getsockname()[1])


def _fake_dapr(folder, version):
    folder.mkdir(parents=True)
    for name in ("daprd", "placement", "scheduler"):
        (folder / name).write_text(f"#!/bin/sh\necho {version}\n")
        (folder / name).chmod(0o755)


def test_dapr_is_found_where_the_cli_puts_it_and_where_the_repository_builds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    _fake_dapr(tmp_path / "cache" / "bin" / f"dapr-{DAPR_VERSION}", DAPR_VERSION)
    environ = {"HOLDFAST_CACHE": str(tmp_path / "cache")}
    assert find(environ, tmp_path).daprd == tmp_path / "cache" / "bin" / f"dapr-{DAPR_VERSION}" / "daprd"
    _fake_dapr(tmp_path / ".dapr" / "bin", "1.19.0")
    assert find(environ, tmp_path).daprd == tmp_path / ".dapr" / "bin" / "daprd"


def test_an_old_dapr_is_refused_and_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    _fake_dapr(tmp_path / ".dapr" / "bin", "1.17.5")
    with pytest.raises(
        LocalError, match=r"(?s)daprd is version 1\.17\.5.*dapr init --slim --runtime-version 1\.18\.2.*e2e\.cluster tools dapr"
    ):
        find({}, tmp_path)
