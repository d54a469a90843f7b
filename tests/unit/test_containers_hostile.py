"""Hostile bytes: the parsers return a value, whatever they are given, and soon."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import laden
import media
from blurd.core import containers
from blurd.core.containers import BytesReader, Completeness, Format, icc, riff, tiff
from blurd.core.containers.reader import MalformedError, ParseError, View

VARIANTS = list(media.variants())
SEEDS = [variant.data for variant in VARIANTS] + [make() for make in laden.LADEN.values()]
MAGICS = [
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\0\0WEBP", b"RIFF\xff\xff\0\0AVI ", b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", b"BM", b"\0\0\0\x14ftypheic\0\0\0\0mif1",
    b"\0\0\0\x14ftypisom\0\0\0\0mp42", b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS",
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
]  # fmt: skip


def everything(data: bytes) -> None:
    """Every public function returns a value of its type."""
    reader = BytesReader(data)
    form = containers.identify(reader)
    assert form is None or isinstance(form, Format)
    assert isinstance(containers.completeness(reader), Completeness)
    found = containers.leftovers(reader)
    assert all(isinstance(code, str) and code.isascii() for code in found)
    assert len(found) <= 64


@given(st.sampled_from([b"", *MAGICS]), st.binary(max_size=400))
@settings(max_examples=400, deadline=None)
@example(b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82")
@example(b"", b"\xff\xd8\xff\xd9")
def test_random_bytes_behind_a_signature(magic: bytes, rest: bytes) -> None:
    everything(magic + rest)


@given(st.sampled_from(SEEDS), st.randoms(use_true_random=False), st.integers(1, 8))
@settings(max_examples=400, deadline=None)
def test_changed_bytes(seed: bytes, chance: random.Random, changes: int) -> None:
    data = bytearray(seed)
    for _ in range(changes):
        place = chance.randrange(min(len(data), 400)) if chance.random() < 0.7 else chance.randrange(len(data))
        data[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    everything(bytes(data))


@given(st.sampled_from(SEEDS), st.sampled_from(SEEDS), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_spliced_files(one: bytes, other: bytes, chance: random.Random) -> None:
    cut, start = chance.randrange(len(one)), chance.randrange(len(other))
    everything(one[:cut] + other[start : start + chance.randrange(1, 500)] + one[cut:])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_shorter_part(variant: media.Variant) -> None:
    for length in range(0, min(len(variant.data), 600), 3):
        everything(variant.data[:length])


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_profiles_and_orientations_of_random_bytes(data: bytes) -> None:
    assert icc.kept(data, 3) == b""
    assert 1 <= tiff.exif_orientation(View(BytesReader(data))) <= 8


@given(st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_profile_is_kept_whole_or_not_at_all(place: int, value: int) -> None:
    """What comes out can be put in again and stays as it is."""
    data = bytearray(laden.laden_profile())
    data[place % len(data)] = value
    kept = icc.kept(bytes(data), 3)
    assert laden.PLANTED not in kept
    assert icc.kept(kept, 3) == kept


@given(st.binary(min_size=10, max_size=80))
@settings(max_examples=200, deadline=None)
def test_the_quantiser_of_random_bytes_is_an_index(data: bytes) -> None:
    file = riff.webp_file([(b"VP8 ", data)])
    view = View(BytesReader(file))
    chunks, _ = riff.webp_outline(view)
    found = riff.webp_quantiser(view, chunks)
    assert found is not None
    assert 0 <= found[0] <= 127


def test_a_view_never_hands_out_more_than_its_budget() -> None:
    view = View(BytesReader(b"x" * 1000), bytes_left=1500)
    view.exactly(0, 1000)
    with pytest.raises(ParseError):
        view.exactly(0, 1000)
    view = View(BytesReader(b"x" * 1000), calls_left=2)
    view.exactly(0, 1)
    view.exactly(0, 1)
    with pytest.raises(ParseError):
        view.exactly(0, 1)
    with pytest.raises(MalformedError):
        View(BytesReader(b"x")).some(-1, 5)
