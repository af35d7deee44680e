"""What both commands are wrapped in: words for people, and the exit code."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final

from holdfast_agent.local.faults import LocalError
from holdfast_agent.local.signals import INTERRUPTED

REFUSED: Final = 2


def exit_code(work: Coroutine[Any, Any, int]) -> int:
    """That of a command's work, or of what kept it from being done."""
    try:
        return asyncio.run(work)
    except LocalError as error:
        say(f"error: {error}")
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


def say(text: str) -> None:
    """A line for people, on stderr: stdout is the answer's."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
