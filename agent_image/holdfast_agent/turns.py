"""What becomes of what the model said: calls to carry out, the run's answer, an answer to be given again, or a bad end. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from holdfast_agent.answers import Contract, Unfit
from holdfast_agent.documents import TurnOpen
from holdfast_agent.model import Answer
from holdfast_api.config import AgentConfig, OutputConfig

_REPAIRS: Final = OutputConfig(schema={}).max_repairs
"""How often an answer that was cut off is asked for again where no `output` says it."""


@dataclass(frozen=True)
class Terms:
    """What an answer has to meet now.

    Attributes:
        contract: of `output.schema`, if there is one.
        max_repairs: how often the model may be told.
        repairs: how often it was.
        critic: whether one reads the answer before it is given.
        closing: the limit that was met, if this is the last turn.
    """

    contract: Contract | None = None
    max_repairs: int = _REPAIRS
    repairs: int = 0
    critic: bool = False
    closing: str | None = None

    @classmethod
    def of(cls, config: AgentConfig, contract: Contract | None, call: dict[str, Any]) -> "Terms":
        """The terms of a run's configuration at a call of the activity `model`."""
        return cls(
            contract=contract,
            max_repairs=config.output.max_repairs if config.output else _REPAIRS,
            repairs=call.get("repairs", 0),
            critic=config.evaluation is not None,
            closing=call.get("closing"),
        )

    def fields(self, answer: Answer) -> dict[str, Any]:
        """The fields of a `ModelTurn` that say what becomes of the answer; none: its calls are carried out, or it is the run's answer."""
        if answer.calls and not (self.closing and answer.content.strip()):
            return {}
        fit = self._fit(answer)
        if isinstance(fit, Unfit):
            return self._unfit(fit)
        fields: dict[str, Any] = {} if fit == answer.content else {"answer": fit}
        return fields | ({"open": _open("candidate")} if self.critic and not self.closing else {})

    def _fit(self, answer: Answer) -> str | Unfit:
        if answer.cut_off:
            return Unfit(f"It was cut off before its end (finish reason {answer.finish_reason!r}): it has to be shorter")
        return self.contract.read(answer.content) if self.contract else answer.content

    def _unfit(self, unfit: Unfit) -> dict[str, Any]:
        if self.closing or self.repairs < self.max_repairs:
            return {"open": _open("invalid"), "feedback": unfit.feedback}
        told = f"after it was told {self.repairs} times (output.maxRepairs)" if self.repairs else "and output.maxRepairs is 0"
        return {"failure": {"cause": "output", "message": f"the model's answer does not fit {told}. {unfit.problem}"}}


def _open(why: TurnOpen) -> TurnOpen:
    return why


def closing_message(limit: str) -> str:
    """What the model is told at its last turn."""
    return (
        f"You have reached a limit of this run (limits.{limit}): no tool can be called any more. "
        "Give your best final answer now, from what you know, and say what is missing in it."
    )


def skipped_message(limit: str) -> str:
    """What a call came to that the limit came before."""
    return f"Error: not carried out, because the run has reached limits.{limit}"
