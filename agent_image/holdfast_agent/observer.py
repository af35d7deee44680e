"""Who watches runs: metrics and traces behind one face, so that those who carry runs out need a line or two for both."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from holdfast_agent import scope
from holdfast_agent.heads import Head
from holdfast_agent.metrics import Metrics
from holdfast_agent.scope import CHAT, Operation, Scope
from holdfast_agent.telemetry import Sampler, Telemetry, provider_and_model


class Observer:
    """What one process sees of its runs.

    Attributes:
        metrics: for whoever serves them.
        telemetry: traces.
    """

    def __init__(self, metrics: Metrics | None = None, telemetry: Telemetry | None = None) -> None:
        """Keep the parts; without them all is counted for nobody, and traces of callers are passed on."""
        self.metrics = metrics or Metrics()
        self.telemetry = telemetry or Telemetry("agent", own=False, sampler=Sampler({}))

    @contextmanager
    def step(self, key: str, call: Mapping[str, Any]) -> Iterator[None]:
        """While a step is carried out: what it calls joins the run's trace, what it logs says so."""
        run = str(call["run"])
        root = self.telemetry.root(call.get("trace"), run)
        with scope.entered(Scope(run, key, int(call["attempt"]), root, self.telemetry.own, self)):
            yield

    def answered(self, key: str, answer: Mapping[str, Any]) -> None:
        """A step's answer goes to the workflow."""
        error = answer.get("error")
        if error:
            self.metrics.failed(step=kind_of(key), kind=str(error["class"]))

    def operation(self, run: str, operation: Operation) -> None:
        """A model or a tool was called."""
        seconds = operation.ended - operation.began
        if operation.kind == CHAT:
            provider, model = provider_and_model(operation.name)
            used = [operation.facts.get(f"gen_ai.usage.{kind}_tokens") for kind in ("input", "output")]
            tokens = None if None in used else (int(used[0] or 0), int(used[1] or 0))
            self.metrics.chat(provider=provider, model=model, seconds=seconds, error=operation.error, tokens=tokens)
        else:
            self.metrics.tool(name=str(operation.facts.get("holdfast.tool", operation.name)), seconds=seconds)
        self.telemetry.operation(run, operation)

    def stored(self, document: Mapping[str, Any]) -> None:
        """A result was stored here, and by nobody before."""
        if "call_id" in document:
            outcome = document.get("outcome") or ("failed" if document["is_error"] else "completed")
            self.metrics.call(tool=str(document["tool"]), outcome=str(outcome))
            decision = (document.get("approval") or {}).get("decision")
            if decision:
                self.metrics.decided(str(decision))
        elif "calls" in document:
            self.metrics.turn()

    def started(self) -> None:
        """A run was accepted."""
        self.metrics.started()

    def ended(self, head: Head, *, here: bool) -> None:
        """A run has ended.

        Args:
            head: as it stands.
            here: whether by this process's doing just now; else it was found ended, by a step that is carried out again after a crash.
        """
        if here:
            self.metrics.ended(head)
        # Made again it is the same span: better twice than never, for a process that dies may not have sent it.
        self.telemetry.ended(head)

    def open_runs(self, heads: Iterable[Head]) -> None:
        """The runs that have not ended, as they were just read."""
        self.metrics.open_runs(heads)


def kind_of(key: str) -> str:
    """What kind of step a key is of: `tool` for the number of a call, else its last word."""
    word = key.rpartition("/")[2]
    return "tool" if word.isdigit() else word
