"""What to make of an activity's answer: a result, another attempt, a wait, or another model. Pure.

A step is pursued in rounds until it has a result. Its attempts are bounded by what failed: the call, the store, or what is probably paid
for. A step that waits for a person uses none of them up.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from holdfast_agent import documents
from holdfast_agent.failures import (
    CALL_BREAKS,
    CHARGED_ATTEMPTS,
    FALLBACK_AFTER,
    MODEL_ATTEMPTS,
    SILENT_ATTEMPTS,
    STORE_ATTEMPTS,
    TOOL_BOUND,
)
from holdfast_agent.loop import COMPENSATE, FINISH, TOOL, Step, timed_out
from holdfast_agent.plan import Plan
from holdfast_agent.progress import Result

_BROKEN: Final = "broken"
_ELSEWHERE: Final = ("unknown", "agent")
"""Waits for what another process or agent does: only the activity can tell what came of it."""
_LEAST_WAIT: Final = 1.0
"""A step that waits is not asked again sooner: the clock by which it waits may be behind Dapr's."""
_OURS: Final = ("store", "unstored", "defect", "revision", _BROKEN)
"""Causes that keep an activity from saying what is stored of its step, and for which nobody else is to blame."""
_BOUNDS: Final = {
    "charged": CHARGED_ATTEMPTS,
    "unstored": CHARGED_ATTEMPTS,
    "silent": SILENT_ATTEMPTS,
    "defect": CALL_BREAKS,
    "revision": MODEL_ATTEMPTS,
}


@dataclass(frozen=True)
class Verdict:
    """What follows from an activity's answer.

    Attributes:
        result: it is done with this; None: it is not.
        delay: seconds until the next attempt.
        message: why there has to be one.
        cause: which of the bounds it counts against.
        until: it waits, at most until then, and no attempt is counted.
        kind: what it waits for.
    """

    result: Result | None
    delay: float = 0.0
    message: str = ""
    cause: str = "call"
    until: float | None = None
    kind: str = "retry"


def judge(step: Step, failed: Mapping[str, int], answer: object) -> Verdict:
    """What to make of an activity's answer.

    Args:
        step: what was asked.
        failed: how many attempts failed before, by cause.
        answer: what came back; None if the activity broke. An answer to another question (an abandoned call's, see the design on
            continue-as-new) is refused and the question asked again.
    """
    if isinstance(answer, dict) and answer.get("key") == step.key:
        return _waits(answer) or _tries(step, failed, answer) or Verdict(answer)
    broken = failed.get(_BROKEN, 0) + 1
    message = f"the activity {step.activity!r} broke {broken} times; the agent's log has the details"
    if broken < step.attempts:
        return Verdict(None, delay=0.0 if isinstance(answer, dict) else 1.0, message=message, cause=_BROKEN)
    return Verdict({"key": step.key, "error": {"class": "fatal", "message": message}})


def _waits(answer: Result) -> Verdict | None:
    if answer.get("control") == documents.SUSPEND:
        return Verdict(None, until=math.inf, kind="suspend", message="the run is suspended")
    waiting = answer.get("waiting")
    return waiting and Verdict(None, until=float(waiting["until"]), kind=str(waiting["kind"]), message=f"waiting: {waiting['kind']}")


def _tries(step: Step, failed: Mapping[str, int], answer: Result) -> Verdict | None:
    error = answer.get("error")
    if not error or error["class"] != "transient":
        return None
    cause = str(error.get("cause", "call"))
    if failed.get(cause, 0) + 1 >= _bound(step, cause):
        return None
    return Verdict(None, delay=float(error.get("retryAfter", 1.0)), message=str(error["message"]), cause=cause)


def _bound(step: Step, cause: str) -> int:
    if cause == "store" and step.activity != FINISH:
        return STORE_ATTEMPTS
    # How often a tool is tried is its own setting, which its activity knows; this is what the setting can be at most.
    most = TOOL_BOUND if step.activity in (TOOL, COMPENSATE) else step.attempts
    return min(most, _BOUNDS.get(cause, most))


@dataclass(frozen=True)
class Choice:
    """Which of several models is asked.

    Attributes:
        failures: of each, in this step.
        gone: those that cannot answer, however often they are asked.
    """

    current: int
    failures: tuple[int, ...]
    gone: frozenset[int] = frozenset()

    @classmethod
    def among(cls, models: int, current: int) -> Self:
        """Begin with that one."""
        return cls(current, (0,) * models)

    @classmethod
    def of(cls, plan: Plan | None, current: int, first: int | None = None) -> Self | None:
        """The models for one step of a run; None: there is no choice.

        Args:
            plan: of the run.
            current: place of the one that answers this run at present: the first one or a fallback.
            first: place of the one that is to be asked for this step; the agent's own and its fallbacks stand in for it. None: `current`.
        """
        if plan is None:
            return None
        if first is None:
            return cls.among(plan.models, current) if plan.models > 1 else None
        return cls(first, (0,) * (first + 1), frozenset(range(plan.models, first)))

    def busy(self) -> Self:
        """After a failure that may pass: the next one's turn once this one has had some in a row."""
        count = self.failures[self.current] + 1
        tried = replace(self, failures=(*self.failures[: self.current], count, *self.failures[self.current + 1 :]))
        return tried if count % FALLBACK_AFTER else replace(tried, current=_next(tried))

    def lost(self) -> Self | None:
        """After a failure that will not pass; None if no model is left."""
        without = replace(self, gone=self.gone | {self.current})
        return None if len(without.gone) == len(self.failures) else replace(without, current=_next(without))

    @property
    def fresh(self) -> bool:
        """Whether the current one has not failed yet."""
        return self.failures[self.current] == 0


