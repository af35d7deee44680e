"""What /metrics says: of the queue, of Agents and of requests. Pure parts, then the program on a real API server."""

import re
from collections.abc import Iterator

import pytest

from holdfast_api import conditions
from holdfast_operator import kinds
from holdfast_operator.memory import Memory
from holdfast_operator.metrics import Metrics
from holdfast_operator.queue import Schedule, Sizes
from tests.operator.conftest import StartOperator
from tests.operator.live import Api, Process, eventually
from tests.operator.test_program import ready

A, B, C = ("ns", "a"), ("ns", "b"), ("ns", "c")
WELL = tuple((kind, "True", conditions.SUCCEEDED) for kind in (conditions.READY, *conditions.SUMMARISED))
NOT_ALL_WELL = ((conditions.READY, "False", conditions.SECRET_NOT_FOUND), (conditions.RECONCILING, "True", conditions.SECRET_NOT_FOUND))
RESOURCES = {kind.plural for kind in vars(kinds).values() if isinstance(kind, kinds.Kind)} | {"leases", ""}
WEBHOOK = kinds.Kind("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
SERIES = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


def series(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name: labels and value."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for match in filter(None, map(SERIES.match, text.splitlines())):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"] or ""))
        found.setdefault(match["name"], []).append((labels, float(match["value"])))
    return found


def equal(found: tuple) -> tuple:
    """The same, and another object."""
    return (*found,)


def test_the_queue_tells_waiting_from_due_from_failing_from_running() -> None:
    schedule = Schedule(chance=lambda: 0.5)
    assert schedule.sizes(0.0) == Sizes(0, 0, 0.0, 0, 0)
    for key, due in ((A, 1.0), (B, 2.0), (C, 60.0)):
        schedule.add(key, due)
    assert schedule.sizes(5.0) == Sizes(depth=3, due=2, waited=4.0, failing=0, running=0)

    assert schedule.pop(5.0) == A
    assert schedule.sizes(5.0) == Sizes(depth=2, due=1, waited=3.0, failing=0, running=1)
    schedule.failed(A, 5.0)
    assert schedule.sizes(5.0) == Sizes(depth=3, due=1, waited=3.0, failing=1, running=0)
    schedule.pop(6.0)
    schedule.done(B)
    assert schedule.pop(6.0) == A
    schedule.done(A)
    assert schedule.sizes(6.0) == Sizes(depth=1, due=0, waited=0.0, failing=0, running=0)


def test_agents_are_counted_by_condition_status_and_reason_until_they_go() -> None:
    memory = Memory()
    for key, found in ((A, WELL), (B, equal(WELL)), (C, NOT_ALL_WELL)):
        memory.record(key).uid = "u"
        memory.found(memory.record(key), found)
    memory.record(("ns", "children-only"))

    assert memory.ready_counts() == {"True": 2, "False": 1, "Unknown": 0}
    assert memory.condition_counts()[conditions.READY, "True", conditions.SUCCEEDED] == 2
    assert memory.condition_counts()[conditions.RECONCILING, "True", conditions.SECRET_NOT_FOUND] == 1
    memory.forget(C)
    assert memory.ready_counts() == {"True": 2, "False": 0, "Unknown": 0}
    assert set(memory.condition_counts()) == set(WELL)


def test_agents_whose_conditions_are_the_same_share_them() -> None:
    memory = Memory()
    for key in (A, B):
        memory.found(memory.record(key), equal(WELL))

    assert memory.record(A).conditions is memory.record(B).conditions


def test_ten_thousand_agents_make_no_more_series_than_ten() -> None:
    def count(agents: int) -> int:
        memory = Memory()
        for number in range(agents):
            key = (f"ns{number}", f"a{number}")
            memory.record(key).uid = str(number)
            memory.found(memory.record(key), WELL)
        metrics = Metrics(memory=memory, queue=lambda: Sizes(0, 0, 0.0, 0, 0), leading=lambda: True)
        return len(metrics.text().splitlines())

    assert count(10_000) == count(10)


@pytest.fixture
def broken_webhook(api: Api, namespace: str) -> Iterator[None]:
    """Nobody can make a Service here: the webhook that is asked does not answer."""
    webhook = {
        "name": "broken.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}],
    }
    api.create(WEBHOOK, None, {"metadata": {"name": namespace}, "webhooks": [webhook]})
    yield
    if api.get(WEBHOOK, None, namespace):
        api.delete(WEBHOOK, None, namespace)


def one(process: Process, name: str, **labels: str) -> float:
    found = series(process.http("/metrics")[1]).get(name, [])
    return sum(value for has, value in found if labels.items() <= has.items())


