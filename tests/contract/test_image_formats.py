"""Every image format through the codec: right pixels in, right pixels out, upright, nothing but the masks changed."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
import pytest
from PIL import Image

import laden
import media
from blurd.adapters.image import ImageCodec, ImageFrame, ImageLimits, ImageSource
from blurd.core.masking import covers
from blurd.errors import InputError, Reason
from blurd.records import Box, Mask, MaskShape, MaskStyle, MediaKind

if TYPE_CHECKING:
    from blurd.ports import Frame, MediaCodec, MediaSource

CODEC = ImageCodec(ImageLimits(max_pixels=5_000_000, max_pages=20, max_bytes=20 << 20))
VARIANTS = {variant.name: variant for variant in media.variants()}
EXACT = [name for name, variant in VARIANTS.items() if variant.exact]
LOSSY = [name for name, variant in VARIANTS.items() if not variant.exact]
MASK = Mask(Box(20, 15, 50, 45), MaskShape.ELLIPSE, MaskStyle.BLUR)


def opened(data: bytes) -> ImageSource:
    return CODEC.open(io.BytesIO(data))


def written(source: ImageSource, frames: Sequence[ImageFrame]) -> bytes:
    target = io.BytesIO()
    source.write(iter(frames), target)
    return target.getvalue()


def copied(data: bytes, masks: Sequence[Mask] = ()) -> bytes:
    source = opened(data)
    return written(source, [frame.masked(masks) for frame in source.frames()])


def by_pillow(data: bytes) -> media.Pixels:
    """Another decoder's view of a file, without any turning."""
    image = Image.open(io.BytesIO(data))
    pixels = np.asarray(image.convert({"P": "RGB", "1": "L"}.get(image.mode, image.mode)))
    return pixels.reshape(*pixels.shape[:2], -1)


def test_the_codec_answers_the_ports() -> None:
    """Mostly for the type checker."""
    codec: MediaCodec = CODEC
    source: MediaSource[ImageFrame] = opened(VARIANTS["png_type2_8bit"].data)
    frame: Frame = next(source.frames())
    assert (codec, frame.index, frame.time_s) == (CODEC, 0, 0.0)


@pytest.mark.parametrize("name", VARIANTS)
def test_facts_tell_format_size_and_pages(name: str) -> None:
    variant = VARIANTS[name]
    source = opened(variant.data)
    frames = list(source.frames())
    height, width = variant.exact[0].shape[:2] if variant.exact else media.small().shape[:2]
    for facts, form in ((source.facts, variant.form), (source.output_facts, variant.written)):
        assert (facts.kind, facts.format) == (MediaKind.IMAGE, form)
        assert (facts.width_px, facts.height_px, facts.frames) == (width, height, variant.pages)
    assert [frame.index for frame in frames] == list(range(variant.pages))
    assert frames[0].rgb().shape == (height, width, 3)
    assert frames[0].rgb().dtype == np.uint8


@pytest.mark.parametrize("name", EXACT)
def test_lossless_pixels_are_decoded_and_copied_exactly(name: str) -> None:
    variant = VARIANTS[name]
    assert variant.exact
    for data in (variant.data, copied(variant.data)):
        for frame, pixels in zip(opened(data).frames(), variant.exact, strict=True):
            assert frame.picture.samples.dtype == pixels.dtype
            assert np.array_equal(frame.picture.samples, pixels)


@pytest.mark.parametrize("name", [name for name in EXACT if "16" not in name and not name.startswith("tiff_2")])
def test_other_readers_see_the_same_pixels_in_the_copy(name: str) -> None:
    """8-bit copies, read by Pillow alone."""
    variant = VARIANTS[name]
    assert variant.exact
    assert np.array_equal(by_pillow(copied(variant.data)), variant.exact[0])


@pytest.mark.parametrize("name", [name for name in EXACT if "16" in name and name.startswith(("png", "tiff"))])
def test_other_readers_see_the_same_16_bits_in_the_copy(name: str) -> None:
    """16-bit copies, read by FFmpeg (PNG) and tifffile (TIFF)."""
    variant = VARIANTS[name]
    assert variant.exact
    pixels = by_ffmpeg(copied(variant.data)) if variant.written == "png" else by_tifffile(copied(variant.data))
    assert np.array_equal(pixels.reshape(variant.exact[0].shape), variant.exact[0])


