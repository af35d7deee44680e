"""What `make test` makes of what pytest says."""

import pytest

from e2e.suite import Report

CASES = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_good"/>
<testcase classname="tests.a" name="test_bad"><failure>no</failure></testcase>
<testcase classname="tests.b" name="test_broken"><error>no</error></testcase>
<testcase classname="tests.b" name="test_not_run"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def first(tmp_path):
    (tmp_path / "report.xml").write_text(CASES)
    return Report.read(1, tmp_path / "report.xml")


def test_failures_and_errors_are_named_and_what_was_skipped_is_counted(first):
    assert (first.passed, first.skipped, first.broken) == (1, 1, ("tests.a::test_bad", "tests.b::test_broken"))


def test_what_passes_when_asked_alone_is_named_flaky_and_what_fails_again_stays_failed(first):
    after = first.after(Report(1, 1, 0, ("tests.b::test_broken",)))
    assert (after.passed, after.broken, after.flaky) == (2, ("tests.b::test_broken",), ("tests.a::test_bad",))


def test_failures_that_were_not_asked_again_stay_failures(first):
    assert first.after(Report(5, 0, 0, ())) == first
