"""Where a run stands: what the workflow carries from step to step and from one generation to the next. Pure.

Everything in here comes from recorded results, so it is the same again when the workflow is replayed, on whichever process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, Self

from holdfast_agent import documents
from holdfast_agent.audit import Chain, link
from holdfast_agent.documents import Plan, Usage
from holdfast_api import names

Result = dict[str, Any]

REMEMBERED: Final = 16
"""Results that are compared with the next ones. A loop goes round within a few calls; this much of it stays in the workflow's input."""
_ALWAYS: Final = ("run", "revision", "deadline", "max_iterations", "turn", "packed", "segments", "usage")


@dataclass(frozen=True)
class Loop:
    """Where a run stands; also the workflow's input, so it stays small however long the run is.

    Attributes:
        deadline: seconds since the epoch.
        max_iterations: of runs without a plan.
        turn: the next turn, from 1.
        packed: turns whose messages are in segments.
        usage: of every model and tool that worked for the run.
        plan: None: begun by a version that had none, and carried on as that one did.
        summary: the turn whose compaction sums up those before it; 0: there is none.
        context: tokens that the last model call took, or 0 when what it read has been summed up since.
        repairs: answers that did not fit the schema.
        rounds: answers that the critic has judged.
        undo: calls, as `<turn>/<call>`, that have to be undone if the run does not end well, in the order in which they were made.
        repeats: the newest results, oldest first: digest of tool, arguments and result, and how often it came up.
        audit: the chain of the run's records so far; None: it has none.
        closing: the limit that was met, when the model is asked for its best answer.
        met: the error of that limit.
        ending: the error of a run that is being undone.
        left: those of them that could not be undone.
        model: which model is asked, by its place among the first one and its fallbacks. Begins anew with each continue-as-new.
        trace: as in the head; None: nobody traces the run.
        routed: place of the model that is to be asked for the next turn, because of the tools whose results it reads; None: `model`.
    """

    run: str
    revision: str
    deadline: float
    max_iterations: int
    turn: int = 1
    packed: int = 0
    segments: int = 0
    usage: Usage = field(default_factory=Usage)
    plan: Plan | None = None
    summary: int = 0
    context: int = 0
    repairs: int = 0
    rounds: int = 0
    undo: tuple[str, ...] = ()
    repeats: tuple[tuple[str, int], ...] = ()
    audit: Chain | None = None
    closing: str | None = None
    met: dict[str, str] | None = None
    ending: dict[str, str] | None = None
    left: tuple[str, ...] = ()
    model: int = 0
    trace: str | None = None
    routed: int | None = None

    def dump(self) -> dict[str, Any]:
        """As JSON-ready data, without what is as it is at the beginning."""
        written = {name: value for name, value in vars(self).items() if name in _ALWAYS or value != _default(name)}
        return written | {"usage": self.usage.dump()} | ({"plan": self.plan.dump()} if self.plan else {})

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Self:
        """From JSON-ready data; fields of a newer version are left out."""
        known = {name: value for name, value in document.items() if name in cls.__dataclass_fields__}
        known["usage"] = Usage.load(known.get("usage"))
        known["plan"] = Plan.load(known["plan"]) if known.get("plan") else None
        for name in ("undo", "left"):
            known[name] = tuple(known.get(name, ()))
        known["repeats"] = tuple((seen, int(times)) for seen, times in known.get("repeats", ()))
        return cls(**known)

    def after(self, answer: Result, results: Sequence[Result] = ()) -> Self:
        """The same run with one more turn: what the model said and what its calls came to, in their order."""
        used = Usage.load(answer["usage"])
        state = replace(self, turn=self.turn + 1, usage=self.usage.plus(used))
        if state.plan is None:
            return state
        return replace(
            state,
            context=used.tokens,
            model=self._own(int(answer.get("model", self.model)), state.plan),
            routed=state.plan.reader(answer["calls"]) if results else None,
            undo=(*self.undo, *(result["key"].partition("/")[2] for result in results if result.get("undo"))),
            repeats=repeated(self.repeats, fingerprints(answer, results)),
            audit=link(self.audit, [*answer.get("skipped", ()), answer, *results]),
        )

    def _own(self, answered: int, plan: Plan) -> int:
        """Which of the agent's own models goes on after that one has answered: one that was asked for its sake alone changes nothing."""
        return self.model if plan.routes and answered >= plan.models else min(answered, plan.models - 1)

    def skipping(self, answer: Result) -> Self:
        """The same run with one more turn, none of whose calls was carried out.

        The next model call writes that down; nothing can be summed up before, so the conversation is not held to be too long until then.
        """
        state = self.after(answer)
        return replace(state, context=0, usage=replace(state.usage, tool_calls=self.usage.tool_calls))

    def noting(self, answer: Result) -> Self:
        """The same run with the calls on record that a step found not to be carried out before it failed."""
        return replace(self, audit=link(self.audit, answer.get("skipped", ())))

    def beside(self, answer: Result) -> Self:
        """The same run after a step that is no turn: its tokens count, and it is on record."""
        return replace(self, usage=self.usage.plus(Usage.load(answer.get("usage")).beside), audit=link(self.audit, [answer]))

    def compacted(self, answer: Result) -> Self:
        """The same run with the turns before this one summed up."""
        return replace(self.beside(answer), summary=self.turn, context=0)

    def undone(self, answer: Result) -> Self:
        """The same run with its newest effect undone, or left as it is because that failed."""
        left = (*self.left, self.undo[-1]) if answer.get("error") or answer.get("isError") else self.left
        return replace(self.beside(answer), undo=self.undo[:-1], left=left)

    def repacked(self, answer: Result) -> Self:
        """The same run with all its turns in segments."""
        return replace(self, packed=self.turn - 1, segments=int(answer["segments"]), model=0)

    @property
    def generation_full(self) -> bool:
        """Whether it is time to continue as new."""
        return self.turn - 1 - self.packed >= documents.TURNS_PER_GENERATION

    @property
    def crowded(self) -> bool:
        """Whether the conversation has outgrown what a model call shall take."""
        most = self.plan.compact_tokens if self.plan else None
        return most is not None and self.context > most


def fingerprints(answer: Result, results: Sequence[Result]) -> list[str]:
    """What each call of a turn was and came to, in one short digest; empty where one of its parts is not told."""
    calls = zip(answer["calls"], answer.get("digests") or (), results, strict=False)
    return [_fingerprint(tool, asked, result["result"]) if result.get("result") else "" for tool, asked, result in calls]


@lru_cache(maxsize=2048)  # a workflow that is replayed asks for the same ones again at every step
def _fingerprint(tool: str, asked: str, result: str) -> str:
    return names.digest([tool, asked, result])


def repeated(seen: tuple[tuple[str, int], ...], new: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The newest results with these after them, each counted, the oldest left out."""
    times = dict(seen)
    for result in filter(None, new):
        times[result] = times.pop(result, 0) + 1
    return tuple(times.items())[-REMEMBERED:]


def _default(name: str) -> object:
    return Loop.__dataclass_fields__[name].default
