"""The settling ladder, on values."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.containers import Completeness
from blurd.core.settling import LONGEST_PAUSE_S, Evidence, SettleRule, Sighting, Step, incomplete_reason, judge, sight
from blurd.errors import Reason
from blurd.records import FileStamp

RULE = SettleRule(settle_s=5.0, incomplete_after_s=600.0)
STAMP = FileStamp(100, 1, 1, 1)
WHOLE = Evidence(writer_gone=True, fully_allocated=True, container=Completeness.WHOLE)


def test_a_file_is_looked_at_after_it_was_stable_for_the_settle_time() -> None:
    seen, step = sight(None, STAMP, 1000.0, RULE)
    assert step is Step.WAIT
    assert sight(seen, STAMP, 1004.9, RULE)[1] is Step.WAIT
    assert sight(seen, STAMP, 1005.0, RULE)[1] is Step.LOOK


@pytest.mark.parametrize("change", ["size", "mtime_ns", "ctime_ns", "inode"])
def test_any_change_begins_anew(change: str) -> None:
    seen, _ = sight(None, STAMP, 1000.0, RULE)
    seen, step = sight(seen, replace(STAMP, **{change: 2}), 1004.0, RULE)
    assert (seen.since_s, step) == (1004.0, Step.WAIT)


def test_s03_age_proves_nothing() -> None:
    """An mtime years in the past does not shorten the wait."""
    old = replace(STAMP, mtime_ns=0)
    assert sight(None, old, 1e9, RULE)[1] is Step.WAIT


@pytest.mark.parametrize("writer_gone", [True, None])
@pytest.mark.parametrize("allocated", [True, None])
@pytest.mark.parametrize("container", [Completeness.WHOLE, Completeness.UNDETERMINED])
def test_a_file_without_an_obstacle_is_ready(
    writer_gone: bool | None,  # noqa: FBT001
    allocated: bool | None,  # noqa: FBT001
    container: Completeness,
) -> None:
    seen = Sighting(STAMP, 0.0, 5.0)
    assert judge(seen, Evidence(writer_gone, allocated, container), 5.0, RULE)[1] is Step.READY


def test_s01_an_open_writer_is_waited_for_without_limit() -> None:
    seen = Sighting(STAMP, 0.0, 5.0)
    _, step = judge(seen, replace(WHOLE, writer_gone=False), 1e9, RULE)
    assert step is Step.WAIT


def test_s02_a_hole_waits_and_a_whole_container_is_taken_in_the_end() -> None:
    seen = Sighting(STAMP, 0.0, 5.0)
    hole = replace(WHOLE, fully_allocated=False)
    assert judge(seen, hole, 5.0, RULE)[1] is Step.WAIT
    assert judge(seen, hole, 600.0, RULE)[1] is Step.READY
    assert judge(seen, replace(hole, container=Completeness.UNDETERMINED), 600.0, RULE)[1] is Step.INCOMPLETE


def test_s05_an_abandoned_upload_is_incomplete_after_the_limit() -> None:
    seen = Sighting(STAMP, 0.0, 5.0)
    cut = replace(WHOLE, container=Completeness.INCOMPLETE)
    assert judge(seen, cut, 599.0, RULE)[1] is Step.WAIT
    assert judge(seen, cut, 600.0, RULE)[1] is Step.INCOMPLETE


def test_s12_a_file_of_zero_bytes_has_its_own_reason() -> None:
    assert incomplete_reason(replace(STAMP, size=0)) is Reason.EMPTY_FILE
    assert incomplete_reason(STAMP) is Reason.INCOMPLETE


@given(st.floats(5, 500), st.booleans())
def test_looks_grow_rarer_but_never_stop(now_s: float, hole: bool) -> None:  # noqa: FBT001
    evidence = replace(WHOLE, fully_allocated=not hole, container=Completeness.INCOMPLETE)
    seen, step = judge(Sighting(STAMP, 0.0, 5.0), evidence, now_s, RULE)
    assert step is Step.WAIT
    assert now_s < seen.look_again_s <= now_s + LONGEST_PAUSE_S
    assert seen.since_s == 0.0
