"""Masks over time: nothing that was seen is left open, gaps and ends are covered, and masks move steadily."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blurd.core.exposure import Film, Sighting, measure, over_blur
from blurd.core.geometry import clip, grow
from blurd.core.masking import covered_share
from blurd.core.timeline import (
    REPAIR_GROWTH,
    CategoryRule,
    MaskRules,
    MotionRule,
    Scenes,
    masks_of,
    plan_video,
    repair,
    spread_leaks,
)
from blurd.core.tracking import track
from blurd.records import Box, Category, Detection, FrameObservation, Mask, MaskShape, MaskStyle, Timeline

FACE, PLATE = Category.FACE, Category.PLATE
SIZE_PX = (1280, 720)
START = 0.3
RULES = MaskRules(
    MaskStyle.BLUR,
    {
        FACE: CategoryRule(START, MaskShape.ELLIPSE, 0.3),
        PLATE: CategoryRule(START, MaskShape.RECTANGLE, 0.2),
    },
)
FACES_ONLY = MaskRules(MaskStyle.BLUR, {FACE: CategoryRule(START, MaskShape.RECTANGLE, 0.0)})
PAD_S = MotionRule().pad_s

boxes = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.floats(-20, 1270),
    st.floats(-20, 710),
    st.floats(3, 200),
    st.floats(3, 200),
)
detections = st.builds(Detection, st.sampled_from(tuple(Category)), boxes, st.sampled_from((0.1, 0.29, START, 0.9)))
films = st.lists(
    st.tuples(st.sampled_from((0.0, 0.01, 0.04, 0.3, 1.2)), st.lists(detections, max_size=3), st.integers(0, 5)),
    max_size=14,
).map(
    lambda rows: [
        FrameObservation(index, time_s, tuple(hits), cut == 0)
        for index, (time_s, (_, hits, cut)) in enumerate(
            zip(itertools.accumulate(step for step, _, _ in rows), rows, strict=True)
        )
    ]
)


def square(x: float, y: float = 300.0, side: float = 60.0) -> Box:
    return Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def film(hits: Mapping[int, Box], count: int, rate: float = 25.0, cuts: Iterable[int] = ()) -> list[FrameObservation]:
    found = {index: (Detection(FACE, box, 0.9),) for index, box in hits.items()}
    return [FrameObservation(index, index / rate, found.get(index, ()), index in set(cuts)) for index in range(count)]


def masked_frames(observations: Sequence[FrameObservation], rules: MaskRules = RULES) -> list[int]:
    return [index for index, masks in enumerate(plan_video(observations, rules, SIZE_PX).frames) if masks]


def contains(outer: Box, inner: Box) -> bool:
    inside = outer.left <= inner.left and outer.top <= inner.top
    return inside and outer.right >= inner.right and outer.bottom >= inner.bottom


@given(films)
@settings(max_examples=100)
def test_every_hit_of_a_track_lies_under_a_mask_of_its_frame(observations: list[FrameObservation]) -> None:
    """All strong ones with that; one mask box contains the whole grown box, in the category's own outline."""
    timeline = plan_video(observations, RULES, SIZE_PX)
    assert len(timeline.frames) == len(observations)
    wanted = [
        (one.index, hit.category, hit.box) for one in observations for hit in one.detections if hit.score >= START
    ]
    wanted += [
        (frame, found.category, Box(*box))
        for found in track(observations, RULES.start_threshold)
        for frame, box in zip(found.frames.tolist(), found.boxes.tolist(), strict=True)
    ]
    for frame, category, box in wanted:
        rule = RULES.categories[category]
        assert any(
            mask.shape is rule.shape and mask.style is RULES.style and contains(mask.box, grow(box, rule.growth))
            for mask in timeline.frames[frame]
        )