def by_ffmpeg(data: bytes) -> media.Pixels:
    import av

    with av.open(io.BytesIO(data), "r", format="png_pipe") as container:
        frame = next(container.decode(video=0))
        if frame.format.name == "ya16be":  # PyAV gives no array for it
            plane = np.frombuffer(bytes(frame.planes[0]), ">u2").reshape(frame.height, -1)
            return plane[:, : 2 * frame.width].astype(np.uint16)
        return np.asarray(frame.to_ndarray(), np.uint16)


def by_tifffile(data: bytes) -> media.Pixels:
    import tifffile

    return np.asarray(tifffile.TiffFile(io.BytesIO(data)).pages[0].asarray())


@pytest.mark.parametrize("name", EXACT)
def test_outside_the_mask_a_lossless_copy_is_bit_exact_and_inside_it_is_not(name: str) -> None:
    variant = VARIANTS[name]
    assert variant.exact
    for frame, pixels in zip(opened(copied(variant.data, [MASK])).frames(), variant.exact, strict=True):
        under = covers(MASK, pixels.shape[1], pixels.shape[0])
        found = frame.picture.samples
        assert np.array_equal(found[~under], pixels[~under])
        colours = frame.picture.model.value
        assert (found[under][:, :colours] != pixels[under][:, :colours]).any(axis=1).mean() > 0.5
        if frame.picture.has_alpha:
            assert np.array_equal(found[:, :, -1], pixels[:, :, -1])


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_copies_look_the_same(name: str) -> None:
    """Mean difference of a few steps against an independent decoder's view of the source."""
    variant = VARIANTS[name]
    frame = next(opened(variant.data).frames())
    found = next(opened(copied(variant.data)).frames())
    if variant.form != "heif":
        reference = by_pillow(variant.data)
        assert np.abs(frame.picture.samples.astype(int) - reference).max() <= 4
    assert np.abs(frame.rgb().astype(int) - found.rgb()).mean() < 4.0


@pytest.mark.parametrize("name", VARIANTS)
def test_compare_accepts_the_copy_and_nothing_else(name: str) -> None:
    """A copy that is not masked, turned over, or brighter is not what was planned."""
    variant = VARIANTS[name]
    source = opened(variant.data)
    frames = list(source.frames())
    planned = [frame.masked([MASK]) for frame in frames]
    found = list(opened(written(source, planned)).frames())
    assert all(source.compare(one.proof(), other) for one, other in zip(planned, found, strict=True))
    if name == "jpeg_coarse":  # steps of up to 240: what remains of the face is within what such a file may change
        return
    bare = list(opened(written(source, frames)).frames())
    assert not source.compare(planned[0].proof(), bare[0])
    picture = found[0].picture
    samples = picture.samples
    for wrong in (samples[::-1], samples // 2, samples[:-1]):
        changed = ImageFrame(type(picture)(wrong, picture.model, picture.extra, picture.profile))
        assert not source.compare(planned[0].proof(), changed)


ORIENTED = {
    "jpeg": laden.laden_jpeg,
    "png": laden.laden_png,
    "webp_lossless": lambda orientation: laden.laden_webp(orientation, lossless=True),
    "tiff": laden.laden_tiff,
    "heic": laden.laden_heif,
    "avif": laden.laden_avif,
}


def turned(pixels: media.Pixels, orientation: int) -> media.Pixels:
    """The Exif orientation by its definition: where the stored rows' and columns' starts belong."""
    image = Image.fromarray(pixels)
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return np.asarray(image if method is None else image.transpose(method))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ORIENTED)
def test_orientation_is_applied_once_and_the_copy_is_upright(name: str, orientation: int) -> None:
    data = ORIENTED[name](orientation)
    expected = turned(media.small(), orientation)
    source = opened(data)
    frame = next(source.frames())
    assert (source.facts.height_px, source.facts.width_px) == expected.shape[:2] == frame.rgb().shape[:2]
    copy = copied(data)
    for pixels in (frame.picture.samples, by_pillow(copy)):
        if name in {"png", "webp_lossless", "tiff"}:
            assert np.array_equal(pixels, expected)
        else:
            assert np.abs(pixels.astype(int) - expected).mean() < 9
    if name in {"png", "webp_lossless", "tiff"}:
        assert Image.open(io.BytesIO(copy)).getexif().get(274, 1) == 1


