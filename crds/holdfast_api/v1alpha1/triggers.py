"""`spec.triggers`: what begins runs by itself, the clock or an event on a topic."""

import re
import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.v1alpha1.pubsub import Topic
from holdfast_api.v1alpha1.types import ApiModel, Duration, ObjectName, Rule, Text, keyword, list_map, unique

_MINUTE = "[0-5]?[0-9]"
_HOUR = "([01]?[0-9]|2[0-3])"
_DAY = "(0?[1-9]|[12][0-9]|3[01])"
_MONTH = "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_WEEKDAY = "([0-7]|sun|mon|tue|wed|thu|fri|sat)"


def _cron_field(value: str) -> str:
    """Values, ranges and steps, in a list: `*`, `*/5`, `1,3-5`, `8-18/2`."""
    one = f"([*]|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{one}(,{one})*"


CRON_PATTERN = "^(?i)" + " +".join(_cron_field(field) for field in (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)) + "$"

_CRON = Rule(
    f"self.matches('{CRON_PATTERN}')",
    "cron must be five fields, minute hour day-of-month month day-of-week, each of numbers in range, for example `0 6 * * mon-fri`",
    lambda cron: bool(re.search(CRON_PATTERN.replace("^(?i)", "(?i)^"), cron)),
)
_ZONE = Rule(
    "self != 'Local' && timestamp('2000-01-01T00:00:00Z').getHours(self) >= 0",
    "timeZone must be a name of the IANA time zone database, for example Europe/Zagreb",
    lambda zone: zone != "Local" and _known_zone(zone),
)
_ONE_OF = (
    Rule(
        "has(self.schedule) != has(self.topic)",
        "give exactly one of schedule and topic",
        lambda trigger: (trigger.schedule is None) != (trigger.topic is None),
    ),
    Rule(
        "!has(self.schedule) || has(self.task)",
        "task is missing: say what the agent is to do at that time",
        lambda trigger: not trigger.schedule or bool(trigger.task),
    ),
)


def _known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there; no name at all; a folder of the database
        return False
    return True


class Schedule(ApiModel):
    """When a trigger fires."""

    cron: Annotated[str, StringConstraints(min_length=9, max_length=256), AfterValidator(_CRON.check)] = Field(
        description="Five fields: minute, hour, day of month, month, day of week.", json_schema_extra=keyword(_CRON)
    )
    time_zone: Annotated[
        str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$"), AfterValidator(_ZONE.check)
    ] = Field(default="UTC", description="Time zone that the fields are meant in.", json_schema_extra=keyword(_ZONE))
    suspend: bool = Field(default=False, description="true: no run is begun until it is false again.")
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = Field(
        default="Allow",
        description="When the run of an earlier tick is not over. Allow: begin another. Forbid: leave this tick out. "
        "Replace: cancel that run, then begin.",
    )
    starting_deadline: Duration | None = Field(
        default=None,
        description="How late a tick may begin that could not begin in time, because no pod was there. "
        "Left out: the newest of them is made up for, however late.",
    )


class TopicTrigger(ApiModel):
    """A topic whose events begin runs."""

    component: ObjectName | None = Field(
        default=None, description="Name of an existing pub/sub Component. Left out: the one of spec.pubsub."
    )
    name: Topic = Field(description="Name of the topic.")
    dead_letter: Topic | None = Field(
        default=None,
        description="Topic that gets the events that no run can be begun for. Left out: they are dropped, with a line in the log.",
    )


class Trigger(ApiModel):
    """What begins runs by itself; the same tick, or the same event, is one run."""

    RULES = _ONE_OF

    name: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = Field(
        description="What it is called in ids of runs and in metrics."
    )
    task: Text | None = Field(
        default=None, description="What the agent is to do. Left out for a topic: the event says it, and with it the event is added."
    )
    schedule: Schedule | None = Field(default=None, description="At certain times.")
    topic: TopicTrigger | None = Field(default=None, description="When something is published.")


TriggerList = Annotated[list[Trigger], list_map("name", max_length=32), unique("name")]
