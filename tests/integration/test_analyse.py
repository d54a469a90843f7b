"""What is left out of the analysis of a video hides nothing: attempts to slip something through, on encoded clips.

The detector of these tests finds what is red, exactly and in every picture that it is shown. Whatever it would find in
a frame must be covered by that frame's masks, whether or not the frame was looked at.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from threading import Lock
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy, VideoSource
from blurd.core.change import ChangeRule, changed, is_cut, regions, unexplained
from blurd.core.masking import covered_share
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.errors import EquipmentError, InputError, Reason
from blurd.records import Box, Category, Detection, FrameObservation, MaskShape, MaskStyle, RgbPicture, Timeline
from blurd.stages.analyse import analyse
from blurd.stages.plan import plan
from clips import background
from videos import Form, write_clip

WIDTH, HEIGHT, FRAMES = 480, 272, 75
RULES = MaskRules(MaskStyle.BLUR, {Category.FACE: CategoryRule(0.5, MaskShape.RECTANGLE, 0.2)})
CODEC = VideoCodec(VideoLimits(max_pixels=10_000_000, max_frames=10_000), VideoPolicy())
Pixels = NDArray[np.uint8]
Scene = Callable[[int], Pixels]


class RedFinder:
    """Finds every red thing, and counts the pixels that it was shown."""

    categories = frozenset({Category.FACE})
    model_hash = "none"

    def __init__(self) -> None:
        self.pixels = 0
        self._counting = Lock()

    def start_threshold(self, category: Category) -> float:
        return RULES.start_threshold(category)

    def rest(self) -> None:
        pass

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        if part is not None:
            left, top = int(part.left), int(part.top)
            found = self.detect(picture[top : int(part.bottom), left : int(part.right)])
            return tuple(Detection(hit.category, moved(hit.box, left, top), hit.score) for hit in found)
        with self._counting:
            self.pixels += picture.shape[0] * picture.shape[1]
        values = picture.astype(np.int16)
        red = (values[:, :, 0] - values[:, :, 1:].max(axis=2) > 40).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(red)
        boxes = [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, area in found[1:] if area >= 36]
        return tuple(Detection(Category.FACE, Box(*box), 0.9) for box in boxes)


@cache
def still() -> Pixels:
    """A photograph full of detail."""
    return np.clip(background(np.random.default_rng(1), WIDTH, HEIGHT), 0, 255).astype(np.uint8)


def moved(box: Box, left: int, top: int) -> Box:
    return Box(box.left + left, box.top + top, box.right + left, box.bottom + top)


def with_thing(picture: Pixels, x: float, y: float, side: int = 24, strength: float = 1.0) -> Pixels:
    """A red thing with darker eyes, mixed into the picture."""
    shown = picture.astype(np.float32)
    left, top = round(x), round(y)
    part = shown[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    if part.size:
        thing = np.full((side, side, 3), (220, 60, 60), np.float32)
        thing[side // 3 : side // 3 + 3, side // 4 : side // 2] = (150, 30, 30)
        rows, columns = slice(max(0, -top), max(0, -top) + part.shape[0]), slice(max(0, -left), None)
        part += strength * (thing[rows, columns][:, : part.shape[1]] - part)
    return shown.astype(np.uint8)


Analysed = tuple[VideoSource, Sequence[FrameObservation], int]
_OPEN: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def analysed(scene: Scene, rate: int = 25, quality: str = "18", finder: RedFinder | None = None) -> Analysed:
    """The clip of a scene, what was observed in it, and how many pixels were looked at."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed after the test
    _OPEN.append(file)
    write_clip(file, (scene(index) for index in range(FRAMES)), Form(rate=Fraction(rate), options={"crf": quality}))
    file.flush()
    source, finder = CODEC.open(file), finder or RedFinder()
    observations = analyse(source, finder, RULES.start_threshold, lambda _share: None)
    return source, observations, finder.pixels