@given(films)
@settings(max_examples=100)
def test_a_frame_is_masked_only_for_what_was_seen_in_its_scene_and_near_in_time(
    observations: list[FrameObservation],
) -> None:
    """A scene without a strong hit has no masks; a mask is at most the padding or half a bridge away from a hit."""
    scenes = list(itertools.accumulate(one.cut for one in observations))
    timeline = plan_video(observations, RULES, SIZE_PX)
    for one, masks in zip(observations, timeline.frames, strict=True):
        near = [
            hit
            for other in observations
            if scenes[other.index] == scenes[one.index] and abs(other.time_s - one.time_s) <= PAD_S + 1e-6
            for hit in other.detections
        ]
        assert near or not masks
    for scene in set(scenes):
        members = [one for one in observations if scenes[one.index] == scene]
        if not any(hit.score >= START for one in members for hit in one.detections):
            assert not any(timeline.frames[one.index] for one in members)


def test_no_frames_and_frames_without_anything() -> None:
    assert list(plan_video([], RULES, SIZE_PX).frames) == []
    assert list(plan_video(film({}, 3), RULES, SIZE_PX).frames) == [(), (), ()]


def test_a_single_frame_is_masked_as_an_image_is() -> None:
    observations = film({0: square(600)}, 1)
    assert plan_video(observations, RULES, SIZE_PX).frames[0] == masks_of(observations[0].detections, RULES)


def test_weak_hits_alone_and_categories_that_are_not_masked_leave_the_picture_as_it_is() -> None:
    weak = [FrameObservation(index, index / 25, (Detection(FACE, square(100), 0.29),)) for index in range(9)]
    plates = [FrameObservation(index, index / 25, (Detection(PLATE, square(100), 0.9),)) for index in range(9)]
    assert masked_frames(weak) == []
    assert masked_frames(plates, FACES_ONLY) == []
    assert masks_of(weak[0].detections + plates[0].detections, FACES_ONLY) == ()


@pytest.mark.parametrize("rate", [10.0, 25.0, 60.0])
def test_an_isolated_hit_is_masked_for_half_a_second_on_each_side(rate: float) -> None:
    middle = int(2 * rate)
    reach = math.floor(PAD_S * rate)
    observations = film({middle: square(600)}, 2 * middle, rate)
    assert masked_frames(observations) == list(range(middle - reach, middle + reach + 1))


@pytest.mark.parametrize(("gap_s", "bridged"), [(0.4, True), (1.0, True), (1.48, False)])
def test_gaps_are_bridged_up_to_a_second(gap_s: float, bridged: bool) -> None:  # noqa: FBT001  parameters of a test
    """Half a second after each find stays masked whatever the gap; beyond a second the middle is open."""
    first, last = 25, 25 + round(gap_s * 25)
    observations = film({first: square(600), last: square(610)}, last + 30)
    masked = masked_frames(observations)
    assert (set(range(first, last + 1)) <= set(masked)) == bridged
    timeline = plan_video(observations, RULES, SIZE_PX)
    middle = (first + last) // 2
    assert any(contains(mask.box, square(605)) for mask in timeline.frames[middle]) == bridged


def test_nothing_is_padded_over_a_cut() -> None:
    assert masked_frames(film({20: square(600)}, 40, cuts=[18, 23])) == [18, 19, 20, 21, 22]
    assert masked_frames(film({0: square(600)}, 4, cuts=[0, 1])) == [0]


def test_low_hits_before_the_first_strong_one_are_covered() -> None:
    """A face that comes nearer is masked from where it was first suspected, and half a second before."""
    hits = {index: (Detection(FACE, square(600 + 3 * index), 0.1 + 0.01 * (index - 30)),) for index in range(30, 60)}
    observations = [FrameObservation(index, index / 25, hits.get(index, ())) for index in range(70)]
    assert masked_frames(observations) == list(range(30 - 12, 70))
    timeline = plan_video(observations, RULES, SIZE_PX)
    for index, (hit,) in hits.items():
        assert any(contains(mask.box, hit.box) for mask in timeline.frames[index])