def test_heif_that_says_its_orientation_twice_is_turned_once() -> None:
    """A HEIC whose item is rotated and whose Exif says so too, as phones write it."""
    data = laden.laden_heif(6)
    assert b"irot" in data
    upright = next(opened(data).frames()).rgb()
    assert np.abs(upright.astype(int) - turned(media.small(), 6)).mean() < 9


def test_a_heic_made_of_tiles_is_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones store a grid of 512-pixel tiles."""
    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 512)
    pixels = media.scene(1100, 700).pixels
    data = media.heif_file(Image.fromarray(pixels))
    assert b"grid" in data
    frame = next(opened(data).frames())
    assert np.abs(frame.rgb().astype(int) - pixels).mean() < 3
    assert CODEC.leftovers(io.BytesIO(copied(data))) == ()


def test_a_heic_with_10_bits_is_shown_with_8() -> None:
    deep = media.small(3, 16)
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (90, 70), deep.tobytes()).save(file, quality=95)
    shown = next(opened(file.getvalue()).frames()).rgb()
    assert np.abs(shown.astype(int) - (deep >> 8)).mean() < 6


def heif_of(colours: dict[str, int], *more: Image.Image) -> bytes:
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(Image.fromarray(media.small()))
    for image in more:
        heif.add_from_pillow(image)
    heif.save(file, quality=80, **colours)
    return file.getvalue()


def test_a_heic_that_a_plain_copy_would_show_wrongly_is_refused() -> None:
    """HDR (PQ, HLG) and wide colours without a profile; two pictures of equal rank, of which one would be lost."""
    second = Image.fromarray(media.small()).rotate(90)
    refused = [heif_of({}, second)]
    for primaries, transfer in ((9, 16), (9, 18), (12, 13)):
        refused.append(heif_of({"color_primaries": primaries, "transfer_characteristics": transfer}))
    for data in refused:
        with pytest.raises(InputError) as caught:
            list(opened(data).frames())
        assert caught.value.reason is Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("quality", [40, 75, 90, 95, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_copy_has_the_sources_tables_subsampling_and_size(quality: int, subsampling: int) -> None:
    pixels = media.scene(640, 480).pixels
    data = media.saved(pixels, "JPEG", quality=quality, subsampling=subsampling, optimize=True)
    copy = copied(data)
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(copy))
    assert before.quantization == after.quantization  # type: ignore[attr-defined]
    assert [layer[1:3] for layer in before.layer] == [layer[1:3] for layer in after.layer]  # type: ignore[attr-defined]
    assert 0.93 < len(copy) / len(data) < 1.05


@pytest.mark.parametrize("quality", [20, 50, 75, 80, 85, 90, 95])
def test_a_webp_copy_has_about_the_sources_quality(quality: int) -> None:
    """Size within a quarter, and the same quantiser index."""
    from blurd.core.containers import BytesReader, riff
    from blurd.core.containers.reader import View

    def index(data: bytes) -> int:
        view = View(BytesReader(data))
        found = riff.webp_quantiser(view, riff.webp_outline(view)[0])
        assert found
        return found[0]

    data = media.saved(media.astronaut(), "WEBP", quality=quality)
    copy = copied(data)
    assert abs(index(data) - index(copy)) <= 2
    assert 0.75 < len(copy) / len(data) < 1.1


def test_a_picture_of_noise_can_be_encoded() -> None:
    """Incompressible content at the best quality, where encoders run out of the room that they set aside."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    for form, options in (("JPEG", {"quality": 100, "subsampling": 0}), ("PNG", {}), ("WEBP", {"quality": 100})):
        assert len(copied(media.saved(noise, form, **options))) > 50_000


def test_16_bit_pictures_are_shown_in_8_and_dark_ones_are_stretched() -> None:
    bright = media.small(3, 16)
    frame = next(opened(VARIANTS["png_type2_16bit"].data).frames())
    assert np.array_equal(frame.rgb(), bright >> 8)
    dark = bright >> 4  # 12 bits in a 16-bit file
    shown = next(opened(media.png_file(dark, 2, 16)).frames()).rgb()
    assert np.abs(shown.astype(int) - (bright >> 8)).mean() < 20