def uncovered(source: VideoSource, timeline: Timeline) -> Iterator[tuple[int, float]]:
    """Frames that show a red thing under no mask, and how much of it is masked."""
    finder = RedFinder()
    for frame in source.frames():
        for hit in finder.detect(frame.rgb()):
            share = covered_share(hit.box, timeline.frames[frame.index])
            if share < 0.9:
                yield frame.index, share


def appears(first: int, count: int, side: int) -> Scene:
    return lambda index: with_thing(still(), 200, 100, side) if first <= index < first + count else still()


def flies(pixels_a_frame: float) -> Scene:
    return lambda index: with_thing(still(), -20 + pixels_a_frame * index, 60 + 40 * np.sin(index / 5))


def fades_in(frames: int) -> Scene:
    return lambda index: with_thing(still(), 300, 150, 40, min(1.0, index / frames))


def shaken(index: int) -> Pixels:
    shift = np.random.default_rng(index).integers(-3, 4, 2)
    return np.roll(with_thing(still(), 220, 90), shift, (0, 1))


def cut(index: int) -> Pixels:
    if index < 31:
        return still()
    corridor = np.tile(np.linspace(230, 20, WIDTH).astype(np.uint8)[:, np.newaxis], (HEIGHT, 1, 3))
    return with_thing(corridor, 330, 40, 30)


def flickers(index: int) -> Pixels:
    """Another place every third frame."""
    place = np.random.default_rng(index).integers((0, 0), (WIDTH - 30, HEIGHT - 30))
    return with_thing(still(), *place) if index % 3 == 1 else still()


SCENES: dict[str, Scene] = {
    **{f"appears_{count}_at_{first}": appears(first, count, 24) for count in (1, 2, 3) for first in (30, 31, 32)},
    "small_for_two_frames": appears(41, 2, 12),
    "large_for_one_frame": appears(42, 1, 120),
    "last_frame_alone": appears(FRAMES - 1, 1, 24),
    "first_frame_alone": appears(0, 1, 24),
    "flies_slowly": flies(3),
    "flies": flies(12),
    "flies_quickly": flies(35),
    "fades_in_slowly": fades_in(70),
    "fades_in": fades_in(12),
    "shaken": shaken,
    "cut": cut,
    "flickers": flickers,
}


@pytest.mark.parametrize("rate", [10, 25])
@pytest.mark.parametrize("name", SCENES)
def test_nothing_slips_through_what_is_left_out(name: str, rate: int) -> None:
    source, observations, _ = analysed(SCENES[name], rate)
    assert len(observations) == FRAMES
    assert list(uncovered(source, plan(observations, RULES, source.facts))) == []


def test_a_still_camera_costs_one_look() -> None:
    """Compressed noise is no change; what stays is still known in every frame."""
    chance = np.random.default_rng(3)

    def scene(_index: int) -> Pixels:
        noise = chance.normal(0, 2.5, (HEIGHT, WIDTH, 3))
        return np.clip(with_thing(still(), 200, 100) + noise, 0, 255).astype(np.uint8)

    _, observations, pixels = analysed(scene, quality="24")
    assert pixels == WIDTH * HEIGHT
    assert all(len(observation.detections) == 1 for observation in observations)


def test_a_small_movement_costs_a_small_look() -> None:
    _, observations, pixels = analysed(flies(3))
    assert pixels < 0.25 * FRAMES * WIDTH * HEIGHT
    assert any(not observation.analysed for observation in observations)


class UnhurriedFinder(RedFinder):
    """Takes its time, now and then."""

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        time.sleep(float(picture[::16, ::16].sum() % 7) / 500)
        return super().detect(picture, part)


def test_it_does_not_matter_which_look_is_done_first() -> None:
    _, quick, _ = analysed(flies(12))
    _, unhurried, _ = analysed(flies(12), finder=UnhurriedFinder())
    assert list(quick) == list(unhurried)