def _next(choice: Choice) -> int:
    models = len(choice.failures)
    return next(at % models for at in range(choice.current + 1, choice.current + models + 1) if at % models not in choice.gone)


@dataclass
class Pursuit:
    """One step on its way to a result. Changes as answers come in.

    It ends by what its activity says. The end of the run ends it only when the activity has said how the newest attempt went: else
    something may be stored, or under way, of which nobody here knows, and the activity, which will find it, is asked again.

    Attributes:
        due: when the next attempt is to begin, in seconds since the epoch.
        kind: what it waits for until then.
        message: what its last attempt said.
        kept: what an attempt said that holds whatever the later ones say: `undo` (it may have had its effect) and `skipped`.
        cause: by which its newest attempt failed; empty if it did not.
        elsewhere: whether an attempt said that another agent may have the call. It is to be told when the run ends, whatever came after.
            The answers that older versions recorded do not say so.
        given_up: whether the run ends by another step, so that nothing is to be begun for this one any more.
        insists: whether it is asked again past the end of the run while unheard. Steps of the first shape are not.
    """

    step: Step
    choice: Choice | None = None
    result: Result | None = None
    due: float = 0.0
    kind: str = "retry"
    message: str = ""
    kept: Result = field(default_factory=dict)
    cause: str = ""
    elsewhere: bool = False
    given_up: bool = False
    insists: bool = True
    failed: Counter[str] = field(default_factory=Counter)

    def input(self, number: int, now: float = math.inf) -> dict[str, Any]:
        """What the activity gets in the round of that number, from 1.

        Args:
            number: see above.
            now: when the run was woken, if that is why: an attempt that is not due yet only looks whether the run is canceled. Where the
                store was away it is made at once: it costs nobody anything, and the store may be back.
        """
        more: dict[str, Any] = {"model": self.choice.current} if self.choice else {}
        more |= {"early": True} if self.kind == "retry" and self.due > now and self.cause != "store" else {}
        more |= {"tried": self.failed.total()} if self.insists and number > 1 else {}
        more |= {"ends": True} if self.given_up else {}
        return self.step.input | more | {"attempt": number, "failed": self.failed["call"] + self.failed[_BROKEN]}

    def take(self, answer: object, now: float) -> None:
        """Go by an answer; None if the activity broke."""
        if isinstance(answer, dict) and answer.get("early") and answer.get("key") == self.step.key:
            return
        verdict = judge(self.step, self.failed, answer)
        if isinstance(answer, dict) and answer.get("key") == self.step.key:
            self.kept |= {name: answer[name] for name in ("undo", "skipped") if answer.get(name)}
            self.elsewhere = self.elsewhere or bool(answer.get("elsewhere"))
        if self.choice and (another := self._another(self.choice, verdict)):
            switched = another.current != self.choice.current
            self.choice = another
            if switched and another.fresh:
                self.failed["charged"] = self.failed["silent"] = 0
                verdict = replace(verdict, result=None, delay=0.0)
            elif verdict.result is not None:
                verdict = replace(verdict, result=None, delay=1.0)
        self.result = None if verdict.result is None else verdict.result | self.kept
        self.kind, self.message = verdict.kind, verdict.message
        self.cause = verdict.cause if verdict.until is None else ""
        if verdict.until is not None:
            self.due = max(verdict.until, now + _LEAST_WAIT)
        elif verdict.result is None:
            self.failed[verdict.cause] += 1
            self.due = now + verdict.delay

    def expire(self, now: float, deadline: float) -> None:
        """It has no result in time: now, or when its next attempt were due. A wait for something else ends at the deadline itself."""
        if self.result is None and not self.unheard and (now >= deadline or (self.kind == "retry" and self.due >= deadline)):
            self.result = timed_out(self.step.key, self.message) | self.kept

    def drop(self) -> None:
        """It is not needed any more, because the run ends. Another agent is told at once, however far off the next look at it was."""
        if self.elsewhere and not self.given_up:
            self.due = 0.0
        self.given_up = True
        if self.result is None and not self.unheard and not self.elsewhere:
            self.result = {"key": self.step.key, "dropped": True} | self.kept

    @property
    def unheard(self) -> bool:
        """Whether the newest attempt could not say what is stored of the step, or what another process does for it."""
        return self.insists and (self.kind in _ELSEWHERE or self.cause in _OURS)

    def ends_by(self, deadline: float) -> float:
        """When it is looked at again at the latest."""
        return self.due if self.unheard else min(self.due, deadline)

    @property
    def stops(self) -> bool:
        """Whether its result ends the run."""
        return self.result is not None and bool(self.result.get("error") or self.result.get("control"))

    def _another(self, choice: Choice, verdict: Verdict) -> Choice | None:
        """The choice after a failure of the model's; None: the failure is not the model's, or there is no other model left."""
        error = (verdict.result or {}).get("error")
        if verdict.until is not None or (verdict.result is not None and not error) or verdict.cause in _OURS:
            return None
        if not error:
            return choice.busy()
        spent = sum(choice.failures) + 1 >= MODEL_ATTEMPTS
        if spent or error["class"] == "fatal" or error.get("cause") in (*_OURS, "context"):
            return None
        return choice.lost()