def test_colours_under_transparent_pixels_are_shown_and_masked() -> None:
    """A face that alpha hides can be brought back by anyone, so the detectors see it and the mask covers it."""
    pixels = media.small(4).copy()
    pixels[:, :, 3] = 0
    frame = next(opened(media.png_file(pixels, 6, 8)).frames())
    assert np.array_equal(frame.rgb(), pixels[:, :, :3])
    masked = frame.masked([MASK]).picture.samples
    under = covers(MASK, 90, 70)
    assert (masked[under][:, :3] != pixels[under][:, :3]).any(axis=1).mean() > 0.9
    assert (masked[:, :, 3] == 0).all()


def test_a_picture_that_lies_in_the_alpha_channel_is_shown_and_masked() -> None:
    """A stencil: one colour, and the face in the transparency."""
    pixels = np.zeros((70, 90, 4), np.uint8)
    pixels[:, :, 3] = media.small(1)[:, :, 0]
    frame = next(opened(media.png_file(pixels, 6, 8)).frames())
    assert np.array_equal(frame.rgb()[:, :, 0], pixels[:, :, 3])
    masked = frame.masked([MASK]).picture.samples
    assert (masked[covers(MASK, 90, 70)][:, 3] != pixels[covers(MASK, 90, 70)][:, 3]).mean() > 0.9


def test_a_channel_of_unknown_meaning_is_masked_too() -> None:
    """A film scanner's infrared channel shows the same face."""
    import tifffile

    file = io.BytesIO()
    pixels = media.small(4)[:, :, [0, 1, 2, 0]]
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unspecified"], metadata=None)
    frame = next(opened(file.getvalue()).frames())
    masked = frame.masked([MASK]).picture.samples
    under = covers(MASK, 90, 70)
    assert (masked[under][:, 3] != pixels[under][:, 3]).mean() > 0.9


def test_masking_never_changes_the_frame_itself() -> None:
    frame = next(opened(VARIANTS["png_type2_8bit"].data).frames())
    before = frame.picture.samples.copy()
    assert frame.masked([]) is frame
    frame.masked([MASK])
    assert np.array_equal(frame.picture.samples, before)


def test_frames_are_the_same_every_time() -> None:
    source = opened(VARIANTS["tiff_pages_16"].data)
    first, second = list(source.frames()), list(source.frames())
    assert all(np.array_equal(one.rgb(), other.rgb()) for one, other in zip(first, second, strict=True))


def test_every_page_is_masked_on_its_own() -> None:
    source = opened(VARIANTS["tiff_pages_8"].data)
    frames = list(source.frames())
    planned = [frames[0], frames[1].masked([Mask(Box(5, 5, 20, 20), MaskShape.RECTANGLE, MaskStyle.SOLID)]), frames[2]]
    found = list(opened(written(source, planned)).frames())
    assert np.array_equal(found[0].picture.samples, frames[0].picture.samples)
    assert (found[1].picture.samples[5:20, 5:20] == 128).all()
    assert np.array_equal(found[2].picture.samples, frames[2].picture.samples)


def test_colour_profiles_stay() -> None:
    """The rebuilt profile gives the same colours as the source's."""
    from PIL import ImageCms

    data = media.saved(media.small(), "PNG", icc_profile=laden.colour_profile())
    kept = Image.open(io.BytesIO(copied(data))).info["icc_profile"]
    before, after = (ImageCms.ImageCmsProfile(io.BytesIO(profile)) for profile in (laden.colour_profile(), kept))
    assert ImageCms.getProfileDescription(before) == ImageCms.getProfileDescription(after)
    picture, lab = Image.fromarray(media.small()), ImageCms.createProfile("LAB")
    seen = [
        np.asarray(ImageCms.applyTransform(picture, ImageCms.buildTransform(profile, lab, "RGB", "LAB")))
        for profile in (before, after)
    ]
    assert np.array_equal(seen[0], seen[1])


def test_png_colour_chunks_stay_where_there_is_no_profile() -> None:
    import struct

    chunks = [(b"gAMA", struct.pack(">I", 55555)), (b"cHRM", struct.pack(">8I", *range(1, 9)))]
    copy = copied(media.png_file(media.small(), 2, 8, before=chunks))
    assert all(media.png_chunk(name, data) in copy for name, data in chunks)