@pytest.mark.parametrize(
    ("box", "edges"),
    [
        (Box(5, 300, 65, 360), {"left"}),
        (Box(600, 2, 660, 62), {"top"}),
        (Box(1215, 300, 1275, 360), {"right"}),
        (Box(600, 655, 660, 715), {"bottom"}),
        (Box(0, 0, 60, 60), {"left", "top"}),
        (Box(600, 300, 660, 360), set()),
    ],
)
def test_boxes_near_the_edge_reach_beyond_it(box: Box, edges: set[str]) -> None:
    (mask,) = plan_video(film({0: box}, 1), FACES_ONLY, SIZE_PX).frames[0]
    beyond = {
        "left": mask.box.left < 0,
        "top": mask.box.top < 0,
        "right": mask.box.right > SIZE_PX[0],
        "bottom": mask.box.bottom > SIZE_PX[1],
    }
    assert {edge for edge, over in beyond.items() if over} == edges


@pytest.mark.parametrize("rate", [10.0, 25.0, 60.0])
def test_the_mask_of_a_steady_face_is_steady(rate: float) -> None:
    """Boxes that tremble by a twentieth of their size, one in five missed: the mask moves less than they do."""
    generator = np.random.default_rng(3)
    count = int(8 * rate)
    trembling = {
        index: Box(*(np.array([570, 270, 630, 330]) + generator.normal(0, 3, 4)))
        for index in range(count)
        if generator.random() < 0.8 or index in (0, count - 1)
    }
    frames = plan_video(film(trembling, count, rate), RULES, SIZE_PX).frames
    assert all(len(masks) == 1 for masks in frames)
    edges = np.array([[box.left, box.top, box.right, box.bottom] for (mask,) in frames for box in (mask.box,)])
    assert np.abs(np.diff(edges, axis=0)).max() < 0.2 * 60
    assert np.abs(np.diff(edges, axis=0)).mean() < 0.03 * 60
    assert (edges[:, 2] - edges[:, 0]).max() < 2.2 * 60


def test_carried_over_boxes_then_a_sudden_movement_stay_covered() -> None:
    """Equal boxes for two seconds, as a calm picture gives them, a miss of 0.4 s, then it walks off."""
    truth = [square(300 if index < 50 else 300 + 120 * (index - 49) / 25) for index in range(100)]
    hits = {index: box for index, box in enumerate(truth) if not 50 <= index < 60}
    timeline = plan_video(film(hits, 100), RULES, SIZE_PX)
    assert all(covered_share(box, masks) == 1.0 for box, masks in zip(truth, timeline.frames, strict=True))


def test_a_hit_that_another_track_took_is_masked_around_as_its_own() -> None:
    """One face is missed where another is seen once, beside it: that one stays masked for its half a second."""
    hits = {index: square(300) for index in range(20)} | {10: square(355, 355)}
    timeline = plan_video(film(hits, 40), RULES, SIZE_PX)
    assert len(track(film(hits, 40), RULES.start_threshold)) == 1
    for index in range(20):
        assert covered_share(square(300), timeline.frames[index]) == 1.0
    for index in range(10 - 12, 10 + 13):
        assert index < 0 or covered_share(square(355, 355), timeline.frames[index]) == 1.0


# --- scripted detector over a made world ---


@dataclass(frozen=True)
class Thing:
    """One object: `boxes` by frame, as far as it is in the picture, and the frames in which it is hidden."""

    category: Category
    boxes: Mapping[int, Box]
    hidden: frozenset[int]


