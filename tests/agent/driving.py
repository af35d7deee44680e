"""The workflow's generator driven by hand, without Dapr: activities are answered, timers fired and events raised as a test says."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dapr.ext.workflow._durabletask.task import CompletableTask, ExternalEventWithTimeoutTask

from holdfast_agent.documents import Plan, Usage
from holdfast_agent.loop import Loop
from holdfast_agent.workflow import agent

START = datetime(2026, 1, 1)  # noqa: DTZ001 - Dapr's contexts tell naive UTC
NOW = START.replace(tzinfo=UTC).timestamp()


def old(**more: Any) -> Loop:
    """A run of the first shape, without a plan."""
    return Loop(**{"run": "r", "revision": "abc", "deadline": NOW + 1000, "max_iterations": 5} | more)


def new(*, state: dict[str, Any] | None = None, **plan: Any) -> Loop:
    """A run with a plan."""
    return old(plan=Plan(**{"max_iterations": 5} | plan), **state or {})


def said(turn: int, *tools: str, run: str = "r", tokens: int = 0, **more: Any) -> dict[str, Any]:
    """A model's answer with these calls."""
    usage = Usage(turns=1, tool_calls=len(tools), input_tokens=tokens)
    return {"key": f"{run}/{turn}/model", "calls": list(tools), "usage": usage.dump(), **more}


def error(key: str, kind: str = "transient", after: float = 2.0, **more: Any) -> dict[str, Any]:
    """An activity's failure."""
    told = {"class": kind, "message": "busy"} | ({"retryAfter": after} if kind == "transient" else {})
    return {"key": key, "error": told | more}


def waiting(key: str, seconds: float, kind: str = "approval") -> dict[str, Any]:
    """A step that waits for that long at most."""
    return {"key": key, "waiting": {"until": NOW + seconds, "kind": kind}}


class Context:
    """A workflow context whose clock stands until a timer or an activity moves it on."""

    def __init__(self):
        self.current_utc_datetime = START
        self.called, self.timers, self.events, self.continued = [], [], {}, None

    def call_activity(self, name, **given):
        task = CompletableTask()
        self.called.append((name, given["input"], task))
        return task

    def wait_for_external_event(self, name, *, timeout):
        event, timer = CompletableTask(), CompletableTask()
        self.events.pop(name, None)
        self.events[name] = event
        self.timers.append((timeout, timer))
        return ExternalEventWithTimeoutTask(event, timer, event_name=name, timeout=timeout)

    def continue_as_new(self, payload, *, save_events):
        assert save_events
        self.continued = payload


class Driver:
    """Runs the generator as Dapr's worker does: sends in what it waits for once that is complete."""

    def __init__(self, state):
        self.ctx = Context()
        self.flow = agent(self.ctx, state.dump())
        self.waits, self.output = next(self.flow), None

    def proceed(self):
        while self.output is None and self.waits.is_complete:
            try:
                if self.waits.is_failed:
                    self.waits = self.flow.throw(self.waits.get_exception())
                else:
                    self.waits = self.flow.send(self.waits.get_result())
            except StopIteration as end:
                self.output = end.value if end.value is not None else "continued"
        return self

    def answer(self, *results):
        """Complete the newest activities with these results, in the order in which they were called."""
        for (_, _, task), result in zip(self.ctx.called[-len(results) :], results, strict=True):
            task.complete(result)
        return self.proceed()

    def fire(self):
        """The newest timer, at its time."""
        delta, task = self.ctx.timers[-1]
        self.ctx.current_utc_datetime += delta
        task.complete(None)
        return self.proceed()

    @property
    def names(self):
        return [name for name, _, _ in self.ctx.called]

    def called(self, activity):
        """Inputs of that activity, in order."""
        return [given for name, given, _ in self.ctx.called if name == activity]

    def wake(self):
        """Raise the event of the present wait."""
        name, event = list(self.ctx.events.items())[-1]
        event.complete({"wake": True})
        self.proceed()
        return name

    def passes(self, seconds):
        """Let time pass without a timer."""
        self.ctx.current_utc_datetime += timedelta(seconds=seconds)
        return self


def drive(state: Loop) -> Driver:
    """The generator of a run, at its first wait."""
    return Driver(state)
