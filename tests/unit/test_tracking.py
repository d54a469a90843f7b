"""Which hits are one thing: on scripted hits whose answer is known, and what holds for any hits."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blurd.core.tracking import Track, TrackRule, slope, track
from blurd.records import Box, Category, Detection, FrameObservation

FACE, PLATE = Category.FACE, Category.PLATE
START = 0.5
RULE = TrackRule()

boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.integers(0, 300),
    st.integers(0, 200),
    st.integers(12, 90),
    st.integers(12, 90),
)
detections = st.builds(Detection, st.sampled_from(tuple(Category)), boxes, st.sampled_from((0.1, 0.49, START, 0.9)))
frames = st.tuples(st.sampled_from((0.0, 0.01, 0.04, 0.3, 1.2)), st.lists(detections, max_size=3), st.booleans())
films = st.lists(frames, max_size=14).map(
    lambda rows: [
        FrameObservation(index, time_s, tuple(hits), cut and not index % 3)
        for index, (time_s, (_, hits, cut)) in enumerate(
            zip(itertools.accumulate(step for step, _, _ in rows), rows, strict=True)
        )
    ]
)


def threshold(_: Category) -> float:
    return START


def square(x: float, y: float = 100.0, side: float = 40.0) -> Box:
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def film(
    hits: Mapping[int, Sequence[tuple[Box, float]]], count: int, rate: float = 25.0, cuts: Iterable[int] = ()
) -> list[FrameObservation]:
    return [
        FrameObservation(
            index,
            index / rate,
            tuple(Detection(FACE, box, score) for box, score in hits.get(index, ())),
            index in set(cuts),
        )
        for index in range(count)
    ]


def frames_of(tracks: Iterable[Track]) -> list[list[int]]:
    return [one.frames.tolist() for one in tracks]


@given(films)
@settings(max_examples=120)
def test_every_strong_hit_belongs_to_one_track_and_no_hit_to_two(observations: list[FrameObservation]) -> None:
    strong, all_hits, tracked = Counter[object](), Counter[object](), Counter[object]()
    for one in observations:
        for hit in one.detections:
            key = (hit.category, one.index, hit.box)
            all_hits[key] += 1
            strong[key] += hit.score >= START
    for found in track(observations, threshold):
        for frame, box in zip(found.frames.tolist(), found.boxes.tolist(), strict=True):
            tracked[found.category, frame, Box(*box)] += 1
    assert strong <= tracked <= all_hits


@given(films)
@settings(max_examples=120)
def test_a_track_has_a_strong_hit_rises_stays_in_its_scene_and_bridges_no_more_than_it_may(
    observations: list[FrameObservation],
) -> None:
    scenes = list(itertools.accumulate(one.cut for one in observations))
    begins = []
    for found in track(observations, threshold):
        rows = found.frames.tolist()
        begins.append(rows[0])
        assert all(earlier < later for earlier, later in itertools.pairwise(rows))
        assert len({scenes[row] for row in rows}) == 1
        gaps = (observations[b].time_s - observations[a].time_s for a, b in itertools.pairwise(rows))
        assert all(gap_s <= RULE.longest_gap_s + 1e-6 for gap_s in gaps)
        assert any(
            hit.category is found.category and hit.score >= START and hit.box == Box(*box)
            for row, box in zip(rows, found.boxes.tolist(), strict=True)
            for hit in observations[row].detections
        )
    assert begins == sorted(begins)


def test_nothing_gives_nothing() -> None:
    assert track([], threshold) == ()
    assert track(film({}, 5), threshold) == ()
    assert track(film({1: [(square(50), 0.49)], 2: [(square(50), 0.1)]}, 5), threshold) == ()


def test_a_single_strong_hit_is_a_track() -> None:
    assert frames_of(track(film({0: [(square(50), START)]}, 1), threshold)) == [[0]]


@pytest.mark.parametrize(("gap_s", "tracks"), [(0.2, 1), (0.96, 1), (1.0, 1), (1.04, 2), (1.5, 2)])
def test_gaps_are_bridged_up_to_a_second(gap_s: float, tracks: int) -> None:
    last = 10 + round(gap_s * 25)
    hits = {index: [(square(100), 0.9)] for index in (*range(11), *range(last, last + 10))}
    assert len(track(film(hits, last + 10), threshold)) == tracks


def test_weak_hits_go_on_and_come_before_but_begin_nothing() -> None:
    """Far beside it, a weak hit belongs to nothing, before and after."""
    near = {index: [(square(100 + 3 * index), 0.2), (square(600), 0.2)] for index in range(30)}
    near[15] = [(square(145), 0.9), (square(600), 0.2)]
    (found,) = track(film(near, 30), threshold)
    assert found.frames.tolist() == list(range(30))
    assert found.boxes[:, 2].max() < 300


def test_weak_hits_are_followed_back_over_gaps_and_not_over_a_cut() -> None:
    hits = {index: [(square(100 + 8 * index), 0.2)] for index in (0, 6, 14, 20, 21, 30)}
    hits |= {index: [(square(100 + 8 * index), 0.9)] for index in range(35, 45)}
    assert frames_of(track(film(hits, 45), threshold)) == [[0, 6, 14, 20, 21, 30, *range(35, 45)]]
    assert frames_of(track(film(hits, 45, cuts=[14]), threshold)) == [[14, 20, 21, 30, *range(35, 45)]]


def test_nothing_is_followed_over_a_cut() -> None:
    hits = {index: [(square(100), 0.9)] for index in range(20)}
    assert frames_of(track(film(hits, 20, cuts=[0, 7, 8]), threshold)) == [[*range(7)], [7], [*range(8, 20)]]


@pytest.mark.parametrize("rate", [10.0, 25.0, 60.0])
@pytest.mark.parametrize("away_s", [0.0, 0.4])
def test_two_that_cross_keep_their_tracks(rate: float, away_s: float) -> None:
    """Also where one hides the other while they meet: each goes on where its movement leads."""
    count = int(3 * rate)
    hits = {}
    for index in range(count):
        offset = 150 * (index / rate - 1.5)
        hits[index] = [(square(400 + offset, 100), 0.9)]
        if abs(index / rate - 1.5) >= away_s / 2:
            hits[index].append((square(400 - offset, 110), 0.9))
    first, second = track(film(hits, count, rate), threshold)
    assert abs(np.diff(first.boxes[:, 0]).mean() - 150 / rate) < 1
    assert abs(np.corrcoef(first.frames, first.boxes[:, 0])[0, 1]) > 0.999
    assert abs(np.corrcoef(second.frames, second.boxes[:, 0])[0, 1]) > 0.999


def test_categories_have_nothing_to_do_with_each_other() -> None:
    boxes_at = [square(100 + index) for index in range(6)]
    observations = [
        FrameObservation(index, index / 25, (Detection(FACE if index % 2 else PLATE, box, 0.9),))
        for index, box in enumerate(boxes_at)
    ]
    assert [(one.category, one.frames.tolist()) for one in track(observations, threshold)] == [
        (PLATE, [0, 2, 4]),
        (FACE, [1, 3, 5]),
    ]


def test_a_face_that_is_found_far_off_after_a_jump_in_size_is_another() -> None:
    hits = {0: [(square(100, side=20), 0.9)], 1: [(square(100, side=80), 0.9)]}
    assert frames_of(track(film(hits, 2), threshold)) == [[0], [1]]


def test_one_whose_size_grew_while_it_came_in_is_found_again_at_the_size_that_it_had() -> None:
    """Coming in over an edge, a box grows quickly; unseen for a while, it has not grown on."""
    hits = {index: [(Box(300, 0, 400, 10 + 30 * index), 0.9)] for index in range(4)}
    hits[12] = [(Box(300, 210, 400, 310), 0.9)]
    assert len(track(film(hits, 13, rate=20), threshold)) == 1


def test_carried_over_boxes_then_a_sudden_movement() -> None:
    """Equal boxes for two seconds, as a calm picture gives them; then it walks off, two of its sizes a second."""
    hits = {index: [(square(100), 0.9)] for index in range(50)}
    hits |= {index: [(square(100 + 80 * (index - 49) / 25), 0.9)] for index in range(50, 100)}
    hits |= {index: [] for index in range(50, 60)}
    assert len(track(film(hits, 100), threshold)) == 1


def test_a_slope_says_how_fast_and_rest_where_little_is_known() -> None:
    times_s = np.arange(10) / 25
    places = np.stack([100 * times_s + 5, -50 * times_s], axis=1)
    assert np.allclose(slope(times_s, places, RULE), [100, -50], rtol=0.02)
    assert np.array_equal(slope(times_s[:1], places[:1], RULE), [0, 0])
    assert np.array_equal(slope(np.zeros(2), places[:2], RULE), [0, 0])
    trembling = np.array([[0.0, 0.0], [2.0, 2.0]])
    assert (slope(np.array([0.0, 1 / 60]), trembling, RULE) < 0.25 * 120).all()
