"""The room that a copy may need."""

import hypothesis.strategies as st
from hypothesis import given

from blurd.core.space import expected_bytes, largest_source_bytes
from blurd.records import MediaKind


@given(st.sampled_from(MediaKind), st.integers(0, 1 << 50))
def test_s28_a_copy_may_grow_by_its_kind_and_a_larger_source_never_needs_less(kind: MediaKind, size: int) -> None:
    assert expected_bytes(kind, size) > 2 * size
    assert expected_bytes(kind, size + 1) >= expected_bytes(kind, size)


def test_s28_images_and_videos_have_their_own_expectations() -> None:
    assert expected_bytes(MediaKind.IMAGE, 10 << 20) == (40 << 20) + (1 << 20)
    assert expected_bytes(MediaKind.VIDEO, 10 << 20) == (25 << 20) + (8 << 20)


@given(st.sampled_from(MediaKind), st.integers(-5, 1 << 50), st.integers(0, 1 << 50))
def test_s28_what_is_not_claimed_would_not_fit(kind: MediaKind, room: int, size: int) -> None:
    """The queue leaves out only what no kind of file of that size could be given."""
    if size > largest_source_bytes(room):
        assert expected_bytes(kind, size) > room


@given(st.integers(1 << 21, 1 << 50))
def test_s28_the_largest_that_is_claimed_fits_as_one_kind_at_least(room: int) -> None:
    largest = largest_source_bytes(room)
    assert min(expected_bytes(kind, largest) for kind in MediaKind) <= room
