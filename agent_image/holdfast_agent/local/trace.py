"""A run as an indented tree: what took how long and cost how many tokens. Made of its steps, so it needs no collector. Pure."""

from datetime import datetime
from itertools import groupby
from typing import Any

from holdfast_agent.local.display import excerpt

View = dict[str, Any]
_WIDTH = 44


def tree(run: View, steps: list[View]) -> list[str]:
    """Lines for people.

    Args:
        run: as `GET /runs/{id}` gives it.
        steps: all of its steps, in order.
    """
    began = _seconds(run["created"])
    ended = _seconds(run["ended"]) if "ended" in run else max([_seconds(step["ended"]) for step in steps if "ended" in step], default=began)
    head = f"run {run['id']}  {run['status']}  {ended - began:.1f}s  {_tokens(run['tokens'])}  {run['tool_calls']} tool calls"
    lines = [head, f"{'':{_WIDTH}}  {'starts':>8}  {'takes':>8}  {'tokens':>14}"]
    turns = [(turn, list(group)) for turn, group in groupby(steps, key=lambda step: step["turn"])]
    for number, (turn, group) in enumerate(turns):
        last = number == len(turns) - 1
        lines.append(f"{'└─' if last else '├─'} {_title(turn, group)}")
        for place, step in enumerate(group):
            branch = "   " if last else "│  "
            lines.append(_line(f"{branch}{'└─' if place == len(group) - 1 else '├─'} ", step, began))
    return lines


def _title(turn: int, group: list[View]) -> str:
    return "undoing" if group[0]["kind"] == "compensation" else "session" if group[0]["kind"] == "recall" else f"turn {turn}"


def _line(branch: str, step: View, began: float) -> str:
    name = f"{branch}{step['kind']} {step['name']}"
    name = name if len(name) <= _WIDTH else name[: _WIDTH - 1] + "…"
    starts = f"+{_seconds(step['started']) - began:.1f}s" if "started" in step else ""
    takes = f"{step['seconds']:.1f}s" if "seconds" in step else ""
    tokens = _tokens(step["tokens"]) if "tokens" in step else ""
    return f"{name:{_WIDTH}}  {starts:>8}  {takes:>8}  {tokens:>14}  {_words(step)}".rstrip()


def _words(step: View) -> str:
    words = [] if step["status"] == "completed" else [step["status"]]
    if step.get("attempt", 1) > 1:
        words.append(f"attempt {step['attempt']}")
    if decision := (step.get("approval") or {}).get("decision"):
        words.append(decision)
    if step.get("feedback"):
        words.append("not accepted")
    if "accepted" in step:
        words.append("accepted" if step["accepted"] else "sent back")
    if calls := step.get("calls"):
        words.append(f"→ {', '.join(calls)}")
    elif step["status"] in {"failed", "rejected"} and step.get("output"):
        words.append(excerpt(step["output"]))
    return "  ".join(words)


def _tokens(tokens: View) -> str:
    return f"{tokens['input']}+{tokens['output']} tok"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
