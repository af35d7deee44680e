"""People in the loop of a run in a cluster: approvals and sessions outlive pods, and what a canceled run did is undone.

The travel desk of the examples looks up fares, books seats once a person has approved, and sends an invoice, which takes some seconds.
"""

import json
import secrets
from collections.abc import Callable

import pytest

from e2e.holdfast import ROOT
from e2e.tests.support import AT_ONCE, Caller, Ledger, Namespace, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
DESK, BOOK, UNDO, SLOW_TOOL = "travel-desk", "book_seats", "cancel_booking", "send_invoice"


def task() -> str:
    """The same seats, in words that no other run has."""
    return f"Book two seats to Split ({secrets.token_hex(3)})"


@pytest.fixture
def desk(travel: Namespace, caller: Callable[[Namespace, str], Caller]) -> Caller:
    """The travel desk, Ready."""
    travel.run("apply", "-f", str(ROOT / "examples/travel-desk.yaml"))
    travel.ready(DESK)
    return caller(travel, DESK)


def replace_pod(namespace: Namespace) -> None:
    """Kill the desk's only pod, and wait until another one is ready."""
    (pod,) = namespace.pods(DESK)
    namespace.run("delete", "pod", pod["metadata"]["name"], *AT_ONCE)

    def another() -> bool:
        found = [each for each in namespace.pods(DESK) if each["metadata"]["uid"] != pod["metadata"]["uid"]]
        conditions = [condition for each in found for condition in each.get("status", {}).get("conditions", [])]
        return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)

    eventually(another, within=90, what="another pod is ready")


def test_a_canceled_run_gives_back_what_it_had_booked(desk: Caller, ledger: Ledger) -> None:
    run = desk.start(task())
    desk.tell(desk.asked(run)["decide"], approved=True)
    eventually(lambda: ledger.tool(run, SLOW_TOOL), within=60, what=f"{SLOW_TOOL} is at work")

    desk.tell(f"/runs/{run}/cancel", reason="over budget")

    ended = desk.ended(run)
    assert ended["status"] == "CANCELED"
    assert ended["audit"]["mac"]
    (undone,) = ledger.tool(run, UNDO)
    (booked,) = ledger.tool(run, BOOK)
    assert undone["key"] == f"{booked['key']}/undo"
    assert undone["detail"]["arguments"]["reference"] == "TD-4411"
    assert "over budget" in undone["detail"]["arguments"]["reason"]
    steps = (desk.attempt(f"/runs/{run}/steps") or {})["steps"]
    assert [(step["kind"], step["status"]) for step in steps][-1] == ("compensation", "completed")


def test_an_approval_that_is_waited_for_outlives_the_pod(desk: Caller, ledger: Ledger, travel: Namespace) -> None:
    text = task()
    run = desk.start(text)
    question = desk.asked(run)
    replace_pod(travel)

    assert desk.asked(run)["call"] == question["call"]
    assert ledger.tool(run, BOOK) == []
    desk.tell(question["decide"], approved=True, reason="within budget")
    desk.tell(question["decide"], approved=True, reason="within budget")

    ended = desk.ended(run)
    assert (ended["status"], json.loads(ended["result"])["reference"]) == ("COMPLETED", "TD-4411")
    assert len(ledger.tool(run, BOOK)) == 1
    keys = [call["key"] for call in ledger.model(text)]
    assert len(keys) == len(set(keys)) == 4


def test_a_session_outlives_the_pod(desk: Caller, travel: Namespace) -> None:
    session = f"s-{secrets.token_hex(3)}"
    desk.ended(desk.start("Remember: two seats to Split, as always", session_id=session))
    replace_pod(travel)

    ended = desk.ended(desk.start("The same seats again", session_id=session))

    assert json.loads(ended["result"])["reference"] == "TD-4411"
    other = desk.ended(desk.start("The same seats again", session_id=f"{session}-other"))
    assert json.loads(other["result"])["reference"] is None
