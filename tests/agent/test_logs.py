"""What is written to the log, and what is not."""

import json
import logging

import pytest
from aiohttp.http_exceptions import BadStatusLine

from holdfast_agent import logs


@pytest.fixture
def written(capsys):
    """`written(level)` -> a function that gives the lines since; loggers are as they were afterwards."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = root.level, list(root.handlers), list(server.filters)

    def begin(level):
        logs.configure(level)
        return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    yield begin
    root.setLevel(before[0])
    root.handlers[:], server.filters[:] = before[1], before[2]
    logging.captureWarnings(capture=False)


def refuse(error):
    try:
        raise error
    except type(error):
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "1.2.3.4")


def test_malformed_http_is_a_line_of_level_debug_without_a_traceback_or_what_was_sent(written):
    lines = written("info")
    refuse(BadStatusLine("Bearer secret"))
    assert lines() == []
    lines = written("debug")
    refuse(BadStatusLine("Bearer secret"))
    [line] = lines()
    assert (line["level"], line["refused"]) == ("debug", "BadStatusLine")
    assert "traceback" not in line
    assert "secret" not in str(line)


def test_what_breaks_in_the_agent_is_an_error_with_its_traceback(written):
    lines = written("info")
    refuse(ValueError("broken"))
    [line] = lines()
    assert line["level"] == "error"
    assert "ValueError: broken" in line["traceback"]
