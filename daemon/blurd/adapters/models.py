"""The models: the manifest, the files that it names, and the proof that they are the right ones.

`manifest.toml` is the root of trust: it travels with the program and names the SHA-256 of every file. A file is read
once, and the bytes that were hashed are the bytes that are used.

Invariants
* A loaded model is complete and unchanged; there is no way to load one without its hash being checked.
* A manifest entry is checked as a whole: its head exists, every category has thresholds, its view rules hold.

DIAGNOSTICS: `EquipmentError` with MODEL_MISSING (no manifest, no file), MODEL_HASH (another content) or MODEL_INVALID
(the manifest itself); the detail names the file below the model directory, or every fault of the manifest.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from blurd.core.geometry import HitArray, MergeRule
from blurd.core.heads import HEADS, Head
from blurd.core.views import Variant, ViewRule
from blurd.errors import EquipmentError, Reason
from blurd.mask_settings import CategoryName
from blurd.records import Category

MANIFEST_NAME = "manifest.toml"
MAX_FILE_BYTES = 1 << 30


def _built_in(category: Category) -> Category:
    if category not in tuple(Category):
        raise ValueError(f"write one of {', '.join(Category)}")
    return category


BuiltInCategory = Annotated[CategoryName, AfterValidator(_built_in)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Thresholds(_Table):
    """Scores: hits under `floor` are never reported, a single hit is masked from `start` on."""

    floor: Annotated[float, Field(gt=0.0, le=1.0)]
    start: Share

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start < self.floor:
            raise ValueError("start is not less than floor")
        return self


class InputLayout(_Table):
    """What the network is fed: one picture, its pixels in memory order, sides padded to `multiple` pixels."""

    element_type: Literal["u8"]
    layout: Literal["NHWC"]
    colour: Literal["RGB", "BGR"]
    multiple: Annotated[int, Field(ge=1, le=256)]

    def filled(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view (height, width, 3), black to the right and below up to the multiple, as (1, rows, columns, 3)."""
        rows, columns = (-(-side // self.multiple) * self.multiple for side in part.shape[:2])
        pixels = np.zeros((1, rows, columns, 3), np.uint8)
        pixels[0, : part.shape[0], : part.shape[1]] = part
        return pixels

    def to_view(self, hits: HitArray, width_px: int, height_px: int) -> HitArray:
        """Hits in pixels of what `filled` gave, in pixels of the view of this size."""
        del width_px, height_px
        return hits


class ModelFiles(_Table):
    """One form of the network: OpenVINO's graph and weights, and the devices that it is for, best first."""

    precision: Literal["f32", "f16", "int8"]
    devices: Annotated[tuple[Literal["CPU", "GPU"], ...], Field(min_length=1)]
    graph: str
    graph_sha256: Digest
    weights: str
    weights_sha256: Digest

    @field_validator("graph", "weights")
    @classmethod
    def _below_the_models(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("write a path below the model directory")
        return value


class ModelSource(_Table):
    """Where the network comes from. `wheel` and what follows are for models that set-up takes out of a package."""

    origin: str
    licence: str
    wheel: str | None = None
    wheel_sha256: Digest | None = None
    member: str | None = None
    member_sha256: Digest | None = None


class ViewTable(_Table):
    """A `ViewRule` as the manifest writes it; the names are the rule's own."""

    largest_scale: float
    magnified_pixels: int
    finest_pixels: int
    ratio: float
    whole_px: int
    tile_px: int
    overlap_px: int
    smallest_px: float
    largest_px: float
    variants: tuple[Literal["plain", "mirrored", "grey", "mirrored grey"], ...]
    variant_pixels: int

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.rule()
        return self

    def rule(self) -> ViewRule:
        """The same as the core's value."""
        variants = tuple(Variant("mirrored" in name, "grey" in name) for name in self.variants)
        return ViewRule(**{**self.model_dump(), "variants": variants})


class MergeTable(_Table):
    """A `MergeRule` as the manifest writes it."""

    link_iou: float
    strong_share: float
    shape_iou: float
    reach: float

    @model_validator(mode="after")
    def _holds(self) -> Self:
        self.rule()
        return self

    def rule(self) -> MergeRule:
        """The same as the core's value."""
        return MergeRule(**self.model_dump())


class ModelEntry(_Table):
    """One `[[model]]` of the manifest. `measured` is for people; everything else shapes the result."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    categories: Annotated[tuple[BuiltInCategory, ...], Field(min_length=1)]
    head: str
    source: ModelSource
    files: Annotated[tuple[ModelFiles, ...], Field(min_length=1)]
    input: InputLayout
    thresholds: Mapping[BuiltInCategory, Thresholds]
    merge: MergeTable
    views: Annotated[Mapping[str, ViewTable], Field(min_length=1)]
    measured: Mapping[str, Any] = {}

    @field_validator("head")
    @classmethod
    def _known_head(cls, value: str) -> str:
        if value not in HEADS:
            raise ValueError(f"no such head; there are: {', '.join(sorted(HEADS))}")
        return value

    @model_validator(mode="after")
    def _every_category_once(self) -> Self:
        if len(set(self.categories)) != len(self.categories) or set(self.thresholds) != set(self.categories):
            raise ValueError("give thresholds for each category, and each category once")
        return self


class Manifest(_Table):
    """The whole file. `format` changes when an older program could misread it."""

    format: Literal[1]
    model: Annotated[tuple[ModelEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_model_for_each_category(self) -> Self:
        names = [entry.name for entry in self.model]
        categories = [category for entry in self.model for category in entry.categories]
        if len(set(names)) != len(names) or len(set(categories)) != len(categories):
            raise ValueError("each name stands once, and one model finds each category")
        return self


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """A network's files, read and proven: what the manifest says of them, and their bytes."""

    entry: ModelFiles
    graph: bytes
    weights: bytes


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model: its manifest entry and every form of it.

    One of the owner's own has a head that is bound to its graph, a way of its own to be read, and particulars that
    shape what it finds beside its entry.
    """

    entry: ModelEntry
    files: tuple[NetworkFiles, ...]
    head: Head | None = None
    read: Callable[[Any, NetworkFiles], Any] | None = None
    particulars: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """True for a model that blurd did not bring."""
        return self.head is not None

    def files_for(self, device: str) -> NetworkFiles | None:
        """The first form that is for this device."""
        return next((files for files in self.files if device in files.entry.devices), None)


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Every model of an installation, proven."""

    models: tuple[LoadedModel, ...]

    @property
    def categories(self) -> frozenset[Category]:
        """What can be found with them."""
        return frozenset(category for model in self.models for category in model.entry.categories)

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, where the settings name no other."""
        return next(
            model.entry.thresholds[category].start for model in self.models if category in model.entry.thresholds
        )


def load_models(directory: Path) -> ModelSet:
    """Read the manifest in `directory` and every file that it names. Raises as the module's header says."""
    manifest = read_manifest(directory)
    return ModelSet(
        tuple(
            LoadedModel(entry, tuple(_network_files(directory, files) for files in entry.files))
            for entry in manifest.model
        )
    )


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, checked. Raises MODEL_MISSING or MODEL_INVALID."""
    try:
        document = tomllib.loads(read_bounded(directory, MANIFEST_NAME).decode())
        return Manifest.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
        )
        raise EquipmentError(Reason.MODEL_INVALID, "read manifest", f"{MANIFEST_NAME}: {faults}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        detail = f"{MANIFEST_NAME} is not valid TOML: {error}."
        raise EquipmentError(Reason.MODEL_INVALID, "read manifest", detail) from None


def fingerprint(parts: Any) -> str:
    """SHA-256 of a value made of mappings, sequences, texts and numbers, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _network_files(directory: Path, entry: ModelFiles) -> NetworkFiles:
    return NetworkFiles(
        entry,
        proven(directory, entry.graph, entry.graph_sha256, MANIFEST_NAME),
        proven(directory, entry.weights, entry.weights_sha256, MANIFEST_NAME),
    )


def proven(directory: Path, name: str, sha256: str, said_by: str) -> bytes:
    """The content of a file below `directory`, which has this hash; `said_by` is the file that says so."""
    content = read_bounded(directory, name)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        detail = f"{name} is not the file that {said_by} names: its SHA-256 is {found}."
        raise EquipmentError(Reason.MODEL_HASH, "load model", detail)
    return content


def read_bounded(directory: Path, name: str) -> bytes:
    """The content of a file below `directory`. Raises MODEL_MISSING, or MODEL_HASH where it is too large."""
    path = directory / name
    try:
        with path.open("rb") as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1)
    except OSError as error:
        detail = f"{path} can't be read ({error.strerror})."
        raise EquipmentError(Reason.MODEL_MISSING, "load model", detail) from None
    if len(content) > MAX_FILE_BYTES:
        raise EquipmentError(Reason.MODEL_HASH, "load model", f"{name} is larger than any model.")
    return content
