"""What is fuzzed: every parser of our own that reads what somebody else wrote, each with what must hold of its answer.

A target takes bytes. It returns where the parser gave a value of its type or refused with the one reason that its
module names; anything else that is raised is a finding.
"""

import io
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import av

import laden
import media
import variants
from blurd.adapters.coco import read_annotations
from blurd.adapters.mot import read_video_annotations
from blurd.adapters.regions import is_cut_off, parse_regions
from blurd.adapters.video.groups import GroupFinder
from blurd.config import check_settings, load_settings
from blurd.core import containers, h264
from blurd.core.containers import BytesReader, Completeness, Format, icc, riff, tiff
from blurd.core.containers.reader import ParseError, View
from blurd.core.zones import Region
from blurd.errors import BlurdError, EquipmentError, InputError, Reason
from blurd.records import Category
from fuzz.shapes import Choices, as_json

ROOT = Path(__file__).parents[2]


def check_containers(data: bytes) -> None:
    """Type, completeness, leftovers, profile and orientation are values of their types."""
    reader = BytesReader(data)
    form = containers.identify(reader)
    assert form is None or isinstance(form, Format)
    whole = containers.completeness(reader)
    assert isinstance(whole, Completeness)
    found = containers.leftovers(reader)
    assert len(found) <= 64
    assert all(isinstance(code, str) and code.isascii() for code in found)
    kept = icc.kept(data[:4096], 3)
    assert icc.kept(kept, 3) == kept
    assert 1 <= tiff.exif_orientation(View(reader)) <= 8
    with suppress(ParseError):
        view = View(BytesReader(riff.webp_file([(b"VP8 ", data[:64])])))
        riff.webp_quantiser(view, riff.webp_outline(view)[0])


def check_sidecars(data: bytes) -> None:
    """Regions are read as a whole or refused as a whole."""
    if data[:1] == _BUILT:
        choices = Choices(data[1:])
        data = as_json(choices.changed(choices.of(_REGIONS), _WORDS["sidecars"]))
    assert is_cut_off(io.BytesIO(data)) in (True, False)
    try:
        found = parse_regions(data)
    except InputError as error:
        _refused(error, Reason.REGIONS_INVALID)
    else:
        assert all(isinstance(region, Region) for region in found)


def check_settings_file(data: bytes) -> None:
    """Settings are sound or every fault is named."""
    path = _scratch() / "blurd.toml"
    path.write_bytes(data)
    try:
        if data[:1] == _BUILT:
            choices = Choices(data[1:])
            document = choices.changed(_settings(), _WORDS["settings"])
            settings = check_settings(document if isinstance(document, dict) else {"folder": document})
        else:
            settings = load_settings(path)
    except EquipmentError as error:
        _refused(error, Reason.SETTINGS_INVALID)
    else:
        assert settings.folder
        assert all(len(folder.hash) == 64 and folder.mode <= 0o777 for folder in settings.folder)


def check_annotations(data: bytes) -> None:
    """MOT text and COCO's JSON of pictures and of videos."""
    if data[:1] == _BUILT:
        choices = Choices(data[1:])
        data = as_json(choices.changed(_COCO, _WORDS["annotations"]))
    path = _scratch() / "gt.txt"
    path.write_bytes(data)
    for read in (
        lambda: read_annotations(path),
        lambda: read_video_annotations(path, "film.mp4", (Category.FACE,)).sightings(100, tuple(Category)),
    ):
        try:
            read()
        except EquipmentError as error:
            _refused(error, Reason.ANNOTATIONS_INVALID)


def check_pictures(data: bytes) -> None:
    """Units and parameter sets of H.264, and what is made of them."""
    for read in (h264.sequence_set, h264.picture_set, h264.read_header):
        with suppress(ValueError):
            read(data)
    finder = GroupFinder(data[: data[0]] if data else b"")
    for place in range(2):
        finder.add(place, data[data[0] :] if data else b"")
    found = finder.result((0, 1), (0, 1))
    assert found is None or (found.frames == 2 and all(0 <= start < 2 for start in found.starts))


def _refused(error: BlurdError, reason: Reason) -> None:
    """The one reason that the parser names, with a sentence."""
    assert error.reason is reason
    assert error.detail


