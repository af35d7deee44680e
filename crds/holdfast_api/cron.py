"""Cron arithmetic: five fields in a time zone, and the ticks that they come to. Pure; times are whole seconds since the epoch.

A tick is a minute whose wall clock in the zone matches all fields, and nothing else. That is what CronJob does too, and it says what
happens when the clock is changed: a time of day that is skipped in spring has no tick that day, and one that is there twice in autumn has
two. As in CronJob, where neither the day of the month nor the day of the week begins with `*`, one of them has to match, else both.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE: Final = 60
_HOUR: Final = 3600
_SEARCH_DAYS: Final = 366 * 9
"""A 29th of February may be eight years away."""


class CronError(ValueError):
    """The text is no schedule; the message names the field, its value and what it may be."""


@dataclass(frozen=True)
class _Field:
    """One of the five: its name and what it may be. `names` stand for numbers from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> frozenset[int]:
        """All numbers that the text stands for."""
        return frozenset(number for part in text.split(",") for number in self._part(part))

    def _part(self, part: str) -> range:
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = self.low, self.high
        else:
            low = self._number(first, part)
            # `3/5` is `3-59/5`, as CronJob reads it.
            high = self._number(last, part) if dash else self.high if slash else low
        if low > high:
            raise self._wrong(part, f"{low} comes after {high}")
        if slash and not (step.isdecimal() and step.isascii() and int(step) > 0):
            raise self._wrong(part, f"the step {step!r} is no number from 1 on")
        return range(low, high + 1, int(step) if slash else 1)

    def _number(self, text: str, part: str) -> int:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        if not (text.isdecimal() and text.isascii() and self.low <= int(text) <= self.high):
            raise self._wrong(part, f"{text!r} is not allowed there")
        return int(text)

    def _wrong(self, part: str, why: str) -> CronError:
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return CronError(f"{self.name} {part!r}: {why}: use `*`, numbers from {self.low} to {self.high}{names}, ranges `a-b`, steps `/n`")


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """A schedule.

    Attributes:
        times: of a day on the wall clock, in seconds after midnight, ascending.
        either: whether one of `days` and `weekdays` is enough.
        weekdays: 0 is Sunday.
    """

    times: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> "Cron":
        """Read five fields.

        Raises:
            CronError: they are none, or never come true, or there is no such zone.
        """
        parts = text.split()
        if len(parts) != len(_FIELDS):
            raise CronError(f"{text!r} has {len(parts)} fields: give five: minute, hour, day of month, month, day of week")
        minutes, hours, days, months, weekdays = (field.values(part) for field, part in zip(_FIELDS, parts, strict=True))
        try:
            place = ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:  # not there; a folder of the database; no name at all
            raise CronError(f"time zone {zone!r} is not known: use a name of the IANA database, such as Europe/Zagreb") from error
        found = cls(
            times=tuple(hour * _HOUR + minute * _MINUTE for hour in sorted(hours) for minute in sorted(minutes)),
            days=days,
            months=months,
            weekdays=frozenset(weekday % 7 for weekday in weekdays),
            either=not (_any(parts[2]) or _any(parts[4])),
            zone=place,
        )
        if found.after(0) is None:
            raise CronError(f"{text!r} never comes true: no such month has such a day")
        return found

    def after(self, moment: float) -> int | None:
        """The first tick later than that; None: there is none for years."""
        begin = self._date(moment) - timedelta(days=1)
        for number in range(_SEARCH_DAYS):
            ticks = _ticks(self, begin + timedelta(days=number))
            place = bisect_right(ticks, moment)
            if place < len(ticks):
                return ticks[place]
        return None

    def until(self, moment: float) -> int | None:
        """The last tick that is not later than that; None: there is none for years."""
        begin = self._date(moment) + timedelta(days=1)
        for number in range(_SEARCH_DAYS):
            ticks = _ticks(self, begin - timedelta(days=number))
            place = bisect_right(ticks, moment)
            if place:
                return ticks[place - 1]
        return None

    def count(self, after: float, until: float, *, most: int) -> int:
        """How many ticks are later than `after` and not later than `until`; not counted further than `most`."""
        found = 0
        for day in self._days(after, until):
            ticks = _ticks(self, day)
            found += max(0, bisect_right(ticks, until) - bisect_right(ticks, after))
            if found >= most:
                return most
        return found

    def on(self, day: date) -> tuple[int, ...]:
        """The ticks of a day in the zone, ascending."""
        if not self._matches(day):
            return ()
        midnight, offset = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()), self._offset(day)
        if offset == self._offset(day + timedelta(days=1)):
            return tuple(midnight + time - offset for time in self.times)
        # The clock is changed within this day.
        return tuple(sorted({tick for time in self.times for tick in self._moments(day, time)}))

    def _moments(self, day: date, time: int) -> Iterator[int]:
        """When the clock shows that time: once, not at all, or twice."""
        wall = datetime(day.year, day.month, day.day, time // _HOUR, time % _HOUR // _MINUTE)  # noqa: DTZ001 - the zone follows
        for fold in (0, 1):
            moment = wall.replace(tzinfo=self.zone, fold=fold).timestamp()
            if datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None) == wall:
                yield int(moment)

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either else in_month and in_week

    def _offset(self, day: date) -> int:
        """Seconds that the zone is ahead of UTC when that day begins."""
        offset = datetime(day.year, day.month, day.day, tzinfo=self.zone).utcoffset() or timedelta()
        return int(offset.total_seconds())

    def _date(self, moment: float) -> date:
        return datetime.fromtimestamp(moment, self.zone).date()

    def _days(self, after: float, until: float) -> Iterator[date]:
        day, last = self._date(after) - timedelta(days=1), self._date(until) + timedelta(days=1)
        while day <= last:
            yield day
            day += timedelta(days=1)


@lru_cache(maxsize=256)
def _ticks(cron: Cron, day: date) -> tuple[int, ...]:
    return cron.on(day)


def _any(field: str) -> bool:
    """Whether the field leaves the day open: `*`, but not `*/2`, as CronJob reads it."""
    return any(part in ("*", "*/1") for part in field.split(","))


def stamp(tick: int) -> str:
    """A tick as it stands in the id of its run: `20261121T0600Z`."""
    return datetime.fromtimestamp(tick, UTC).strftime("%Y%m%dT%H%MZ")
