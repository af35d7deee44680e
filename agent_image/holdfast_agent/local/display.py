"""The steps of a run as lines for people. Pure but for remembering what was said."""

from typing import Any

_MAX_TEXT = 100
_MAX_REASON = 300
_MARKS = {"completed": "✓", "failed": "✗", "running": "…", "retrying": "↻", "awaiting_approval": "?", "rejected": "✗", "unknown": "‽"}
OPEN = frozenset({"running", "retrying", "awaiting_approval", "awaiting_outcome", "awaiting_agent", "suspended"})

View = dict[str, Any]


class Timeline:
    """Turns snapshots of a run's steps into the lines that are new in them."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: dict[str, str] = {}
        self._trouble: View = {}
        self._turn = 1

    @property
    def turn(self) -> int:
        """The last turn in which the model has answered: what is before it cannot change any more."""
        return self._turn

    def news(self, steps: list[View]) -> list[str]:
        """Lines for the steps that are new, or have another status than before.

        That the model is thinking is not worth a line: it always is when nothing else goes on.
        """
        lines = []
        for step in steps:
            if self._said.get(step["key"]) != step["status"]:
                self._said[step["key"]] = step["status"]
                lines += [] if _thinks(step) else [line(step)]
        answered = [step["turn"] for step in steps if step["kind"] == "model" and step["status"] == "completed"]
        self._turn = max([self._turn, *answered])
        return lines

    def trouble(self, run: View) -> list[str]:
        """A line for a failed attempt that the run waits to make again, when it is another one than before."""
        found: View = run.get("retrying") or {}
        if not found or found == self._trouble:
            return []
        self._trouble = found
        again = found["next_attempt"][11:19]
        count, reason = found["failed_attempts"], excerpt(found["message"], _MAX_REASON)
        return [f"     ↻  {f'attempt {count} failed' if count else 'it waits'}: {reason}; the next is at {again} UTC"]


def line(step: View) -> str:
    """One step on one line: turn, mark, kind, name, time, and what it asked or gave."""
    mark = _MARKS.get(step["status"], "·")
    seconds = f"{step['seconds']:.1f}s" if "seconds" in step else ""
    attempt = f"attempt {step['attempt']}" if step.get("attempt", 1) > 1 else ""
    words = [f"{step['turn']:>3}", mark, f"{step['kind']:<5}", _what(step), seconds, attempt, _outcome(step)]
    return "  ".join(word for word in words if word)


def _thinks(step: View) -> bool:
    return step["kind"] == "model" and step["status"] in {"running", "retrying", "suspended"}


def _what(step: View) -> str:
    return f"{step['name']}({excerpt(step.get('arguments', ''))})" if step["kind"] == "tool" else str(step["name"])


def _outcome(step: View) -> str:
    if step["status"] in OPEN:
        return str(step["status"]).replace("_", " ")
    asked = ", ".join(step.get("calls") or [])
    given = f"→ {asked}" if asked else f"→ {excerpt(step.get('output') or '')}"
    told = f"  ↺ {excerpt(step['feedback'])}" if step.get("feedback") else ""
    return given.rstrip("→ ") + told


def excerpt(text: str, limit: int = _MAX_TEXT) -> str:
    """The beginning of a text on one line, of so many characters at most."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
