"""The demo's verdict: it must be able to fail."""

import pytest

from e2e.demo.proof import Row, rows, table, verdict

SLOW = "hold_seat"


def call(number: int, name: str, key: str, *, delivered: bool = True):
    return {"number": number, "kind": "tool" if name == SLOW else "model", "name": name, "key": key, "delivered": delivered}


GOOD = [call(1, "m", "a"), call(2, "m", "b"), call(3, SLOW, "r/2/0", delivered=False), call(4, SLOW, "r/2/0"), call(5, "m", "c")]


def test_an_interrupted_tool_called_again_under_its_key_is_the_proof():
    found = rows(GOOD, killed_after=3)

    assert found == [Row("model m", 2, 1, 0, 0), Row("tool hold_seat", 1, 1, 0, 1)]
    assert verdict(found, answer="yes", interrupted=SLOW) == []


@pytest.mark.parametrize(
    ("calls", "answer", "words"),
    [
        (GOOD, None, "no answer"),
        ([*GOOD, call(6, "m", "a")], "yes", "model m: 1 call(s) that had finished were made again"),
        ([*GOOD, call(6, "m", "c")], "yes", "model m: 1 call(s) that had finished were made again"),
        ([*GOOD, call(6, SLOW, "r/2/0")], "yes", "that had finished were made again"),
        (GOOD[:3], "yes", "made again 0 times"),
        ([*GOOD[:3], call(4, SLOW, "other"), call(5, "m", "c")], "yes", "made again 0 times"),
        (GOOD[:2], "yes", "the kill did not hit tool hold_seat"),
    ],
    ids=["no answer", "old model call again", "new model call twice", "tool thrice", "tool lost", "another key", "kill missed"],
)
def test_anything_else_fails_the_proof(calls, answer, words):
    assert any(words in problem for problem in verdict(rows(calls, killed_after=3), answer=answer, interrupted=SLOW))


def test_the_table_has_a_line_for_the_model_and_one_for_each_tool():
    assert len(table(rows(GOOD, killed_after=3)).splitlines()) == 4
