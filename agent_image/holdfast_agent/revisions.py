"""Revisions: what an agent does, as data. A run is carried on by the revision that it began with, whichever pod has it now."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from holdfast_agent import documents
from holdfast_agent.model import Message, system_message, tool_declarations
from holdfast_agent.store import Store
from holdfast_agent.tools import Toolbox, ToolboxError
from holdfast_api.config import AgentConfig

_LOG = logging.getLogger(__name__)
_KEPT: Final = 8


class RevisionError(Exception):
    """A revision that a run is pinned to cannot be had here now; the message says why."""


@dataclass(frozen=True)
class Revision:
    """One AgentConfig, ready to work: its tools are open, its prompt and declarations are made."""

    name: str
    config: AgentConfig
    toolbox: Toolbox
    preamble: tuple[Message, ...]
    declarations: tuple[Any, ...]

    @classmethod
    async def open(cls, config: AgentConfig, environ: Mapping[str, str]) -> "Revision":
        """Make a configuration ready.

        Raises:
            ToolboxError: a tool cannot be opened.
        """
        toolbox = await Toolbox.open(config, environ=environ)
        preamble = (system_message(config.system_prompt),) if config.system_prompt else ()
        return cls(config.revision, config, toolbox, preamble, tuple(tool_declarations(toolbox.specs)))


class Revisions:
    """The revision of this pod, and those of older runs, loaded when one comes along."""

    def __init__(self, current: Revision, store: Store, environ: Mapping[str, str]) -> None:
        self.current = current
        self._store, self._environ = store, environ
        self._open: dict[str, asyncio.Task[Revision]] = {}

    async def publish(self) -> None:
        """Write the current revision down, so that later pods can carry on the runs that begin here.

        Raises:
            StoreError: the store does not answer.
        """
        await self._store.create(documents.revision_key(self.current.name), self.current.config.document())

    async def get(self, name: str) -> Revision:
        """The revision of that name, opened once.

        Raises:
            RevisionError: it is not in the store, or its tools cannot be opened here.
            StoreError: the store does not answer.
        """
        if name == self.current.name:
            return self.current
        task = self._open.get(name)
        if task is None or (task.done() and task.exception()):
            task = self._open[name] = asyncio.ensure_future(self._load(name))
            await self._drop_oldest()
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close the tools of all revisions."""
        await self.current.toolbox.close()
        for task in self._open.values():
            await _close(task)

    async def _load(self, name: str) -> Revision:
        entry = await self._store.get(documents.revision_key(name))
        if entry is None:
            raise RevisionError(f"the run began with revision {name}, which is not in the state store")
        try:
            config = AgentConfig.model_validate(entry.value)
            opened = await Revision.open(config, self._environ)
        except ValidationError as error:
            raise RevisionError(
                f"the run began with revision {name}, which this image cannot read: {error.error_count()} errors"
            ) from error
        except ToolboxError as error:
            raise RevisionError(f"the run began with revision {name}, whose tools cannot be opened here: {error}") from error
        _LOG.info("carrying on runs of revision %s", name)
        # The document may hold fields of a newer version that this image leaves out, so its name is where it was found.
        return Revision(name, opened.config, opened.toolbox, opened.preamble, opened.declarations)

    async def _drop_oldest(self) -> None:
        while len(self._open) > _KEPT:
            await _close(self._open.pop(next(iter(self._open))))


async def _close(task: "asyncio.Task[Revision]") -> None:
    if task.done() and not task.cancelled() and task.exception() is None:
        await task.result().toolbox.close()
    else:
        task.cancel()