def swinging(generator: np.random.Generator, width: float, fastest: float) -> Callable[[float], NDArray[np.float64]]:
    """A way through the picture with up to four sizes/s2, and as many sizes a second as said."""
    middle, middle_s = generator.uniform((0, 0), SIZE_PX), generator.uniform(0, 8)
    speed = generator.uniform(-1, 1, 2) * fastest / 2 * width
    turn, phase = generator.uniform(1.0, 5.0, 2), generator.uniform(0, 6.28, 2)
    amplitude = np.minimum(fastest * width / turn**2, fastest / 2 * width / turn) * generator.uniform(0, 1, 2)
    return lambda time_s: middle + speed * (time_s - middle_s) + amplitude * np.sin(turn * time_s + phase)


def made_thing(generator: np.random.Generator, rate: int, fastest: float) -> Thing:
    """It comes and goes over the edges, comes nearer or goes away, and is hidden for a while or not."""
    category = FACE if generator.random() < 0.6 else PLATE
    width = math.exp(generator.uniform(math.log(12), math.log(300)))
    way, nearer = swinging(generator, width, fastest), generator.uniform(-0.15, 0.15)
    hidden_s = generator.uniform(1, 7) if generator.random() < 0.5 else math.inf
    until_s = hidden_s + generator.uniform(0.2, 0.7)
    shown = {}
    for frame in range(8 * rate):
        x, y = way(frame / rate)
        half = width * math.exp(nearer * (frame / rate - 4)) / 2
        tall = half * (1.3 if category is FACE else 0.35)
        whole = Box(x - half, y - tall, x + half, y + tall)
        part = clip(whole, *SIZE_PX)
        if part is not None and part.area >= 0.3 * whole.area:
            shown[frame] = part
    return Thing(category, shown, frozenset(frame for frame in shown if hidden_s <= frame / rate < until_s))


def presences(thing: Thing) -> list[list[int]]:
    """The frames of each stay in the picture, from the first to the last in which the thing is visible."""
    stays: list[list[int]] = []
    for frame in thing.boxes:
        if stays and stays[-1][-1] == frame - 1:
            stays[-1].append(frame)
        else:
            stays.append([frame])
    trimmed = []
    for stay in stays:
        visible = [frame for frame in stay if frame not in thing.hidden]
        if visible:
            trimmed.append(list(range(visible[0], visible[-1] + 1)))
    return trimmed


def found_frames(
    visible: Sequence[int], rate: int, generator: np.random.Generator, missed: float, burst_s: float
) -> list[int]:
    """What a detector finds of one stay: misses single frames and whole bursts.

    Never is nothing found for more than 1.0 s, or for more than 0.3 s after the beginning and before the end.
    """
    found: list[int] = []
    blind_until = -1.0
    for frame, following in zip(visible, [*visible[1:], None], strict=True):
        if generator.random() < 0.5 / rate:
            blind_until = frame + generator.uniform(0, burst_s) * rate
        limit = found[-1] + rate if found else visible[0] + 0.3 * rate
        ending = frame == visible[-1] and (not found or frame - found[-1] > 0.3 * rate)
        skipped = frame < blind_until or generator.random() < missed
        if not skipped or ending or (following is not None and following > limit):
            found.append(frame)
    return found


def scene(
    seed: int, rate: int, fastest: float, missed: float, burst_s: float
) -> tuple[list[FrameObservation], list[list[Sighting]]]:
    """What a detector says of five things in eight seconds, boxes and scores trembling, and what is there."""
    generator = np.random.default_rng(seed)
    hits: list[list[Detection]] = [[] for _ in range(8 * rate)]
    truth: list[list[Sighting]] = [[] for _ in range(8 * rate)]
    for number in range(5):
        thing = made_thing(generator, rate, fastest)
        for stay in presences(thing):
            for frame in stay:
                truth[frame].append(Sighting(str(number), thing.category, thing.boxes[frame]))
            visible = [frame for frame in stay if frame not in thing.hidden]
            for place, frame in enumerate(found_frames(visible, rate, generator, missed, burst_s)):
                box = thing.boxes[frame]
                edges = np.array([box.left, box.top, box.right, box.bottom])
                sides = np.array([box.width, box.height] * 2)
                score = 0.5 if place == 0 else float(np.clip(generator.normal(START + 0.05, 0.12), 0.1, 1))
                trembling = Box(*(edges + sides * generator.normal(0, 0.05, 4).clip(-0.15, 0.15)))
                hits[frame].append(Detection(thing.category, trembling, score))
    return [FrameObservation(index, index / rate, tuple(found)) for index, found in enumerate(hits)], truth