@pytest.mark.apiserver
def test_the_program_counts_agents_looks_and_requests(api: Api, namespace: str, start_operator: StartOperator) -> None:
    operator = start_operator(namespace, HOLDFAST_LEADER_ELECTION="true")
    missing = {"systemPromptFrom": {"configMapKeyRef": {"name": "prompt", "key": "text"}}}
    api.agent(namespace, "well")
    api.agent(namespace, "starting")
    api.agent(namespace, "waiting", missing)
    eventually(lambda: ready(api, namespace, "well"))
    ask = {"condition": conditions.READY, "status": "False"}
    eventually(lambda: one(operator, "holdfast_agent_conditions", **ask, reason=conditions.PROGRESSING) == 1)
    eventually(lambda: one(operator, "holdfast_agent_conditions", **ask, reason=conditions.CONFIG_MAP_NOT_FOUND) == 1)
    assert one(operator, "holdfast_agent_conditions", condition=conditions.READY, status="True", reason=conditions.SUCCEEDED) == 1
    assert one(operator, "holdfast_agents") == 3

    assert one(operator, "holdfast_reconciles_total", result="done") >= 3
    assert one(operator, "holdfast_reconcile_seconds_count") == one(operator, "holdfast_reconciles_total")
    assert one(operator, "holdfast_reconcile_seconds_sum") > 0
    # What waits for a ConfigMap is woken by an event, so nothing is left to do.
    eventually(lambda: one(operator, "holdfast_queue_depth") == 0 and one(operator, "holdfast_reconciles_running") == 0)
    assert one(operator, "holdfast_queue_failing") == 0
    assert one(operator, "holdfast_leading") == 1

    assert one(operator, "holdfast_api_requests_total", verb="POST", resource="secrets", code="201") >= 6
    assert one(operator, "holdfast_api_requests_total", verb="PATCH", resource="agents", code="200") >= 3
    assert one(operator, "holdfast_api_requests_total", resource="leases") >= 2
    assert one(operator, "process_resident_memory_bytes") > 1e6

    for name in ("well", "starting", "waiting"):
        api.delete(kinds.AGENT, namespace, name)
    eventually(lambda: one(operator, "holdfast_agents") == 0)
    assert series(operator.http("/metrics")[1]).get("holdfast_agent_conditions", []) == []


@pytest.mark.apiserver
def test_labels_hold_nothing_but_known_words(api: Api, namespace: str, start_operator: StartOperator) -> None:
    operator = start_operator(namespace)
    api.create(kinds.SERVICE, namespace, {"metadata": {"name": "taken"}, "spec": {"ports": [{"port": 80}]}})
    api.agent(namespace, "taken")
    api.agent(namespace, "fine")
    eventually(lambda: one(operator, "holdfast_agent_conditions", reason=conditions.CHILD_NAME_TAKEN) > 0)
    # Nothing may tell that the name is free again, so it is looked at again by itself.
    eventually(lambda: one(operator, "holdfast_queue_depth") == 1)
    words = {value for value in vars(conditions).values() if isinstance(value, str)}

    found = series(operator.http("/metrics")[1])

    for labels, _ in found["holdfast_agent_conditions"]:
        assert set(labels) == {"condition", "status", "reason"}
        assert {labels["condition"], labels["reason"]} <= words
        assert labels["status"] in {"True", "False", "Unknown"}
    for labels, _ in found["holdfast_api_requests_total"]:
        assert labels["resource"] in RESOURCES
        assert labels["verb"] in {"GET", "POST", "PATCH", "PUT", "DELETE"}
        assert re.fullmatch(r"0|[2-5]\d\d", labels["code"])
    assert {labels["result"] for labels, _ in found["holdfast_reconciles_total"]} == {"done", "retry", "error"}
    assert not [entry for entries in found.values() for entry in entries if {"fine", "taken", namespace} & set(entry[0].values())]


@pytest.mark.apiserver
def test_a_failing_agent_is_counted_as_retried_and_failing(
    api: Api, namespace: str, start_operator: StartOperator, broken_webhook: None
) -> None:
    operator = start_operator(namespace)
    api.agent(namespace, "a")
    eventually(lambda: one(operator, "holdfast_reconciles_total", result="retry") >= 1)
    assert one(operator, "holdfast_queue_failing") == 1
    assert one(operator, "holdfast_api_requests_total", code="500", resource="services") >= 1

    api.delete(WEBHOOK, None, namespace)

    eventually(lambda: one(operator, "holdfast_queue_failing") == 0)
