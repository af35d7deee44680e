"""What is to go wrong, and when: one fault in one line of text, so that it can be printed and typed in again.

kill-during PATCH deployments/a 2      at the second PATCH of Deployment `a`, once it is carried out and before the answer
429 POST secrets/b-api-token 1
drop EVENT services/DELETED 1          the first event of a deleted Service does not arrive
"""

from dataclasses import dataclass

KILLS = ("kill-before", "kill-during", "kill-after")
"""Before the API server hears of the write; once it is carried out and before it is answered; right after the answer."""

REFUSALS = ("409", "422", "429", "500", "504", "truncated", "reset", "delay")
"""Answers. `504` and `truncated` come after the request was carried out, the others instead of it; `delay` only comes late."""

CONNECTS = ("410", "429", "500", "truncated", "reset", "freeze")
"""What a watch can meet when it begins."""

EVENTS = ("drop", "duplicate", "delay", "reorder", "close", "gone", "freeze", "truncated")
"""What can happen to one event of a watch, and to what comes after it."""


@dataclass(frozen=True)
class Plan:
    """One fault.

    Attributes:
        action: what happens.
        verb: GET, LIST, POST, PATCH, PUT, DELETE; WATCH for the beginning of a watch, EVENT for one of its events.
        target: `plural/name`, `plural` of a list or watch, `plural/TYPE` of an event.
        nth: which of the requests or events that are alike.
    """

    action: str
    verb: str
    target: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.action} {self.verb} {self.target} {self.nth}"

    @property
    def kills(self) -> bool:
        return self.action in KILLS

    @property
    def slow(self) -> bool:
        """Whether only taking stock again can find out what was lost."""
        return self.verb == "EVENT" or self.action == "freeze"

    @classmethod
    def parse(cls, text: str) -> "Plan":
        """Read what `str` writes."""
        words = text.split()
        if len(words) not in {3, 4}:
            raise ValueError(f"plan {text!r}: give ACTION VERB TARGET [NTH], for example 'kill-during PATCH deployments/a 1'")
        action, verb, target, *nth = words
        known = {"WATCH": CONNECTS, "EVENT": EVENTS}.get(verb, KILLS + REFUSALS)
        if action not in known:
            raise ValueError(f"plan {text!r}: no action {action} for {verb}; there are: {', '.join(known)}")
        return cls(action, verb, target, int(nth[0]) if nth else 1)
