"""Damaged and hostile images: every one ends in a reason or in a good picture, never in anything else."""

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import laden
import media
from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.errors import BlurdError, EquipmentError, InputError, Reason

LIMITS = ImageLimits(max_pixels=500_000, max_pages=5, max_bytes=4 << 20)
CODEC = ImageCodec(LIMITS)
VARIANTS = {variant.name: variant for variant in media.variants()}
MUTANTS_OF_EACH = 12
ALLOWED = frozenset(
    {
        Reason.DAMAGED, Reason.UNKNOWN_FORMAT, Reason.UNSUPPORTED_FORMAT, Reason.ANIMATED, Reason.EMPTY_FILE,
        Reason.TOO_MANY_PIXELS, Reason.TOO_MANY_PAGES, Reason.TOO_LARGE,
    }
)  # fmt: skip


def verdict(data: bytes) -> Reason | None:
    """The reason of a refusal, or None for a file that was decoded, copied and proven."""
    try:
        source = CODEC.open(io.BytesIO(data))
        frames = list(source.frames())
    except InputError as error:
        return error.reason
    target = io.BytesIO()
    source.write(iter(frames), target)
    found = list(CODEC.open(target).frames())
    assert CODEC.leftovers(target) == ()
    assert all(source.compare(one.proof(), other) for one, other in zip(frames, found, strict=True))
    return None


def mutants(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut, flipped, overwritten, shortened in the middle, and spliced with another file."""
    made = []
    for number in range(MUTANTS_OF_EACH):
        changed = bytearray(data)
        place = chance.randrange(len(changed))
        if number % 4 == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif number % 4 == 1:
            for _ in range(3):
                changed[chance.randrange(min(len(changed), 200))] = chance.choice((0, 255, 127, chance.randrange(256)))
        elif number % 4 == 2:
            del changed[place : place + chance.randrange(1, 40)]
        else:
            other = chance.choice(list(VARIANTS.values())).data
            start = chance.randrange(len(other))
            changed[place:place] = other[start : start + chance.randrange(1, 300)]
        made.append(bytes(changed))
    return made


@pytest.mark.parametrize("name", VARIANTS)
def test_s45_changed_files_end_in_a_verdict(name: str) -> None:
    for mutant in mutants(VARIANTS[name].data, random.Random(name)):  # noqa: S311
        assert verdict(mutant) in {None, *ALLOWED}


@pytest.mark.parametrize("name", VARIANTS)
def test_s45_files_that_are_cut_short_are_refused(name: str) -> None:
    """A third of a picture is no picture: cut anywhere before the last rows, nothing comes out."""
    data = VARIANTS[name].data
    for percent in (1, 5, 20, 40, 60, 80, 95):
        assert verdict(data[: len(data) * percent // 100]) in ALLOWED


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith("png")])
def test_any_changed_bit_of_a_png_is_found(name: str) -> None:
    """Checksums: every flip behind the signature is damage, or lies in the length of the end marker's own chunk."""
    data = VARIANTS[name].data
    chance = random.Random(name)  # noqa: S311
    for _ in range(25):
        changed = bytearray(data)
        changed[chance.randrange(8, len(data))] ^= 1 << chance.randrange(8)
        assert verdict(bytes(changed)) is not None


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_corrupt_scans_of_a_jpeg_are_noticed(options: dict[str, bool]) -> None:
    """A missing tenth always; of flipped bits that spoil the picture at least every third: there is no checksum."""
    data = media.saved(media.astronaut(), "JPEG", quality=85, **options)
    start, tenth = data.index(b"\xff\xda") + 14, len(data) // 10
    whole = np.asarray(Image.open(io.BytesIO(data)))
    chance = random.Random(5)  # noqa: S311
    noticed = spoilt = 0
    for _ in range(60):
        flipped = bytearray(data)
        flipped[chance.randrange(start, len(data) - 60)] ^= 1 << chance.randrange(8)
        if spoils(bytes(flipped), whole):
            spoilt += 1
            noticed += verdict_of_jpeg(bytes(flipped)) is Reason.DAMAGED
        place = chance.randrange(start, len(data) - 2 * tenth)
        assert verdict_of_jpeg(data[:place] + data[place + tenth :]) is Reason.DAMAGED
    assert spoilt >= 5
    assert noticed >= spoilt / 3


def spoils(data: bytes, whole: media.Pixels) -> bool:
    """True where more than a fiftieth of the pixels look different, or nothing can be decoded."""
    try:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, SyntaxError):
        return True
    return bool((np.abs(pixels.astype(int) - whole).max(axis=2) > 40).mean() > 0.02)


