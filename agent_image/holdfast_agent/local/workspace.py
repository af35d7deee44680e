"""The folder that holds everything of one agent here: state, Dapr's data, logs, and which runs were asked for.

state.db             runs and their documents (SQLite)
scheduler/           what wakes workflows; as much a part of the state as the database
resources/           Components and Resiliency that daprd reads, written anew at each start
configuration.yaml   as above
agent.json           the resolved AgentConfig
runs.json            ids and tasks of the last runs, so that the same command goes on with an unfinished one
together/            where Agents that are served beside this one find each other, if this is the first of them
app.token            what callers of the HTTP API send; kept, so that scripts go on working
audit.key            what signs the records of runs
logs/                of every process
run.lock             held by the command
processes.lock       held by every process that the command started, until the last of them is gone
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from holdfast_agent.local.faults import LocalError

CONFIG: Final = "agent.json"
_FOLDERS: Final = {"logs", "resources", "scheduler", "together"}
_KEPT_RUNS = 100
_SECRET_BYTES = 32
_POLL_SECONDS = 0.1
_LEFTOVER_SECONDS = 60.0


@dataclass(frozen=True)
class AskedRun:
    """A run that the command asked for."""

    id: str
    task: str
    ended: bool = False
    session: str | None = None


def default_folder(agent: str, environ: Mapping[str, str], home: Path) -> Path:
    """Where an agent's folder is unless the user says otherwise."""
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "holdfast" / agent


def named_folder(folder: Path, agent: str, *, several: bool) -> Path:
    """Where an agent's folder is when the user names one: where its runs are already, however it was served then.

    Args:
        folder: what was named. Of an agent that is served alone it is the folder, of several it holds theirs.
        agent: its name.
        several: whether it is served beside others.

    Raises:
        LocalError: the agent's folder would be one that another agent has for itself.
    """
    within = folder / agent
    for place in (folder, within):
        if _held(place) == agent:
            return place
    if several and agent in _FOLDERS and (other := _held(folder)):
        raise LocalError(
            f"the folder {within} belongs to the Agent {other!r}: choose another with --state-dir, or rename the Agent {agent!r}"
        )
    return within if several else folder


def _held(folder: Path) -> str | None:
    """The name of the agent whose folder it is; None: nobody's, as far as can be read."""
    try:
        found = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return None
    return found.get("name") if isinstance(found, dict) else None


class Workspace:
    """The folder, and who may use it."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, for this user only.

        Raises:
            LocalError: it cannot be made.
        """
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LocalError(f"the folder {folder} cannot be made: {error}: choose another with --state-dir") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands out while the block lasts.

        Raises:
            LocalError: another one is in.
        """
        with (self.folder / "run.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                raise LocalError(
                    f"this agent is already running here (process {holder}, folder {self.folder}): wait for it, end it, or use another "
                    "--state-dir, which has its own runs"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    @contextlib.asynccontextmanager
    async def processes_lock(self, say: Callable[[str], None]) -> AsyncIterator[int]:
        """A descriptor for every process to inherit; entered only when all that an earlier command left behind are gone.

        Raises:
            LocalError: they do not go.
        """
        with (self.folder / "processes.lock").open("a") as lock:
            for attempt in range(int(_LEFTOVER_SECONDS / _POLL_SECONDS)):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if attempt == 1:
                        say("waiting for the processes of an earlier run to end")
                    await asyncio.sleep(_POLL_SECONDS)
            else:
                raise LocalError(f"processes of an earlier run do not end: see `fuser {self.folder / 'processes.lock'}`")
            yield lock.fileno()

    def runs(self) -> list[AskedRun]:
        """The last runs, oldest first."""
        try:
            return [AskedRun(**entry) for entry in json.loads((self.folder / "runs.json").read_text())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise LocalError(f"{self.folder / 'runs.json'} is damaged ({error}): remove it; runs can then be resumed by their id") from None

    def unfinished(self, task: str | None = None, session: str | None = None) -> AskedRun | None:
        """The last run that has not ended; of this task and session when a task is given."""
        found = (run for run in reversed(self.runs()) if not run.ended)
        return next((run for run in found if task is None or (run.task, run.session) == (task, session)), None)

    def secret(self, name: str) -> str:
        """A random text that this folder keeps in a file of that name, for this user only; made when it is first asked for.

        Raises:
            LocalError: the file is there and empty.
        """
        path = self.folder / name
        fresh = self.folder / f"{name}.new"
        if not path.exists():
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(_SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        if not (found := path.read_text().strip()):
            raise LocalError(f"{path} is empty: remove it, and it is made anew")
        return found

    def remember(self, run: AskedRun) -> None:
        """Write a run down, in place of what was known of it; on the disk when this returns."""
        runs = [known for known in self.runs() if known.id != run.id]
        fresh = self.folder / "runs.json.new"
        with fresh.open("w") as file:
            json.dump([asdict(each) for each in [*runs, run][-_KEPT_RUNS:]], file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / "runs.json")
