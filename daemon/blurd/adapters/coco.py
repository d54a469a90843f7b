"""Annotated image sets in COCO's JSON format: read, checked, and reduced to what the measures need.

Boxes are (left, top, width, height) in the file and become `Box`. An annotation with `iscrowd` or `ignore` set counts
neither way in the measures.

DIAGNOSTICS: `EquipmentError(ANNOTATIONS_INVALID)` whose detail names what is wrong and where.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from blurd.core.accuracy import Object
from blurd.errors import EquipmentError, Reason
from blurd.records import Category

SAME_CATEGORY: Mapping[str, Category] = {
    "face": Category.FACE,
    "faces": Category.FACE,
    "human face": Category.FACE,
    "plate": Category.PLATE,
    "plates": Category.PLATE,
    "license plate": Category.PLATE,
    "licence plate": Category.PLATE,
    "license-plate": Category.PLATE,
    "license_plate": Category.PLATE,
    "number plate": Category.PLATE,
    "vehicle registration plate": Category.PLATE,
}
"""Names of COCO categories, in lower case, that mean one of ours."""


def known_names(own: Iterable[Category]) -> Mapping[str, Category]:
    """The same, with classes of the owner's own, each by its name."""
    return {**{str(category): category for category in own}, **SAME_CATEGORY}


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One picture of the set; `file_name` is relative to the image folder."""

    file_name: str
    annotations: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class AnnotatedSet:
    """A whole set: the categories it annotates at all, its pictures, and the SHA-256 of the annotation file."""

    categories: frozenset[Category]
    images: tuple[AnnotatedImage, ...]
    sha256: str


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Image(_Row):
    id: int | str
    file_name: str


class _Annotation(_Row):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    iscrowd: bool = False
    ignore: bool = False


class _Category(_Row):
    id: int | str
    name: str


class _Document(_Row):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


def read_annotations(path: Path, own: Iterable[Category] = ()) -> AnnotatedSet:
    """Read an annotation file. Categories that are neither face nor plate nor one of `own` are left out."""
    known = known_names(own)
    try:
        content = path.read_bytes()
        document = _Document.model_validate_json(content)
    except OSError as error:
        raise _bad(f"{path}: can't be read ({error.strerror}).") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _bad(f"{path}: {place}: {first['msg']} (and {error.error_count() - 1} more).") from None
    categories = {
        item.id: known[item.name.strip().lower()] for item in document.categories if item.name.strip().lower() in known
    }
    if not categories:
        names = ", ".join(sorted(item.name for item in document.categories)) or "none"
        raise _bad(f'{path}: no category is called "face" or "plate"; the file has: {names}.')
    by_image: dict[int | str, list[Object]] = {image.id: [] for image in document.images}
    for number, item in enumerate(document.annotations):
        if item.image_id not in by_image:
            raise _bad(f"{path}: annotations.{number}.image_id: there is no image {item.image_id}.")
        left, top, width, height = item.bbox
        if width <= 0 or height <= 0:
            raise _bad(f"{path}: annotations.{number}.bbox: width and height must be positive.")
        if item.category_id in categories:
            box = (left, top, left + width, top + height)
            by_image[item.image_id].append(
                Object(categories[item.category_id], box, item.ignore, item.iscrowd),
            )
    images = tuple(AnnotatedImage(image.file_name, tuple(by_image[image.id])) for image in document.images)
    return AnnotatedSet(frozenset(categories.values()), images, hashlib.sha256(content).hexdigest())


def missing_files(images: Sequence[AnnotatedImage], folder: Path) -> tuple[str, ...]:
    """Names in the set that are no files in the folder."""
    return tuple(image.file_name for image in images if not (folder / image.file_name).is_file())


def _bad(detail: str) -> EquipmentError:
    return EquipmentError(Reason.ANNOTATIONS_INVALID, "read annotations", detail)
