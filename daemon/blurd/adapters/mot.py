"""Annotated videos: MOTChallenge's text and COCO's JSON with frame numbers, read, checked, and made one form.

MOT text has one object in one frame on each line, its values separated by commas:

    frame, id, left, top, width, height, conf, class, visibility

Frames count from 1. An object with `conf` 0 is ignored, so is one whose `visibility` is below `LEAST_VISIBLE`; the last
three may be left out. `class` is `face` or `plate` (or another name that `coco.py` knows), or the number of a line of
`labels.txt` beside the file, as annotation tools write it; other classes of that list are left out. Where the file
names no classes, the caller says which one it annotates.

COCO's JSON has `videos`, `images` with `video_id` and `frame_index` (or `frame_id`, from 0), and annotations with
`track_id` (or `instance_id`). Where there are no `videos`, each image's `file_name` is the video's. Every frame of the
video has its image; a file of one video is taken whatever the video is called.

DIAGNOSTICS: `EquipmentError(ANNOTATIONS_INVALID)` whose detail names the line and what belongs there.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from blurd.adapters.coco import known_names
from blurd.core.exposure import Sighting
from blurd.errors import EquipmentError, Reason
from blurd.records import Box, Category

LEAST_VISIBLE = 0.25
"""An object that is hidden more than this leaves visible counts neither way."""
LABELS = "labels.txt"
_COLUMNS = ("frame", "id", "left", "top", "width", "height", "conf", "class", "visibility")
_NEEDED = 6


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """What is in each frame of one video, by its number from 0; the SHA-256 is that of the annotation file.

    `listed` are the frames that were looked at, where the file says so: they may be empty.
    """

    categories: frozenset[Category]
    frames: Mapping[int, tuple[Sighting, ...]]
    listed: frozenset[int] | None
    sha256: str

    def sightings(self, count: int, categories: Sequence[Category]) -> tuple[tuple[Sighting, ...], ...]:
        """The objects of these categories in each of `count` frames.

        Raises where a later frame is annotated, or where the file does not list every frame: how long something is
        seen can't be told from some of them.
        """
        last = max(self.frames, default=-1)
        if last >= count:
            raise _bad(f"The annotations go up to frame {last} (from 0), but the video has {count} frames.")
        missing = [index for index in range(count) if self.listed is not None and index not in self.listed]
        if missing:
            raise _bad(
                f"{len(missing)} of the video's {count} frames have no image in the annotations, the first is"
                f" {missing[0]} (from 0); list every frame, an empty one too."
            )
        return tuple(
            tuple(item for item in self.frames.get(index, ()) if item.category in categories) for index in range(count)
        )


def read_video_annotations(
    path: Path, video: str, wanted: Sequence[Category] = (), own: Sequence[Category] = ()
) -> AnnotatedVideo:
    """Read either form; `video` is the video's file name, `wanted` what the file annotates where it says nothing.

    `own` are classes beyond face and plate that are known by their names.
    """
    known = known_names((*wanted, *own))
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise _bad(f"{path}: can't be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise _bad(f"{path}: is no text.") from None
    is_json = text.lstrip().startswith("{")
    found = _from_coco(path, text, video, known) if is_json else _from_mot(path, text, wanted, known)
    frames: dict[int, list[Sighting]] = {}
    seen: set[tuple[int, Category, str]] = set()
    for place, frame, sighting in found.rows:
        key = (frame, sighting.category, sighting.track)
        if key in seen:
            raise _bad(f"{place}: {sighting.category} {sighting.track} is already in this frame; an id is there once.")
        seen.add(key)
        frames.setdefault(frame, []).append(sighting)
    by_frame = {frame: tuple(items) for frame, items in frames.items()}
    return AnnotatedVideo(found.categories, by_frame, found.listed, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class _Found:
    """What a file annotates, and its rows: where each stands, the frame from 0, the object."""

    categories: frozenset[Category]
    listed: frozenset[int] | None
    rows: Sequence[tuple[str, int, Sighting]]


# MOT text


@dataclass(frozen=True, slots=True)
class _Names:
    """What names mean: numbers by the file of labels, `known` ones, and the one class that is `wanted`."""

    labels: Mapping[str, Category | None]
    known: Mapping[str, Category]
    wanted: Sequence[Category]


def _from_mot(path: Path, text: str, wanted: Sequence[Category], known: Mapping[str, Category]) -> _Found:
    labels = _labels(path.with_name(LABELS), known)
    names = _Names(labels, known, wanted)
    rows: list[tuple[str, int, Sighting]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            place = f"{path}: line {number}"
            row = _mot_row(place, [part.strip() for part in line.split(",")], names)
            if row is not None:
                rows.append((place, *row))
    named = frozenset(sighting.category for _, _, sighting in rows)
    listed = frozenset(category for category in labels.values() if category is not None)
    return _Found(named | listed or frozenset(wanted), None, rows)


def _labels(path: Path, known: Mapping[str, Category]) -> Mapping[str, Category | None]:
    """The categories by their number, from 1; None for what is neither face nor plate."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        raise _bad(f"{path}: can't be read; it lists one class name a line.") from None
    return {str(number): known.get(name.strip().lower()) for number, name in enumerate(lines, start=1)}


