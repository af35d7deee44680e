"""From the model's and the tool's own records to the table and the verdict. Pure.

The scripted model server writes down every request before it answers, and nobody kills that server. A model call is told by the hash of its
messages, a tool call by its Idempotency-Key. What counts is therefore what really arrived, not what the agent believes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Calls = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One line of the table: requests that arrived before and after the kill, and of those after it, how many repeat an earlier one.

    Attributes:
        finished_again: repeats of a call that had been answered and heard before: what must never happen.
        interrupted_again: repeats, under the same key, of a call that the kill interrupted: what must happen.
    """

    name: str
    before: int
    after: int
    finished_again: int
    interrupted_again: int


def rows(calls: Calls, killed_after: int) -> list[Row]:
    """The table.

    Args:
        calls: the ledger's calls, in order of arrival: `{number, kind, name, key, delivered, ...}`.
        killed_after: number of the last call that had arrived when the kill came.
    """
    names = list(dict.fromkeys((call["kind"], call["name"]) for call in calls))
    return [
        _row(kind, name, [call for call in calls if (call["kind"], call["name"]) == (kind, name)], killed_after) for kind, name in names
    ]


def _row(kind: str, name: str, calls: Calls, killed_after: int) -> Row:
    before = [call for call in calls if call["number"] <= killed_after]
    after = [call for call in calls if call["number"] > killed_after]
    heard = {call["key"] for call in before if call.get("delivered")}
    unheard = {call["key"] for call in before} - heard
    return Row(
        name=f"{kind} {name}",
        before=len(before),
        after=len(after),
        finished_again=sum(call["key"] in heard for call in after) + _twice(after),
        interrupted_again=sum(call["key"] in unheard for call in after),
    )


def _twice(calls: Calls) -> int:
    """Requests beyond the first with one key: after the kill nothing disturbs any more."""
    return sum(count - 1 for count in Counter(call["key"] for call in calls).values())


def table(found: Sequence[Row]) -> str:
    """The rows as people read them."""
    head = f"{'':<24}{'before the kill':>16}{'after it':>10}{'finished ones again':>21}{'the interrupted one again':>27}"
    lines = [f"{row.name:<24}{row.before:>16}{row.after:>10}{row.finished_again:>21}{_again(row):>27}" for row in found]
    return "\n".join([head, "-" * len(head), *lines])


def _again(row: Row) -> str:
    return f"{row.interrupted_again}, same key" if row.interrupted_again else "-"


def verdict(found: Sequence[Row], *, answer: str | None, interrupted: str) -> list[str]:
    """What is wrong; empty when the proof holds.

    Args:
        found: the table.
        answer: the run's answer, None when there is none.
        interrupted: name of the tool that the kill interrupted.
    """
    wrong = [] if answer else ["the run gave no answer"]
    wrong += [f"{row.name}: {row.finished_again} call(s) that had finished were made again" for row in found if row.finished_again]
    hit = next((row for row in found if row.name == f"tool {interrupted}"), None)
    if hit is None or hit.before == 0:
        wrong.append(f"the kill did not hit tool {interrupted}: it had not been called")
    elif hit.interrupted_again != 1:
        wrong.append(f"tool {interrupted}: the interrupted call was made again {hit.interrupted_again} times under its key, expected 1")
    return wrong
