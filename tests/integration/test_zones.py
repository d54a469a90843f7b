"""Zones on their way through one file's treatment: what is masked, and what verification leaves alone."""

import io
import tempfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.core.zones import ClearZone, Region, Unit, Zones
from blurd.errors import InputError, Reason
from blurd.pipeline import Treatment, treat
from blurd.records import Box, Category, Detection, MaskShape, MaskStyle, MediaKind, RgbPicture
from videos import Form, write_clip

RULES = MaskRules(
    MaskStyle.BLUR,
    {category: CategoryRule(0.3, MaskShape.RECTANGLE, 0.1) for category in (Category.FACE, Category.PLATE)},
)
CODEC = ImageCodec(ImageLimits(max_pixels=1_000_000, max_pages=10, max_bytes=10_000_000))
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
FACE = Detection(Category.FACE, Box(20, 30, 60, 80), 0.9)
PLATE = Detection(Category.PLATE, Box(20, 100, 60, 120), 0.9)

Page = np.ndarray[Any, Any]


class Constant:
    """Sees the same, whatever is shown."""

    categories = frozenset(Category)
    model_hash = "none"

    def __init__(self, *hits: Detection) -> None:
        self._hits = hits

    def start_threshold(self, category: Category) -> float:
        return RULES.start_threshold(category)

    def rest(self) -> None:
        pass

    def detect(self, _picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:  # noqa: ARG002
        return self._hits


def noise(*sizes: tuple[int, int]) -> bytes:
    random = np.random.default_rng(7)
    images = [Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]
    stream = io.BytesIO()
    images[0].save(stream, "TIFF", save_all=True, append_images=images[1:])
    return stream.getvalue()


def run(content: bytes, zones: Zones, *hits: Detection) -> tuple[Treatment, list[Page]]:
    """The treatment, and for each page which pixels changed."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(content)
        detectors = dict.fromkeys(MediaKind, Constant(*hits))
        treatment = treat(source, target, CODEC, detectors, RULES, lambda _: None, zones)
        pages = [
            (found.rgb() != expected.rgb()).any(axis=2)
            for expected, found in zip(CODEC.open(source).frames(), CODEC.open(target).frames(), strict=True)
        ]
    return treatment, pages


def test_a_zone_is_masked_whether_or_not_anything_is_found() -> None:
    treatment, (changed,) = run(noise((200, 150)), Zones((Region(LEFT_HALF),)))
    assert changed[:, :100].mean() > 0.95
    assert not changed[:, 100:].any()
    assert (treatment.verdict.renders, treatment.verdict.masks_added) == (1, 0)


def test_every_page_has_its_zone_in_its_own_size() -> None:
    _, (first, second) = run(noise((200, 150), (60, 40)), Zones((Region(LEFT_HALF),)))
    assert [page[:, : page.shape[1] // 2].mean() > 0.95 for page in (first, second)] == [True, True]
    assert not second[:, 30:].any()
    assert not first[:, 100:].any()


def test_false_alarms_of_one_class_are_left_clear_and_are_no_leak() -> None:
    zones = Zones(clear=(ClearZone(LEFT_HALF, Category.FACE),))
    treatment, (changed,) = run(noise((200, 150)), zones, FACE, PLATE)
    assert not changed[:98].any()
    assert changed[100:120, 20:60].mean() > 0.95
    assert (treatment.verdict.renders, treatment.verdict.masks_added) == (1, 0)


def test_a_masked_zone_stays_masked_where_hits_are_left_clear() -> None:
    zones = Zones((Region(LEFT_HALF),), (ClearZone(LEFT_HALF, Category.FACE),))
    _, (changed,) = run(noise((200, 150)), zones, FACE)
    assert changed[:, :100].mean() > 0.95


def test_a_region_outside_the_picture_rejects_the_file() -> None:
    zones = Zones((Region(((300.0, 0.0), (400.0, 0.0), (400.0, 90.0)), Unit.PIXEL),))
    with pytest.raises(InputError) as caught:
        run(noise((200, 150)), zones)
    assert caught.value.reason is Reason.REGIONS_INVALID


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_region_of_a_turned_video_holds_in_its_time_and_as_it_is_seen(rotation: int) -> None:
    """A triangle at the upright picture's top left, shown from the frame at 0.2 s to that at 0.4 s."""
    lines, columns = np.mgrid[:96, :128]
    board = (((lines // 4 + columns // 4) % 2) * 160 + 40).astype(np.uint8)
    frames = [np.repeat(board[:, :, None], 3, axis=2)] * 15
    corner = Region(((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)), from_s=0.2, to_s=0.4)
    codec = VideoCodec(VideoLimits(10**7, 1000), VideoPolicy(quality=10))
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        write_clip(source, frames, Form(rotation=rotation))
        source.seek(0)
        rules = MaskRules(MaskStyle.SOLID, RULES.categories)
        detectors = dict.fromkeys(MediaKind, Constant())
        treat(source, target, codec, detectors, rules, lambda _: None, Zones((corner,)))
        target.seek(0)
        copy = [frame.rgb().astype(int) for frame in codec.open(target).frames()]
    width, height = (96, 128) if rotation % 180 else (128, 96)
    assert copy[0].shape == (height, width, 3)
    for index, picture in enumerate(copy):
        third_x, third_y = width // 6, height // 6  # the square in the corner that lies wholly in the triangle
        assert (picture[:third_y, :third_x].std() < 12) == (5 <= index <= 10), index
        assert picture[height // 2 :, width // 2 :].std() > 50
        assert picture[: height // 3, width // 2 + 8 :].std() > 50