def verdict_of_jpeg(data: bytes) -> Reason | None:
    try:
        list(ImageCodec(ImageLimits()).open(io.BytesIO(data)).frames())
    except InputError as error:
        return error.reason
    return None


def test_a_jpeg_with_its_end_glued_to_its_middle_is_damaged() -> None:
    """The rest would be grey, and the decoder would not say so by itself."""
    data = media.saved(media.astronaut(), "JPEG", quality=85)
    assert verdict_of_jpeg(data[: len(data) // 2] + b"\xff\xd9") is Reason.DAMAGED


def test_zeros_before_the_end_marker_of_a_jpeg_are_no_damage() -> None:
    """Some cameras pad."""
    data = media.saved(media.small(), "JPEG")
    assert verdict(data[:-2] + b"\0" * 12 + b"\xff\xd9") is None
    assert verdict(data[:-2] + b"\x5a" * 12 + b"\xff\xd9") is Reason.DAMAGED


def test_restart_markers_out_of_order_are_damage() -> None:
    data = VARIANTS["jpeg_restarts"].data
    assert verdict(data.replace(b"\xff\xd1", b"\xff\xd2", 1)) is Reason.DAMAGED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"\x7fELF" + b"\0" * 200, Reason.UNKNOWN_FORMAT),
        (b"<!DOCTYPE html>", Reason.UNKNOWN_FORMAT),
        (media.animated("GIF"), Reason.UNSUPPORTED_FORMAT),
        (media.saved(media.small(), "GIF"), Reason.UNSUPPORTED_FORMAT),
        (media.saved(media.small(), "JPEG2000"), Reason.UNSUPPORTED_FORMAT),
        (laden.movie(), Reason.UNSUPPORTED_FORMAT),
        (media.animated("PNG"), Reason.ANIMATED),
        (media.animated("WEBP"), Reason.ANIMATED),
        (media.animated("AVIF"), Reason.ANIMATED),
        (b"x" * (LIMITS.max_bytes + 1), Reason.TOO_LARGE),
        (media.tiff_file(*[media.small(1)] * 6), Reason.TOO_MANY_PAGES),
        (media.tiff_file(media.small(3).astype(np.float32)), Reason.UNSUPPORTED_FORMAT),
        (media.saved(Image.fromarray(media.small()).convert("LAB"), "TIFF"), Reason.UNSUPPORTED_FORMAT),
        (media.saved(np.zeros((900, 900), np.uint8), "PNG"), Reason.TOO_MANY_PIXELS),
        (media.saved(np.zeros((900, 900), np.uint8), "JPEG"), Reason.TOO_MANY_PIXELS),
        (media.saved(np.zeros((900, 900, 3), np.uint8), "WEBP"), Reason.TOO_MANY_PIXELS),
        (media.saved(np.zeros((900, 900), np.uint8), "TIFF"), Reason.TOO_MANY_PIXELS),
        (media.saved(np.zeros((900, 900), np.uint8), "BMP"), Reason.TOO_MANY_PIXELS),
        (media.heif_file(Image.new("RGB", (900, 900))), Reason.TOO_MANY_PIXELS),
        (media.saved(np.zeros((900, 900, 3), np.uint8), "AVIF"), Reason.TOO_MANY_PIXELS),
    ],
)
def test_what_is_not_treated_has_its_reason(data: bytes, reason: Reason) -> None:
    assert verdict(data) is reason


