"""Ticks of schedules, by table: ordinary ones, both changes of the clock, and what is refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from holdfast_api.cron import Cron, CronError, stamp


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _told(tick: int, zone: str) -> str:
    return datetime.fromtimestamp(tick, ZoneInfo(zone)).isoformat(timespec="minutes")


def _following(text: str, zone: str, start: str, count: int) -> list[str]:
    cron, moment, found = Cron.parse(text, zone), _at(start), []
    for _ in range(count):
        tick = cron.after(moment)
        found.append(_told(tick, zone))
        moment = tick
    return found


@pytest.mark.parametrize(
    ("text", "zone", "start", "expected"),
    [
        ("0 6 * * *", "UTC", "2026-11-21T06:00Z", ["2026-11-22T06:00+00:00"]),
        ("0 6 * * *", "UTC", "2026-11-21T05:59:59Z", ["2026-11-21T06:00+00:00"]),
        ("*/20 8-9 * * *", "UTC", "2026-11-21T08:30Z", ["2026-11-21T08:40+00:00", "2026-11-21T09:00+00:00"]),
        ("5/25 0 * * *", "UTC", "2026-11-21T00:06Z", ["2026-11-21T00:30+00:00", "2026-11-21T00:55+00:00"]),
        ("0 0 * * MON-Fri", "UTC", "2026-11-20T12:00Z", ["2026-11-23T00:00+00:00"]),
        ("0 0 * * 7", "UTC", "2026-11-20T12:00Z", ["2026-11-22T00:00+00:00"]),
        ("0 0 29 feb *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T00:00+00:00"]),
        # Both days named: one of them is enough. `*/2` names days, `*` does not.
        ("0 0 13 * fri", "UTC", "2026-11-08T00:00Z", ["2026-11-13T00:00+00:00", "2026-11-20T00:00+00:00"]),
        ("0 0 */10 * 1", "UTC", "2026-11-21T12:00Z", ["2026-11-23T00:00+00:00", "2026-11-30T00:00+00:00", "2026-12-01T00:00+00:00"]),
        ("0 0 1 * *", "Asia/Tokyo", "2026-11-30T14:59:59Z", ["2026-12-01T00:00+09:00"]),
        # Spring: 02:00 to 03:00 is not there on the 29th of March.
        ("30 2 * * *", "Europe/Zagreb", "2026-03-27T12:00Z", ["2026-03-28T02:30+01:00", "2026-03-30T02:30+02:00"]),
        ("*/30 * * * *", "Europe/Zagreb", "2026-03-29T00:00Z", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        # Autumn: 02:00 to 03:00 is there twice on the 25th of October.
        (
            "30 2 * * *",
            "Europe/Zagreb",
            "2026-10-24T12:00Z",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-26T02:30+01:00"],
        ),
        ("0 3 * * *", "Europe/Zagreb", "2026-10-24T12:00Z", ["2026-10-25T03:00+01:00", "2026-10-26T03:00+01:00"]),
        # Half an hour, at a change of the clock on the other side of the world.
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T15:00Z", ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]),
        # A change at midnight: there is no 00:15 on the 6th of September.
        ("15 0 * * *", "America/Santiago", "2026-09-05T12:00Z", ["2026-09-07T00:15-03:00"]),
        # A day that an island left out.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00Z", ["2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00"]),
    ],
)
def test_the_next_ticks(text, zone, start, expected):
    assert _following(text, zone, start, len(expected)) == expected


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zagreb", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"])
@pytest.mark.parametrize("text", ["7 2 * * *", "*/15 0-3 * * *", "0 1 1,15 * sun"])
def test_ticks_are_the_minutes_whose_wall_clock_matches(text, zone):
    cron = Cron.parse(text, zone)
    for around in ("2026-03-29T00:00Z", "2026-04-04T15:00Z", "2026-09-06T04:00Z", "2026-10-25T00:00Z", "2011-12-30T10:00Z"):
        begin = int(_at(around)) - 2 * 86400
        minutes = range(begin, begin + 4 * 86400, 60)
        walls = {minute: datetime.fromtimestamp(minute, cron.zone) for minute in minutes}
        expected = [at for at, wall in walls.items() if cron._matches(wall.date()) and wall.hour * 3600 + wall.minute * 60 in cron.times]
        found, moment = [], begin - 1
        while (tick := cron.after(moment)) <= minutes[-1]:
            found.append(tick)
            moment = tick
        assert found == expected
        assert cron.count(begin - 1, minutes[-1], most=10_000) == len(expected)
        if expected:
            assert cron.until(minutes[-1]) == expected[-1]


def test_the_last_tick_may_be_now():
    cron = Cron.parse("0 6 * * *")
    assert cron.until(_at("2026-11-21T06:00Z")) == _at("2026-11-21T06:00Z")
    assert cron.until(_at("2026-11-21T05:59:59Z")) == _at("2026-11-20T06:00Z")


def test_counting_stops_where_it_is_told_to():
    cron, now = Cron.parse("* * * * *"), _at("2026-11-21T06:00Z")
    assert cron.count(now - 3600, now, most=1000) == 60
    assert cron.count(now - 10**9, now, most=1000) == 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * *", "has 4 fields"),
        ("@every 5m", "has 2 fields"),
        ("60 * * * *", "minute '60'"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of month '0'"),
        ("* * * foo *", "month 'foo'"),
        ("* * * * 8", "day of week '8'"),
        ("* * * * fri-mon", "5 comes after 1"),
        ("*/0 * * * *", "the step '0'"),
        ("*/x * * * *", "the step 'x'"),
        ("1,,2 * * * *", "minute ''"),
        ("² * * * *", "minute '²'"),
        ("0 0 30 feb *", "never comes true"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_field_and_its_value(text, said):
    with pytest.raises(CronError) as refused:
        Cron.parse(text)
    assert said in str(refused.value)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc", "", "Europe"])
def test_an_unknown_time_zone_is_refused(zone):
    with pytest.raises(CronError, match="time zone"):
        Cron.parse("* * * * *", zone)


def test_a_tick_is_told_in_utc():
    assert stamp(int(datetime(2026, 11, 21, 6, tzinfo=UTC).timestamp())) == "20261121T0600Z"
