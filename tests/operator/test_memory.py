"""What a record keeps of an Agent between events and looks."""

import pytest

from holdfast_operator.memory import Record


@pytest.mark.parametrize(("told", "kept"), [("6", False), ("7", False), ("8", True)], ids=["earlier", "same", "later"])
def test_a_look_drops_what_events_have_told_up_to_the_version_that_it_read(told: str, kept: bool) -> None:  # noqa: FBT001
    record = Record(uid="u", version="5")
    record.keep({"metadata": {"name": "a", "resourceVersion": told}})

    record.begin("7")

    assert record.version == "7"
    assert (record.take() is not None) is kept
