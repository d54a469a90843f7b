"""The way of one file, on real pictures, with a detector that the test scripts: what verification catches and mends."""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.core.stages import IN_TURN
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.errors import EquipmentError, InputError, Reason
from blurd.pipeline import MAX_REPAIRS, treat
from blurd.ports import MediaSource
from blurd.records import Box, Category, Detection, MaskShape, MaskStyle, MediaKind, Progress, RgbPicture

FACE = Box(60, 40, 100, 90)
RULES = MaskRules(MaskStyle.BLUR, {Category.FACE: CategoryRule(0.3, MaskShape.RECTANGLE, 0.1)})
CODEC = ImageCodec(ImageLimits(max_pixels=1_000_000, max_pages=10, max_bytes=10_000_000))

Script = Callable[[int, RgbPicture], tuple[Detection, ...]]


class Scripted:
    """Answers as the script says; the first call is the analysis, the later ones verify."""

    categories = frozenset({Category.FACE})
    model_hash = "none"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.calls = 0

    def start_threshold(self, category: Category) -> float:
        return RULES.start_threshold(category)

    def rest(self) -> None:
        pass

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:  # noqa: ARG002
        self.calls += 1
        return self._script(self.calls, picture)


def hit(box: Box = FACE, score: float = 0.9) -> tuple[Detection, ...]:
    return (Detection(Category.FACE, box, score),)


def noise(pages: int = 1) -> bytes:
    """Pictures in which every pixel is detail."""
    random = np.random.default_rng(7)
    images = [Image.fromarray(random.integers(0, 256, (150, 200, 3), np.uint8)) for _ in range(pages)]
    stream = io.BytesIO()
    if pages == 1:
        images[0].save(stream, "PNG")
    else:
        images[0].save(stream, "TIFF", save_all=True, append_images=images[1:])
    return stream.getvalue()


def ignore(_progress: Progress) -> None:
    return


def run(
    script: Script, content: bytes | None = None, codec: Any = CODEC
) -> tuple[Any, list[np.ndarray[Any, Any]], int]:
    """The treatment, the decoded copy, and how often the detector was asked."""
    detector = Scripted(script)
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(noise() if content is None else content)
        treatment = treat(source, target, codec, {MediaKind.IMAGE: detector}, RULES, ignore)
        target.seek(0)
        pages = [frame.rgb() for frame in CODEC.open(target).frames()]
    return treatment, pages, detector.calls


def flat(page: np.ndarray[Any, Any], box: Box) -> bool:
    """True where the box shows one single colour."""
    part = page[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].reshape(-1, 3)
    return len(np.unique(part, axis=0)) == 1


def test_a_hit_is_masked_and_nothing_else_changes() -> None:
    treatment, (page,), calls = run(lambda call, _: hit() if call == 1 else ())
    original = np.asarray(Image.open(io.BytesIO(noise())))
    changed = (page != original).any(axis=2)
    assert changed[40:90, 60:100].mean() > 0.95
    assert not changed[:34].any()
    assert (treatment.verdict.renders, treatment.verdict.masks_added, calls) == (1, 0, 2)
    assert list(treatment.stage_seconds) == ["analyse", "decode", "detect", "plan", "render", "encode", "verify"]


def test_the_parts_of_a_stage_are_measured_within_it() -> None:
    """A slow detector is seen as such: in `analyse`, not in `verify`, whose calls are no part of the analysis."""

    def slow(_call: int, _picture: RgbPicture) -> tuple[Detection, ...]:
        time.sleep(0.2)
        return ()

    started_s = time.monotonic()
    seconds = run(slow)[0].stage_seconds
    assert 0.2 <= seconds["detect"] <= seconds["analyse"] - seconds["decode"] <= 0.35
    assert seconds["verify"] >= 0.2
    assert 0 < seconds["encode"] <= seconds["render"]
    assert sum(seconds[stage] for stage in IN_TURN) <= time.monotonic() - started_s


def test_a_hit_under_the_start_threshold_is_not_masked() -> None:
    _, (page,), _ = run(lambda *_: hit(score=0.29))
    assert np.array_equal(page, np.asarray(Image.open(io.BytesIO(noise()))))


def test_what_the_analysis_missed_is_masked_solid_by_the_verification() -> None:
    treatment, (page,), calls = run(lambda call, _: hit() if call == 2 else ())
    assert flat(page, FACE)
    assert (treatment.verdict.renders, treatment.verdict.masks_added, calls) == (2, 1, 3)