def _mot_row(place: str, values: Sequence[str], names: _Names) -> tuple[int, Sighting] | None:
    """The frame from 0 and the object; None for a class that is neither face nor plate."""
    if len(values) < _NEEDED:
        raise _bad(f"{place}: has {len(values)} values; write {', '.join(_COLUMNS)}, separated by commas.")
    numbers = {
        name: _number(place, name, text) for name, text in zip(_COLUMNS, values, strict=False) if name != "class"
    }
    frame, track = (_whole(place, name, numbers[name]) for name in ("frame", "id"))
    if frame < 1:
        raise _bad(f"{place}: frame is {frame}; the first frame is 1.")
    name = values[_COLUMNS.index("class")] if len(values) > _COLUMNS.index("class") else "-1"
    category = _mot_category(place, name, names)
    box = _box(place, numbers["left"], numbers["top"], numbers["width"], numbers["height"])
    if category is None:
        return None
    visibility = numbers.get("visibility", 1.0)
    ignored = numbers.get("conf", 1.0) == 0 or 0 <= visibility < LEAST_VISIBLE
    return frame - 1, Sighting(str(track), category, box, ignored)


def _mot_category(place: str, name: str, names: _Names) -> Category | None:
    labels, wanted = names.labels, names.wanted
    known = names.known.get(name.lower())
    if known is not None:
        return known
    if labels:
        if name not in labels:
            raise _bad(f"{place}: class {name} is no line of {LABELS}, which has {len(labels)}.")
        return labels[name]
    try:
        float(name)
    except ValueError:
        raise _bad(f'{place}: class is "{name}"; write face or plate.') from None
    if len(wanted) != 1:
        raise _bad(
            f"{place}: class {name} says neither face nor plate; write its name there, put {LABELS} beside the file, or"
            " name the one class that it annotates (--classes)."
        )
    return wanted[0]


def _number(place: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _bad(f'{place}: {name} is "{text}"; write a number.') from None
    if not math.isfinite(value):
        raise _bad(f"{place}: {name} is {text}; write a finite number.")
    return value


def _whole(place: str, name: str, value: float) -> int:
    if value != int(value):
        raise _bad(f"{place}: {name} is {value}; write a whole number.")
    return int(value)


def _box(place: str, left: float, top: float, width: float, height: float) -> Box:
    if width <= 0 or height <= 0:
        raise _bad(f"{place}: width and height must be positive.")
    try:
        return Box(left, top, left + width, top + height)
    except ValueError as error:
        raise _bad(f"{place}: {error}.") from None


# COCO's JSON


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Video(_Row):
    id: int | str
    name: str = Field(validation_alias=AliasChoices("file_name", "name"))


class _Image(_Row):
    id: int | str
    file_name: str = ""
    video_id: int | str | None = None
    frame: int = Field(ge=0, validation_alias=AliasChoices("frame_index", "frame_id"))


class _Annotation(_Row):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    track: int | str = Field(validation_alias=AliasChoices("track_id", "instance_id"))
    iscrowd: bool = False
    ignore: bool = False
    visibility: float = 1.0


class _Category(_Row):
    id: int | str
    name: str


class _Document(_Row):
    videos: tuple[_Video, ...] = ()
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def _from_coco(path: Path, text: str, video: str, known_as: Mapping[str, Category]) -> _Found:
    try:
        document = _Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _bad(f"{path}: {place}: {first['msg']} (and {error.error_count() - 1} more).") from None
    categories = {item.id: known_as.get(item.name.strip().lower()) for item in document.categories}
    ours = frozenset(category for category in categories.values() if category is not None)
    if not ours:
        names = ", ".join(sorted(item.name for item in document.categories)) or "none"
        raise _bad(f'{path}: no category is called "face" or "plate"; the file has: {names}.')
    frames = _frames_of(path, document, video)
    known = {image.id for image in document.images}
    rows: list[tuple[str, int, Sighting]] = []
    for number, item in enumerate(document.annotations):
        place = f"{path}: annotations.{number}"
        if item.image_id not in known:
            raise _bad(f"{place}.image_id: there is no image {item.image_id}.")
        box = _box(f"{place}.bbox", *item.bbox)
        category = categories.get(item.category_id)
        if item.image_id in frames and category is not None:
            ignored = item.iscrowd or item.ignore or item.visibility < LEAST_VISIBLE
            rows.append((place, frames[item.image_id], Sighting(str(item.track), category, box, ignored)))
    return _Found(ours, frozenset(frames.values()), rows)


def _frames_of(path: Path, document: _Document, video: str) -> Mapping[int | str, int]:
    """The frame numbers of this video's images by their identifiers."""
    if document.videos:
        chosen = {item.id for item in document.videos if Path(item.name).name == video or len(document.videos) == 1}
        images = [image for image in document.images if image.video_id in chosen]
        names = {item.name for item in document.videos}
    else:
        images = [image for image in document.images if Path(image.file_name).name == video]
        names = {image.file_name for image in document.images}
    if not images:
        listed = ", ".join(sorted(names)[:5]) or "none"
        raise _bad(f"{path}: no images are of the video {video}; the file has: {listed}.")
    frames = [image.frame for image in images]
    if len(set(frames)) != len(frames):
        raise _bad(f"{path}: a frame_index is there twice; each frame of the video has one image.")
    return {image.id: image.frame for image in images}


def _bad(detail: str) -> EquipmentError:
    return EquipmentError(Reason.ANNOTATIONS_INVALID, "read annotations", detail)
