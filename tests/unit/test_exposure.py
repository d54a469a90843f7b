"""How well masks hide objects over time: every figure on a few frames that can be counted by hand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurd.core.exposure import Exposure, Film, Sighting, identity_changes, is_covered, measure, over_blur
from blurd.records import Box, Category, Mask, MaskShape, MaskStyle

FACE, PLATE = Category.FACE, Category.PLATE
HERE = Box(10, 10, 30, 30)
THERE = Box(60, 40, 80, 50)


def over(box: Box, shape: MaskShape = MaskShape.RECTANGLE) -> Mask:
    return Mask(box, shape, MaskStyle.SOLID)


def film(frames: int, step_s: float = 0.04) -> Film:
    return Film(100, 60, [step_s * index for index in range(frames + 1)])


def seen(pattern: str, track: str = "1", box: Box = HERE) -> list[list[Sighting]]:
    """One object: `x` covered, `o` not, `.` not there, `i` ignored (and not covered)."""
    return [[] if letter == "." else [Sighting(track, FACE, box, letter == "i")] for letter in pattern]


def masked(pattern: str, box: Box = HERE) -> list[list[Mask]]:
    return [[over(box)] if letter == "x" else [] for letter in pattern]


def exposure(pattern: str, step_s: float = 0.04) -> Exposure:
    return measure(film(len(pattern), step_s), seen(pattern), masked(pattern))[FACE]


@pytest.mark.parametrize(
    ("pattern", "frames", "coverage", "longest", "changes"),
    [
        ("xxxx", 4, 1.0, 0, 0),
        ("oooo", 4, 0.0, 4, 0),
        ("xoox", 4, 0.5, 2, 2),
        ("oxoo", 4, 0.25, 2, 2),
        ("xoxoxo", 6, 0.5, 1, 5),
        ("..xx..", 2, 1.0, 0, 0),  # to come and to go is no change
        ("oo.oo", 4, 0.0, 2, 0),  # out of sight ends an exposure
        ("ooiioo", 4, 0.0, 4, 0),  # what does not count neither ends nor lengthens it
        ("xix", 2, 1.0, 0, 0),
        ("x.o", 2, 0.5, 1, 0),
        ("xio", 2, 0.5, 1, 1),
    ],
)
def test_one_object(pattern: str, frames: int, coverage: float, longest: int, changes: int) -> None:
    figures = exposure(pattern, 0.5)
    (track,) = figures.tracks
    assert track.frames == figures.object_frames == frames
    assert track.coverage == figures.coverage == figures.track_coverage == coverage
    assert figures.longest_exposure_frames == longest
    assert figures.longest_exposure_s == 0.5 * longest
    assert figures.flicker_per_s == changes / (0.5 * frames)
    assert figures.tracks_ever_uncovered == (coverage < 1)
    assert figures.objects_never_covered == (coverage == 0)
    assert track.first_exposed == (pattern.index("o") if "o" in pattern else None)


def test_seconds_are_those_of_the_frames_on_the_screen() -> None:
    """With a variable frame rate, the longest exposure in frames is not the longest in seconds."""
    times = Film(100, 60, [0.0, 0.1, 0.2, 0.3, 0.4, 5.4, 5.5])
    figures = measure(times, seen("oooxox"), masked("oooxox"))[FACE]
    assert figures.longest_exposure_frames == 3
    assert figures.longest_exposure_s == pytest.approx(5.0)
    assert figures.tracks[0].seconds == pytest.approx(5.5)


def test_objects_and_frames_weigh_differently() -> None:
    """Coverage counts frames, track coverage counts objects, and each kind has its own figures."""
    long, short = seen("xxxxxxxxx"), seen("o........", "2", THERE)
    plates = [[Sighting("1", PLATE, THERE)] if index == 4 else [] for index in range(9)]
    together = [a + b + c for a, b, c in zip(long, short, plates, strict=True)]
    figures = measure(film(9), together, masked("xxxxxxxxx"))
    assert figures[FACE].coverage == pytest.approx(0.9)
    assert figures[FACE].track_coverage == 0.5
    assert figures[FACE].objects_never_covered == 1
    assert figures[PLATE].coverage == 0.0
    assert [track.track for track in figures[FACE].tracks] == ["1", "2"]


def test_a_kind_whose_objects_are_all_ignored_has_no_share() -> None:
    figures = exposure("iii")
    assert figures.tracks == ()
    assert figures.coverage is figures.track_coverage is figures.flicker_per_s is None
    assert figures.longest_exposure_frames == 0


def test_what_is_outside_the_picture_does_not_count() -> None:
    """A box that leaves the picture counts with the part inside, and not at all where nothing is."""
    leaving, gone = Box(90, 10, 120, 30), Box(130, 10, 150, 30)
    edge = [[over(Box(90, 10, 100, 30))]]
    assert measure(film(1), [[Sighting("1", FACE, leaving)]], edge)[FACE].coverage == 1.0
    assert measure(film(1), [[Sighting("1", FACE, gone)]], edge)[FACE].tracks == ()


def test_masks_count_as_they_are_drawn() -> None:
    """Nine tenths suffice, several masks add up, and an ellipse covers its box's corners because it is drawn around."""
    box = Box(0, 0, 20, 10)
    assert is_covered(box, [over(Box(0, 0, 18, 10))])
    assert not is_covered(box, [over(Box(0, 0, 17, 10))])
    assert is_covered(box, [over(Box(0, 0, 10, 10)), over(Box(10, 0, 20, 10))])
    assert is_covered(box, [over(box, MaskShape.ELLIPSE)])
    assert not is_covered(box, [over(Box(3, 2, 17, 8), MaskShape.ELLIPSE)])
    assert not is_covered(box, [])