def test_a_hit_that_stays_is_masked_ever_more_generously_and_ends() -> None:
    """A detector that sees something wherever a pixel is left unmasked: no rejection, a picture masked all over."""

    def stubborn(call: int, picture: RgbPicture) -> tuple[Detection, ...]:
        rows, columns = np.nonzero((picture != 128).any(axis=2))
        if call == 1 or not len(rows):
            return ()
        return hit(Box(float(columns[0]), float(rows[0]), float(columns[0]) + 4, float(rows[0]) + 4))

    treatment, (page,), _ = run(stubborn)
    assert flat(page, Box(0, 0, 200, 150))
    assert MAX_REPAIRS < treatment.verdict.renders < 24


def test_a_hit_made_by_the_mask_itself_is_not_masked_again() -> None:
    """Mostly on the mask, and nothing in the source there: half blur, half collar."""
    half_on_the_mask = Box(60, 69, 100, 120)
    treatment, _, _ = run(lambda call, _: hit() if call == 1 else hit(half_on_the_mask))
    assert treatment.verdict.masks_added == 0


def test_the_same_hit_is_masked_where_the_source_has_it_too() -> None:
    """A second face, half under the first one's mask, weak in the source and strong in the copy."""
    second = Box(60, 69, 100, 120)
    treatment, (page,), _ = run(lambda call, _: (*hit(), *hit(second, 0.2)) if call == 1 else hit(second)[: call == 2])
    assert treatment.verdict.masks_added == 1
    assert flat(page, second)


def test_every_page_is_treated_on_its_own() -> None:
    treatment, pages, _ = run(lambda call, _: hit() if call == 2 else (), noise(pages=3))
    originals = [frame.rgb() for frame in CODEC.open(io.BytesIO(noise(pages=3))).frames()]
    assert [np.array_equal(page, original) for page, original in zip(pages, originals, strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert treatment.facts.frames == 3


class Broken(ImageCodec):
    """A codec whose copies are wrong."""

    def __init__(self, fault: str) -> None:
        super().__init__(ImageLimits(max_pixels=1_000_000, max_pages=10, max_bytes=10_000_000))
        self._fault = fault

    def open(self, file: BinaryIO) -> Any:
        source = super().open(file)
        write = source.write
        spoil = {"unmasked": self._unmasked, "trailer": self._trailer, "cut": self._cut}[self._fault]
        source.write = lambda frames, target, _taken: spoil(source, write, frames, target)  # type: ignore[method-assign,misc,assignment]
        return source

    @staticmethod
    def _unmasked(source: MediaSource[Any], write: Any, _frames: Iterator[Any], target: BinaryIO) -> None:
        list(_frames)
        write(source.frames(), target)

    @staticmethod
    def _trailer(_source: MediaSource[Any], write: Any, frames: Iterator[Any], target: BinaryIO) -> None:
        write(frames, target)
        target.seek(0, io.SEEK_END)
        target.write(b"who, when and where")

    @staticmethod
    def _cut(_source: MediaSource[Any], write: Any, frames: Iterator[Any], target: BinaryIO) -> None:
        write(frames, target)
        target.truncate(target.tell() - 100)


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        ("unmasked", {Reason.OUTPUT_DIFFERS}),
        ("trailer", {Reason.METADATA_LEFT}),
        ("cut", {Reason.OUTPUT_DIFFERS, Reason.METADATA_LEFT}),
    ],
)
def test_p2_a_wrong_copy_is_never_let_through(fault: str, reasons: set[Reason]) -> None:
    """Promise 2: an encoder that writes the unmasked picture, or anything beside it, stops publication."""
    with pytest.raises(EquipmentError) as caught:
        run(lambda call, _: hit() if call == 1 else (), codec=Broken(fault))
    assert caught.value.reason in reasons


def test_a_failing_detector_stops_the_job() -> None:
    def failing(_call: int, _picture: RgbPicture) -> tuple[Detection, ...]:
        raise EquipmentError(Reason.DETECTOR_FAILED, "detect")

    with pytest.raises(EquipmentError) as caught:
        run(failing)
    assert caught.value.reason is Reason.DETECTOR_FAILED


@pytest.mark.parametrize(("content", "reason"), [(b"", Reason.EMPTY_FILE), (b"text", Reason.UNKNOWN_FORMAT)])
def test_bad_input_has_its_reason(content: bytes, reason: Reason) -> None:
    with pytest.raises(InputError) as caught:
        run(lambda *_: (), content)
    assert caught.value.reason is reason


def test_progress_rises_to_the_end() -> None:
    seen: list[Progress] = []
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(noise(pages=3))
        treat(source, target, CODEC, {MediaKind.IMAGE: Scripted(lambda *_: ())}, RULES, seen.append)
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1
