"""Durations as people write them in Kubernetes and Go: `90s`, `1h30m`, `250ms`. Apart from the models, so that it costs nothing to load."""

import re

_DURATION = re.compile(r"([0-9]+)(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION_PATTERN = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$"
LONGEST = "87600h"
_LONGEST_SECONDS = 87600 * 3600.0


def seconds(duration: str) -> float:
    """Length in seconds of a duration such as `90s`, `1h30m` or `250ms`.

    Raises:
        ValueError: the text is not a duration, is zero, or is longer than ten years, which no clock of a run has to reach.
    """
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"{duration!r} is not a duration; write for example 30s, 5m or 1h30m")
    total = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION.findall(duration))
    if total <= 0:
        raise ValueError(f"{duration!r} is zero; give a duration longer than that")
    if total > _LONGEST_SECONDS:
        raise ValueError(f"{duration!r} is longer than ten years; give at most {LONGEST}")
    return total
