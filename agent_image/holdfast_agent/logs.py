"""Logs as one JSON object a line, for the cluster's log pipeline. Never prompts, answers, keys or arguments of tools."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError

from holdfast_agent import scope

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOISY: Final = {"durabletask-worker": logging.WARNING, "durabletask-client": logging.WARNING, "WorkflowRuntime": logging.WARNING}
LEVELS: Final = ("debug", "info", "warning", "error")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, what came as `extra`, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line: dict[str, object] = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= scope.described()
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Malformed(logging.Filter):
    """What was no HTTP is its sender's fault: a line for whoever looks for it, no traceback. Anybody who reaches the port can send it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one of malformed HTTP becomes one of level debug."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
        record.exc_info = None
        # The words of the error hold what was sent, which may be a token.
        record.refused = type(error).__name__
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(level: str) -> None:
    """Send every logger's records to standard error, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("aiohttp.server").addFilter(Malformed())
    for name, quiet in _NOISY.items():
        logging.getLogger(name).setLevel(max(quiet, logging.getLevelName(level.upper())))
