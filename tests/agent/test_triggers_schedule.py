"""What is to be done about the ticks of a schedule: by table, without a clock or a store."""

from dataclasses import replace
from datetime import datetime

import pytest

from holdfast_agent.triggers.schedule import COUNTED, State, adopted, decide, digest, run_id
from holdfast_api.config import ScheduleConfig
from holdfast_api.cron import Cron

SCHEDULE = ScheduleConfig(cron="0 * * * *")
HOURLY = Cron.parse(SCHEDULE.cron)


def _at(text):
    return datetime.fromisoformat(f"2026-11-21T{text}Z").timestamp()


def _state(through, **more):
    return State(digest(SCHEDULE), _at(through), **more)


def _with(**more):
    return SCHEDULE.model_copy(update=more)


def test_a_tick_that_is_due_begins_once_and_is_owed_until_its_run_is_stored():
    due = decide(_state("05:00"), HOURLY, SCHEDULE, _at("06:00"))
    assert (due.begin, due.late, due.left_out) == (_at("06:00"), 0, False)
    assert (due.state.owed, due.state.through) == (_at("06:00"), _at("06:00"))
    begun = due.state.begins(due.begin, run_id("nightly", due.begin))
    assert (begun.owed, begun.run, begun.active, begun.begun) == (None, "nightly-20261121T0600Z", ("nightly-20261121T0600Z",), 1)
    assert begun.begins(due.begin, begun.run) == begun
    over = replace(begun, active=())
    assert over.begins(due.begin, begun.run) == over
    assert replace(over, owed=due.begin).begins(due.begin, begun.run) == over
    assert decide(begun, HOURLY, SCHEDULE, _at("06:59:59")).state == begun


def test_before_a_tick_nothing_is_done():
    state = _state("05:00")
    assert decide(state, HOURLY, SCHEDULE, _at("05:59:59")).state == state


def test_of_missed_ticks_the_newest_is_made_up_for_and_the_others_are_counted():
    late = decide(_state("01:00"), HOURLY, SCHEDULE, _at("05:30"))
    assert (late.begin, late.late, late.state.missed) == (_at("05:00"), 3, 3)


def test_missed_ticks_of_a_long_absence_are_counted_as_at_least_so_many():
    minutely = ScheduleConfig(cron="* * * * *")
    state = State(digest(minutely), _at("00:00") - 10**7)
    assert decide(state, Cron.parse(minutely.cron), minutely, _at("00:00")).late == COUNTED - 1


@pytest.mark.parametrize(("now", "begins"), [("06:01:30", True), ("06:02:01", False)])
def test_a_tick_is_not_begun_after_its_starting_deadline(now, begins):
    found = decide(_state("05:00"), HOURLY, _with(starting_deadline_seconds=120), _at(now))
    assert (found.begin is not None, found.late) == (begins, 0 if begins else 1)


def test_what_is_owed_is_left_to_whoever_decided_about_it_for_a_moment_and_then_anybody_begins_it():
    owed = decide(_state("05:00"), HOURLY, SCHEDULE, _at("06:00")).state
    assert decide(owed, HOURLY, SCHEDULE, _at("06:00:01")).begin is None
    assert decide(owed, HOURLY, SCHEDULE, _at("06:00:01"), trying=True).begin == _at("06:00")
    assert decide(owed, HOURLY, SCHEDULE, _at("06:00:06")).begin == _at("06:00")


def test_what_could_not_begin_until_the_next_tick_is_missed():
    owed = decide(_state("05:00"), HOURLY, SCHEDULE, _at("06:00")).state
    found = decide(owed, HOURLY, SCHEDULE, _at("07:00"), trying=True)
    assert (found.begin, found.late, found.state.missed) == (_at("07:00"), 1, 1)
    expired = decide(owed, HOURLY, _with(starting_deadline_seconds=60), _at("06:01:01"), trying=True)
    assert (expired.begin, expired.late, expired.state.owed) == (None, 1, None)


@pytest.mark.parametrize(
    ("policy", "active", "begins", "left_out"),
    [("Allow", ("r",), True, False), ("Forbid", ("r",), False, True), ("Forbid", (), True, False), ("Replace", ("r",), True, False)],
)
def test_what_happens_while_an_earlier_run_is_not_over(policy, active, begins, left_out):
    found = decide(_state("05:00", active=active), HOURLY, _with(concurrency_policy=policy), _at("06:00"))
    assert (found.begin is not None, found.left_out, found.state.skipped) == (begins, left_out, int(left_out))
    assert found.state.through == _at("06:00")


def test_a_suspended_schedule_does_nothing_and_its_ticks_are_not_made_up_for():
    suspended = _with(suspend=True)
    state = adopted(_state("01:00"), suspended, _at("02:30"))
    assert decide(state, HOURLY, suspended, _at("09:30")).state == state
    again = adopted(state, SCHEDULE, _at("09:30"))
    assert decide(again, HOURLY, SCHEDULE, _at("09:31")).begin is None
    assert decide(again, HOURLY, SCHEDULE, _at("10:00")).begin == _at("10:00")


def test_a_changed_schedule_begins_anew_and_keeps_what_was_counted():
    before = _state("05:00", owed=int(_at("05:00")), begun=7, missed=2, active=("r",))
    other = ScheduleConfig(cron="30 * * * *")
    after = adopted(before, other, _at("05:10"))
    assert (after.through, after.owed, after.begun, after.missed, after.active) == (_at("05:10"), None, 7, 2, ("r",))
    assert decide(after, Cron.parse(other.cron), other, _at("05:29")).begin is None


def test_a_new_schedule_has_missed_nothing_and_an_unchanged_one_goes_on():
    assert decide(adopted(None, SCHEDULE, _at("05:30")), HOURLY, SCHEDULE, _at("05:31")).begin is None
    state = _state("05:00", begun=3)
    assert adopted(state, SCHEDULE, _at("09:00")) == state
    assert adopted(state, _with(concurrency_policy="Forbid"), _at("09:00")) == state


def test_a_state_is_read_as_it_was_written_and_by_a_version_that_knows_less():
    state = _state("05:00", owed=int(_at("05:00")), run="r", tick=1, active=("r",), begun=1)
    assert State.load(state.dump() | {"newer": True}) == state
    assert State.load(replace(state, owed=None).dump()).owed is None