def test_a_page_that_is_too_large_is_found_before_any_page_is_decoded() -> None:
    data = media.tiff_file(media.small(1), np.zeros((900, 900, 1), np.uint8))
    with pytest.raises(InputError) as caught:
        CODEC.open(io.BytesIO(data))
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_cmyk_without_an_adobe_marker_is_refused() -> None:
    """Nobody agrees on what its numbers mean."""
    data = VARIANTS["jpeg_cmyk"].data
    place = data.index(b"\xff\xee")
    length = int.from_bytes(data[place + 2 : place + 4], "big")
    assert verdict(data[:place] + data[place + 2 + length :]) is Reason.UNSUPPORTED_FORMAT


BOMBS = {
    "png_100k": b"\x89PNG\r\n\x1a\n"
    + media.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    + media.png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    + media.png_chunk(b"IEND", b""),
    "png_deflate": b"\x89PNG\r\n\x1a\n"
    + media.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 400, 400, 8, 2, 0, 0, 0))
    + media.png_chunk(b"IDAT", zlib.compress(b"\0" * (400 << 20), 9))
    + media.png_chunk(b"IEND", b""),
    "png_text": media.png_file(
        media.small(), 2, 8, before=[(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (400 << 20), 9))]
    ),
    "png_profile": media.png_file(
        media.small(), 2, 8, before=[(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * (400 << 20), 9))]
    ),
    "tiff_deflate": media.tiff_file(media.small(1), compression="zlib").replace(
        zlib.compress(media.small(1).tobytes(), 6), zlib.compress(b"\0" * (400 << 20), 9)
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_s22_a_bomb_takes_no_memory(name: str, tmp_path: Path) -> None:
    """Opened and decoded in a process that may take 100 MiB more than it starts with."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(BOMBS[name])
    script = (
        "import resource, sys\n"
        "from blurd.adapters.image import ImageCodec, ImageLimits\n"
        "from blurd.errors import BlurdError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "verdict = 'good'\n"
        "try:\n"
        "    list(ImageCodec(ImageLimits()).open(open(sys.argv[1], 'rb')).frames())\n"
        "except BlurdError as error:\n"
        "    verdict = error.reason.value\n"
        "print(verdict, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bomb)], capture_output=True, text=True, check=True, timeout=60
    )
    answer, kibibytes = done.stdout.split()
    expected = {"png_100k": "too_many_pixels", "png_text": "good", "png_profile": "good"}
    assert answer == expected.get(name, "damaged")
    assert int(kibibytes) < 100 << 10


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries complain about damaged files on descriptor 2; none of it comes through."""
    chance = random.Random(9)  # noqa: S311
    for variant in VARIANTS.values():
        for mutant in mutants(variant.data, chance)[:4]:
            verdict(mutant)
    os.write(2, b"seen\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "seen\n")


def test_a_lack_of_memory_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("blurd.core.containers.png.whole_pixels", starve)
    with pytest.raises(BlurdError) as caught:
        list(CODEC.open(io.BytesIO(VARIANTS["png_type2_8bit"].data)).frames())
    assert caught.value.reason is Reason.OUT_OF_MEMORY


class FullTarget(io.BytesIO):
    """A disk without room."""

    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device", str(data)[:0])


@pytest.mark.parametrize("name", ["jpeg_420", "png_type2_8bit", "webp_75", "tiff_3x8_plain", "bmp_rgb", "heic"])
def test_s28_a_full_disk_is_not_the_files_fault(name: str) -> None:
    source = CODEC.open(io.BytesIO(VARIANTS[name].data))
    with pytest.raises(EquipmentError) as caught:
        source.write(source.frames(), FullTarget())
    assert caught.value.reason is Reason.OUTBOUND_FULL


def test_a_file_that_can_not_be_read_is_not_the_files_fault() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, f"Input/output error at {size}")

    with pytest.raises(EquipmentError) as caught:
        CODEC.open(Broken(b"x"))
    assert caught.value.reason is Reason.READ_ERROR
