"""Revisions: what an agent does, as data. A run is carried on by the revision that it began with, whichever pod has it now."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from holdfast_agent import documents
from holdfast_agent.answers import Contract
from holdfast_agent.model import Message, system_message, tool_declarations
from holdfast_agent.plan import models_of
from holdfast_agent.store import Store
from holdfast_agent.team import Team
from holdfast_agent.tools import Toolbox, ToolboxError, ToolSpec
from holdfast_api.config import AgentConfig, ModelConfig

_LOG = logging.getLogger(__name__)
_KEPT: Final = 8


class RevisionError(Exception):
    """A revision that a run is pinned to cannot be had here now; the message says why."""


@dataclass(frozen=True)
class Revision:
    """One AgentConfig, ready to work: its tools are open, its prompt and declarations are made.

    Attributes:
        prompt: system prompt; empty: none.
        contract: what an answer has to be; None: anything.
    """

    name: str
    config: AgentConfig
    toolbox: Toolbox
    prompt: str
    declared: "Declarations"
    contract: Contract | None = None
    team: Team | None = None

    @property
    def preamble(self) -> tuple[Message, ...]:
        """What comes before the conversation: the prompt, the team as it is now, and what cannot be had now."""
        prompt = "\n\n".join(text for text in (self.prompt, self.team and self.team.prompt(), _missing(self.toolbox.missing)) if text)
        return (system_message(prompt),) if prompt else ()

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """All that a run may ask, each at its place."""
        return models_of(self.config)

    def model(self, call: Mapping[str, Any]) -> ModelConfig:
        """Which of them a step asks: its input's `model`, if there are so many; the first one if it says nothing."""
        return self.models[min(int(call.get("model", 0)), len(self.models) - 1)]

    @property
    def context(self) -> int:
        """Tokens that every one of them can take, so that any can carry a run on."""
        return min(model.context_tokens for model in self.models)

    @classmethod
    async def open(cls, config: AgentConfig, environ: Mapping[str, str]) -> "Revision":
        """Make a configuration ready.

        Raises:
            ToolboxError: a tool cannot be opened, or `output.schema` is none.
        """
        try:
            contract = Contract(config.output.json_schema) if config.output else None
        except ValueError as error:
            raise ToolboxError(str(error)) from error
        toolbox = await Toolbox.open(config, environ=environ)
        prompt = "\n\n".join(text for text in (config.system_prompt, contract and contract.instructions) if text)
        team = Team.of(config, environ) if config.team else None
        return cls(config.revision, config, toolbox, prompt, Declarations(toolbox), contract, team)

    async def declarations(self) -> tuple[Any, ...]:
        """The tools as a model is told of them, with those that a server has listed by now."""
        await self.toolbox.settled()
        return self.declared.now()


def _missing(names: Sequence[str]) -> str:
    return f"At the moment you cannot use these tools, because they cannot be reached: {', '.join(names)}." if names else ""


class Declarations:
    """The tools as a model is told of them; made again when they change."""

    def __init__(self, toolbox: Toolbox) -> None:
        """Make them once, so that what cannot be declared shows at the start."""
        self._toolbox = toolbox
        self._specs: tuple[ToolSpec, ...] | None = None
        self._made: tuple[Any, ...] = ()
        self.now()

    def now(self) -> tuple[Any, ...]:
        """As they are now."""
        specs = self._toolbox.specs
        if specs is not self._specs:
            self._made, self._specs = tuple(tool_declarations(specs)), specs
        return self._made


@dataclass
class _Opened:
    """A revision that is open or being opened, and how many use it or wait for it."""

    task: "asyncio.Task[Revision]"
    users: int = 0

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class Revisions:
    """The revision of this pod, and those of older runs, loaded when one comes along."""

    def __init__(self, current: Revision, store: Store, environ: Mapping[str, str]) -> None:
        self.current = current
        self._store, self._environ = store, environ
        self._open: dict[str, _Opened] = {}

    async def publish(self) -> None:
        """Write the current revision down, so that later pods can carry on the runs that begin here.

        Raises:
            StoreError: the store does not answer.
        """
        await self._store.create(documents.revision_key(self.current.name), self.current.config.document())

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Revision]:
        """The revision of that name, opened once, and open for as long as it is used. Those unused for longest are closed.

        Raises:
            RevisionError: it is not in the store, or its tools cannot be opened here.
            StoreError: the store does not answer.
        """
        if name == self.current.name:
            yield self.current
            return
        opened = self._open.pop(name, None)
        if opened is None or opened.failed:
            opened = _Opened(asyncio.ensure_future(self._load(name)))
        self._open[name] = opened
        opened.users += 1
        try:
            yield await asyncio.shield(opened.task)
        finally:
            opened.users -= 1
            await self._drop_unused()

    async def close(self) -> None:
        """Close the tools of all revisions."""
        await self.current.toolbox.close()
        while self._open:
            await _close(self._open.popitem()[1].task)

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
        return replace(opened, name=name)

    async def _drop_unused(self) -> None:
        # While one is closed, others come into use and are dropped elsewhere: each is looked for anew, and nobody finds it from then on.
        while len(self._open) > _KEPT and (name := self._unused()) is not None:
            await _close(self._open.pop(name).task)

    def _unused(self) -> str | None:
        return next((name for name, opened in self._open.items() if not opened.users), None)


async def _close(task: "asyncio.Task[Revision]") -> None:
    if task.done() and not task.cancelled() and task.exception() is None:
        await task.result().toolbox.close()
    else:
        task.cancel()
