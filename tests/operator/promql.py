"""Which metrics and labels a PromQL expression asks for, and which ones the operator has."""

import re
from collections.abc import Iterator

from holdfast_operator.memory import Memory
from holdfast_operator.metrics import Metrics
from holdfast_operator.queue import Sizes

_STRING = re.compile(r'"[^"]*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\s*(\()?(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_WORDS = {"or", "and", "unless"}
_OF_PROMETHEUS = {"job", "instance", "pod", "namespace"}


def known() -> dict[str, set[str]]:
    """Labels by name of sample, Prometheus' own ones included."""
    metrics = Metrics(memory=Memory(), queue=lambda: Sizes(0, 0, 0.0, 0, 0), leading=lambda: True)
    metrics.looked("done", 0.1)
    metrics.requested("GET", "agents", 200)
    labels: dict[str, set[str]] = {}
    for family in metrics._registry.collect():
        declared = set(getattr(family, "_labelnames", ()))
        for sample in family.samples:
            labels.setdefault(sample.name, set(_OF_PROMETHEUS)).update(sample.labels)
        if not family.samples:
            labels[family.name] = declared | _OF_PROMETHEUS
    return labels


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Names of metrics in an expression, each with the labels it is selected and grouped by."""
    plain = _RANGE.sub("", _STRING.sub('""', expression))
    grouped = {label.strip() for labels in _GROUPING.findall(plain) for label in labels.split(",")}
    for name, call, selector in _NAME.findall(_GROUPING.sub(" ", plain)):
        if not call and name not in _WORDS:
            yield name, grouped | set(_LABEL.findall(selector))


def unknown(expression: str) -> list[str]:
    """What an expression asks for that the operator does not have."""
    has = known()
    found = list(asked(expression))
    assert found, f"no metric in {expression}"
    absent = [name for name, _ in found if name not in has]
    return absent + [f"{name}{{{label}}}" for name, labels in found for label in sorted(labels - has.get(name, labels))]