class FailingFinder(RedFinder):
    """Fails at one of its looks."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.left = fails_at

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        self.left -= 1
        if self.left == 0:
            raise EquipmentError(Reason.DETECTOR_FAILED, "detect")
        return super().detect(picture, part)


@pytest.mark.parametrize("fails_at", range(1, 16, 2))
def test_a_look_that_fails_ends_the_analysis(fails_at: int) -> None:
    with pytest.raises(EquipmentError) as caught:
        analysed(flies(35), finder=FailingFinder(fails_at))
    assert caught.value.reason is Reason.DETECTOR_FAILED


class WaryFinder(RedFinder):
    """Has a vague feeling about most of the picture too."""

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        vague = (Detection(Category.FACE, Box(40, 10, WIDTH - 40, HEIGHT - 10), 0.2),) if part is None else ()
        return super().detect(picture, part) + vague


def test_a_vague_hit_does_not_widen_looks_and_is_kept() -> None:
    _, _, usual = analysed(flies(3))
    _, observations, wary = analysed(flies(3), finder=WaryFinder())
    assert wary == usual
    vague = [any(hit.score < 0.5 for hit in observation.detections) for observation in observations]
    assert vague[0]
    assert all(found for found, observation in zip(vague, observations, strict=True) if observation.analysed)


def test_a_cut_is_seen_and_a_change_of_light_is_none() -> None:
    _, observations, _ = analysed(cut)
    assert [observation.index for observation in observations if observation.cut] == [31]
    rule = ChangeRule()
    dark = np.tile(np.arange(60, 160, dtype=np.uint8), (50, 1))[:, :, np.newaxis]
    assert not is_cut(dark, dark + 70, rule)
    assert is_cut(dark, dark[:, ::-1], rule)


def test_a_missing_frame_is_an_error() -> None:
    source, _, _ = analysed(cut)

    class Short:
        facts = source.facts

        def frames(self) -> Iterator[object]:
            yield from list(source.frames())[:-1]

    with pytest.raises(InputError) as caught:
        analyse(Short(), RedFinder(), RULES.start_threshold, lambda _share: None)  # type: ignore[arg-type]
    assert caught.value.reason is Reason.DAMAGED


def test_regions_hold_whole_things_and_lie_in_the_picture() -> None:
    chance = np.random.default_rng(5)
    rule = ChangeRule()
    for _ in range(300):
        wanted = np.zeros((68, 120), np.bool_)
        for _ in range(chance.integers(1, 4)):
            row, column = chance.integers(0, 60), chance.integers(0, 110)
            wanted[row : row + chance.integers(2, 9), column : column + chance.integers(2, 11)] = True
        x, y = chance.uniform(0, 400), chance.uniform(0, 200)
        thing = Box(x, y, x + 60, y + 50)
        found = regions(wanted, [thing], WIDTH, HEIGHT, rule)
        if found is None:
            continue
        shown = np.zeros((HEIGHT, WIDTH), np.bool_)
        for part in found:
            assert part.left >= 0 and part.top >= 0 and part.right <= WIDTH and part.bottom <= HEIGHT  # noqa: PT018
            shown[int(part.top) : int(part.bottom), int(part.left) : int(part.right)] = True
            touched = part.left < thing.right and thing.left < part.right
            if touched and part.top < thing.bottom and thing.top < part.bottom:
                assert part.left <= thing.left and part.right >= min(thing.right, WIDTH)  # noqa: PT018
                assert part.top <= thing.top and part.bottom >= min(thing.bottom, HEIGHT)  # noqa: PT018
        assert shown[np.kron(wanted, np.ones((4, 4), np.bool_))].all()


def test_a_frame_between_is_explained_by_its_neighbours_alone() -> None:
    rule = ChangeRule()
    plain = np.full((40, 60, 3), 100, np.uint8)
    thing = plain.copy()
    thing[10:16, 10:16] = 180
    assert not unexplained(thing, plain, plain, rule).any()
    half = plain.copy()
    half[10:16, 10:16] = 140
    assert not unexplained(plain, half, thing, rule).any()
    moved = np.roll(thing, 8, axis=1)
    assert unexplained(plain, thing, moved, rule).any()
    assert unexplained(plain, thing, plain, rule).sum() == 36
    assert not changed(plain, plain + rule.tolerance, rule).any()
    assert changed(plain, plain + rule.tolerance + 1, rule).all()