def test_over_blur_is_what_is_masked_beside_objects() -> None:
    """Half of a mask lies on an object, the other half is too much; ignored objects are objects too."""
    drawn = [[over(Box(10, 10, 50, 30))], []]
    for ignored in (False, True):
        frames = [[Sighting("1", FACE, HERE, ignored)], []]
        assert over_blur(film(2), frames, drawn) == pytest.approx(20 * 20 / (100 * 60) / 2)
    around = over_blur(film(1), seen("x"), [[over(Box(0, 0, 100, 60))]])
    assert around == pytest.approx(1 - HERE.area / 6000)
    assert over_blur(film(1), [[]], [[over(Box(-10, -10, 10, 10)), over(Box(-5, -5, 10, 10))]]) == 100 / 6000


def test_identity_changes() -> None:
    """A track that takes over is a change; a pause is none; an old pair is kept though another fits better."""
    near = Box(11, 10, 31, 30)
    objects = seen("oooooo")
    first, second = (1, FACE, HERE), (2, FACE, HERE)
    assert identity_changes(objects, [[first]] * 6) == 0
    assert identity_changes(objects, [[first], [first], [], [], [first], [first]]) == 0
    assert identity_changes(objects, [[first], [first], [second], [second], [first], [first]]) == 2
    follower = (1, FACE, near)
    assert identity_changes(objects, [[first], *[[follower, second]] * 5]) == 0
    assert identity_changes(objects, [[first], *[[(1, PLATE, HERE), second]] * 5]) == 1
    assert identity_changes(objects, [[first], *[[(2, FACE, THERE)]] * 5]) == 0
    assert identity_changes(seen("xi"), [[first], [second]]) == 0


def test_two_objects_that_cross_and_exchange_their_tracks() -> None:
    frames = [[Sighting("a", FACE, HERE), Sighting("b", FACE, THERE)] for _ in range(2)]
    tracks = [[(1, FACE, HERE), (2, FACE, THERE)], [(2, FACE, HERE), (1, FACE, THERE)]]
    assert identity_changes(frames, tracks) == 2
    assert identity_changes(frames, [tracks[0], list(reversed(tracks[0]))]) == 0


def test_what_can_not_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="one entry"):
        measure(film(2), seen("xxx"), masked("xxx"))
    with pytest.raises(ValueError, match="once"):
        measure(film(1), [seen("x")[0] * 2], masked("x"))
    with pytest.raises(ValueError, match="fall"):
        Film(10, 10, [0.0, 1.0, 0.5])


@given(st.text("xoi.", min_size=1, max_size=30))
def test_any_pattern_agrees_with_counting(pattern: str) -> None:
    """Against a plain count: the runs of `o`, with ignored frames taken out of an object's presence."""
    figures = measure(film(len(pattern)), seen(pattern), masked(pattern)).get(FACE)
    counted = pattern.count("x") + pattern.count("o")
    if figures is None:
        assert set(pattern) == {"."}
        return
    assert figures.object_frames == counted
    presences = [part.replace("i", "") for part in pattern.split(".")]
    runs = [len(run) for part in presences for run in part.split("x")]
    assert figures.longest_exposure_frames == max(runs)
    assert figures.longest_exposure_s == pytest.approx(0.04 * max(runs))
    changes = sum(a != b for part in presences for a, b in itertools.pairwise(part))
    if counted:
        assert figures.flicker_per_s == pytest.approx(changes / (0.04 * counted))
        assert math.isclose(figures.coverage or 0.0, pattern.count("x") / counted)
