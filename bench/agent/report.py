"""Figures as a table that people read, with the ratios that count. Pure."""

import statistics
from collections.abc import Iterable
from typing import Any

OURS = "holdfast"
Figures = dict[str, Any]


def table(found: Figures) -> str:
    """Markdown."""
    names = list(found["contenders"])
    lines = [_row(["", *names]), _row(["---"] * (len(names) + 1))]
    for title, path in (
        ("import, s", ("import_s",)),
        ("ready after start, s", ("ready_s",)),
        ("memory at rest, MiB", ("rss_idle_mib",)),
        ("memory in the end, MiB", ("rss_end_mib",)),
    ):
        lines.append(_row([title, *(_cell(found["contenders"][name], path) for name in names)]))
    for load in next(iter(found["contenders"].values()))[0]["loads"]:
        for title, rest in (
            ("tasks/s", ("tasks_per_s",)),
            ("median, ms", ("p50_ms",)),
            ("CPU of the worker, ms", ("cpu_ms", "worker")),
            ("CPU of daprd and scheduler, ms", ("cpu_ms", "daprd+scheduler")),
            ("model calls", ("model_calls",)),
            ("Redis commands", ("store_commands",)),
            ("keys left", ("keys_left",)),
            ("bytes left", ("bytes_left",)),
            ("load of the machine", ("loadavg",)),
        ):
            cells = [_cell(found["contenders"][name], ("loads", load, *rest)) for name in names]
            lines.append(_row([f"{load}: {title}", *cells]))
    for title, path in (
        ("from the model's answer to its next question, early, ms", ("growth", "early_ms")),
        ("… late, ms", ("growth", "late_ms")),
        ("… late beside early", ("growth", "ratio")),
        ("neither model nor tool at work, early, ms", ("growth", "engine", "early_ms")),
        ("… late, ms", ("growth", "engine", "late_ms")),
        ("… late beside early", ("growth", "engine", "ratio")),
        ("history of a generation, bytes", ("history_bytes",)),
    ):
        lines.append(_row([title, *(_cell(found["contenders"][name], path) for name in names)]))
    lines += [
        _row([f"fsync always: {title}", *(_cell(found.get("fsync", {}).get(name, []), path) for name in names)])
        for title, path in _fsync(found)
    ]
    return "\n".join([*lines, "", *_ratios(found)])


def _fsync(found: Figures) -> list[tuple[str, tuple[str, ...]]]:
    loads = {load for runs in found.get("fsync", {}).values() for run in runs for load in run["loads"]}
    return [
        (f"{load}: {title}", ("loads", load, name))
        for load in sorted(loads)
        for title, name in (("tasks/s", "tasks_per_s"), ("median, ms", "p50_ms"))
    ]


def _ratios(found: Figures) -> Iterable[str]:
    """Ours beside each other, per repetition, so that both had the same machine."""
    ours = found["contenders"].get(OURS, [])
    for name, theirs in found["contenders"].items():
        if name == OURS or not ours:
            continue
        for load in ours[0]["loads"]:
            for title, path in (("tasks/s", ("tasks_per_s",)), ("CPU of the worker", ("cpu_ms", "worker"))):
                pairs = zip(_values(ours, ("loads", load, *path)), _values(theirs, ("loads", load, *path)), strict=False)
                ratios = [mine / other for mine, other in pairs if other]
                if ratios:
                    spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
                    yield f"- {title}, {load}: {statistics.median(ratios):.2f}{spread} of {name}"


def _cell(runs: list[Figures], path: tuple[str, ...]) -> str:
    values = _values(runs, path)
    return f"{statistics.median(values):g}" if values else ""


def _values(runs: list[Figures], path: tuple[str, ...]) -> list[float]:
    return [value for run in runs if (value := _at(run, path)) is not None]


def _at(figures: Any, path: tuple[str, ...]) -> float | None:  # noqa: ANN401 - nested figures
    for name in path:
        if isinstance(figures, dict) and "+" in name:
            return sum(figures[part] for part in name.split("+"))
        figures = figures.get(name) if isinstance(figures, dict) else None
    if isinstance(figures, list):
        return max(figures)
    return figures


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