@pytest.mark.parametrize(("rate", "seeds"), [(10, range(8)), (25, range(3)), (60, range(1))])
@pytest.mark.parametrize("fastest", [2.0, 4.0])
@pytest.mark.parametrize(("missed", "burst_s"), [(0.0, 0.0), (0.3, 0.8)])
def test_nothing_shows_from_first_to_last(
    rate: int, seeds: Iterable[int], fastest: float, missed: float, burst_s: float
) -> None:
    """Moving up to four sizes a second, a third missed, hidden or missed for up to a second: always covered."""
    for seed in seeds if missed else [0]:
        observations, truth = scene(seed, rate, fastest, missed, burst_s)
        made = Film(*SIZE_PX, [index / rate for index in range(8 * rate + 1)])
        timeline = plan_video(observations, RULES, SIZE_PX)
        for exposure in measure(made, truth, timeline.frames).values():
            open_ones = [(one.track, one.first_exposed) for one in exposure.tracks if one.coverage < 1]
            assert not open_ones, f"seed {seed}: {open_ones}"
            assert exposure.flicker_per_s == 0
        if seed == 0:
            assert over_blur(made, truth, timeline.frames) < 0.3


# --- repairs ---


def test_a_repair_adds_solid_rectangles_and_takes_nothing_away() -> None:
    timeline = plan_video(film({1: square(600)}, 3), RULES, SIZE_PX)
    leak = Detection(PLATE, square(100), 0.4)
    for generosity in range(3):
        growth = REPAIR_GROWTH * 2**generosity
        added = Mask(grow(leak.box, growth), MaskShape.RECTANGLE, MaskStyle.SOLID)
        repaired = repair(timeline, {1: (leak, leak)}, generosity)
        assert list(repaired.frames) == [timeline.frames[0], (*timeline.frames[1], added, added), timeline.frames[2]]
        image = Timeline(((), ()))
        assert list(repair(image, {1: (leak,)}, generosity).frames) == [(), (added,)]
        assert list(repair(image, {}, generosity).frames) == [(), ()]


def test_leaks_of_a_video_spread_in_time_and_not_over_a_cut() -> None:
    observations = film({}, 40, cuts=[12])
    one, other = Detection(FACE, square(100), 0.4), Detection(PLATE, square(500), 0.4)
    spread = spread_leaks({10: (one,), 14: (other, one)}, observations, 0.2)
    assert spread == {
        **dict.fromkeys(range(5, 12), (one,)),
        **dict.fromkeys(range(12, 20), (other, one)),
    }
    assert spread_leaks({14: (one,), 16: (other,)}, observations, 0.04) == {
        13: (one,),
        14: (one,),
        15: (one, other),
        16: (other,),
        17: (other,),
    }
    assert spread_leaks({}, observations, 1.0) == {}


def test_scenes_end_at_cuts_and_equal_times_belong_together() -> None:
    times_s = [0.0, 0.1, 0.1, 0.1, 0.4, 0.4]
    scenes = Scenes.of([FrameObservation(index, time_s, (), index == 5) for index, time_s in enumerate(times_s)])
    assert scenes.cuts == (5,)
    assert scenes.around(2, 2, 0.0) == (1, 4)
    assert scenes.around(1, 1, 0.1) == (0, 4)
    assert scenes.around(4, 4, 1.0) == (0, 5)
    assert scenes.around(5, 5, 1.0) == (5, 6)