@cache
def _scratch() -> Path:
    return Path(mkdtemp(prefix="blurd-fuzz-"))


@cache
def _settings() -> dict[str, Any]:
    return tomllib.loads(settings_seeds()[1].decode())


def _words(text: str) -> list[str]:
    return text.split()


_BUILT = b"\0"
"""An input that begins so is no file but choices of which a document is built."""

_REGIONS: tuple[dict[str, Any], ...] = (
    {"unit": "px", "regions": [{"class": "face", "box": [1, 2, 30.5, 40], "from_s": 1.5, "to_s": 4}]},
    {"regions": [{"class": "region", "polygon": [[0, 0], [0.5, 0], [0.5, 0.5], [0.1, 0.7]]}] * 3},
)
_MOT = b"1,7,10,20,30,40,1,face,1.0\n2, 7, 10.5, 20, 30, 40, 1, plate, 0.5\n3,8,1,2,3,4\n"
_COCO: dict[str, Any] = {
    "videos": [{"id": 1, "file_name": "film.mp4"}],
    "images": [
        {"id": 1, "file_name": "a.jpg", "video_id": 1, "frame_index": 0},
        {"id": "b", "file_name": "b.jpg", "video_id": 1, "frame_index": 1},
    ],
    "annotations": [
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "track_id": 1, "iscrowd": 0, "visibility": 0.5}
    ]
    * 2,
    "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "plate"}, {"id": 3, "name": "person"}],
}
_WORDS: Mapping[str, Sequence[str]] = {
    "sidecars": _words("unit share px regions class face plate region box polygon from_s to_s"),
    "settings": [*sorted(set(re.findall(r"[a-z_0-9]+", (ROOT / "etc" / "blurd.toml").read_text()))), "/", "/a\0b", ""],
    "annotations": _words(
        "videos images annotations categories id file_name video_id frame_index frame_id image_id iscrowd category_id"
        " bbox track_id instance_id ignore visibility face plate name film.mp4 a.jpg"
    ),
}


def container_seeds() -> tuple[bytes, ...]:
    """Every image, every image full of metadata, and the first 20 kB of videos of every container."""
    images = [variant.data for variant in media.variants()] + [make() for make in laden.LADEN.values()]
    names = "mp4_h264 mkv_h264 avi_mjpeg ts_h264 mpg_mpeg2 wmv_wmv2 flv_h264 ogv_vp8 mxf_mpeg2 dav_h264 mp4_fragmented"
    return (*images, *(variants.variant(name).data[:20_000] for name in names.split()))


def settings_seeds() -> tuple[bytes, ...]:
    """The documented file, and a small one."""
    small = b'[[folder]]\nname = "a"\ninbound = "/a"\noutbound = "/b"\n[[folder.zone]]\npolygon = [[0,0],[1,0],[1,1]]\n'
    return (ROOT / "etc" / "blurd.toml").read_bytes(), small


@dataclass(frozen=True, slots=True)
class Target:
    """What is checked, what the search starts from, the longest input in bytes, and the share of the time it gets."""

    check: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]
    longest: int
    share: float


def picture_seeds() -> tuple[bytes, ...]:
    """Headers, each behind its length, and the first packet."""
    found = []
    for name in ("mp4_h264", "mkv_h264", "ts_h264"):
        with av.open(io.BytesIO(variants.variant(name).data), "r") as container:
            stream = container.streams.video[0]
            header = (stream.codec_context.extradata or b"")[:255]
            packet = next(packet for packet in container.demux(stream) if packet.size)
            found.append(bytes([len(header)]) + header + bytes(packet))
    return tuple(found)


TARGETS: Mapping[str, Target] = {
    "containers": Target(check_containers, container_seeds, 1 << 16, 0.4),
    "sidecars": Target(check_sidecars, lambda: tuple(map(as_json, _REGIONS)), 1 << 14, 1 / 6),
    "settings": Target(check_settings_file, settings_seeds, 1 << 14, 1 / 6),
    "pictures": Target(check_pictures, picture_seeds, 1 << 12, 0.1),
    "annotations": Target(check_annotations, lambda: (_MOT, as_json(_COCO)), 1 << 14, 1 / 6),
}

if __name__ == "__main__":
    for name in sys.argv[2:]:
        TARGETS[sys.argv[1]].check(Path(name).read_bytes())
