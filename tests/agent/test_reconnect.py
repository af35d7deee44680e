"""How soon the worker tries again to connect to its sidecar."""

import threading

import pytest

from holdfast_agent import engine


@pytest.fixture
def pauses(monkeypatch):
    """Seconds waited in each wait of 10 s; nothing is waited for in truth."""
    probes = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, timeout=None: probes.append(timeout) and False)
    event = engine._PatientEvent()

    def wait():
        probes.clear()
        assert event.wait(10.0) is False
        return sum(probes)

    return wait


def test_a_wait_ends_as_soon_as_the_sidecar_serves(pauses, monkeypatch):
    answers = iter([False, False, True])
    monkeypatch.setattr(engine, "_serves", lambda: next(answers))
    assert pauses() == 0.75


def test_a_sidecar_that_stays_away_is_waited_for_as_the_worker_wants(pauses, monkeypatch):
    monkeypatch.setattr(engine, "_serves", lambda: False)
    assert pauses() == 10.0


def test_a_sidecar_that_serves_but_refuses_the_worker_is_tried_ever_more_slowly(pauses, monkeypatch):
    monkeypatch.setattr(engine, "_serves", lambda: True)
    assert [pauses() for _ in range(8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    monkeypatch.setattr(engine, "_CALM_SECONDS", -1.0)
    assert pauses() == 0.25
