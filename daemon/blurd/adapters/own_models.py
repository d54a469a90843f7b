"""Detectors of the owner's own: `NAME/model.toml` below `models.directory_own`, and the files that it names.

Invariants
* A detector that is read is complete and unchanged (its files have the hashes that its `model.toml` says), its graph
  ends like a family that is known, and each of its classes means something. What does not hold is refused as a whole,
  with every fault at once, before the first file is looked at.
* It looks through the same views as the networks that blurd brings, and feeds the same stages.

DIAGNOSTICS: `EquipmentError` with MODEL_MISSING (no folder, no file), MODEL_HASH (another content) or MODEL_INVALID; of
the last the detail has one line for each fault, which begins with the detector's name and says what to write.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from blurd.adapters.models import (
    Digest,
    LoadedModel,
    MergeTable,
    ModelEntry,
    ModelFiles,
    ModelSource,
    NetworkFiles,
    Thresholds,
    ViewTable,
    proven,
    read_bounded,
)
from blurd.adapters.own_graphs import CanvasLayout, GraphFault, Reading, bound, output_name, read_graph
from blurd.core.geometry import HitArray
from blurd.core.heads import FAMILIES, Decode, Facts, Head, Maps, bind
from blurd.errors import EquipmentError, Reason
from blurd.faults import sentence
from blurd.mask_settings import CategoryName
from blurd.records import Category

SETTINGS_NAME: Final = "model.toml"
_NAME: Final = r"^[a-z][a-z0-9_-]{0,31}$"
_LEAST_SIDE_PX: Final = 64
_SEE: Final = "blurd-models(5)"
_MERGE: Final = {"link_iou": 0.4, "strong_share": 0.5, "shape_iou": 0.5, "reach": 0.5}

Side = Annotated[int, Field(ge=_LEAST_SIDE_PX, le=4096)]
Three = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0.0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OwnInput(_Table):
    """`[input]`: what the network is fed. A pixel becomes (value - mean) / scale, in the order of `colour`."""

    colour: Literal["RGB", "BGR"]
    scale: Positive | tuple[Positive, Positive, Positive]
    mean: Three = (0.0, 0.0, 0.0)
    size: tuple[Side, Side] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    resize: Literal["letterbox", "plain"] = "letterbox"
    pad: Annotated[int, Field(ge=0, le=255)] = 114

    @property
    def scales(self) -> Three:
        """One divisor for each colour."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale, self.scale)


class OwnDecoding(_Table):
    """`[decode]`: what can't be told from the graph."""

    first_label: Annotated[int, Field(ge=0, le=1000)] | None = None
    boxes: Literal["pixels", "shares"] = "pixels"
    anchors: tuple[tuple[Positive, Positive], ...] = ()


class OwnModel(_Table):
    """The whole `model.toml`."""

    file: str
    sha256: Digest
    weights: str | None = None
    weights_sha256: Digest | None = None
    licence: Annotated[str, Field(min_length=1)]
    origin: str = ""
    family: str | None = None
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    classes: Annotated[Mapping[str, CategoryName], Field(min_length=1)]
    input: OwnInput
    decode: OwnDecoding = OwnDecoding()
    thresholds: Mapping[CategoryName, Thresholds]
    merge: Mapping[str, float] = {}
    views: Mapping[Literal["thorough", "balanced"], Mapping[str, Any]] = {}

    @field_validator("file", "weights")
    @classmethod
    def _in_the_folder(cls, value: str | None) -> str | None:
        if value is not None:
            path = PurePosixPath(value)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"write the name of a file beside {SETTINGS_NAME}")
            if path.suffix not in (".onnx", ".xml", ".bin"):
                raise ValueError("write the name of an ONNX file (.onnx), or of an .xml with weights = its .bin")
        return value

    @field_validator("family")
    @classmethod
    def _known_family(cls, value: str | None) -> str | None:
        if value is not None and value not in FAMILIES:
            raise ValueError(f"there is no such family, write one of {', '.join(FAMILIES)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        is_ir = self.file.endswith(".xml")
        if is_ir and (self.weights is None or self.weights_sha256 is None):
            yield "weights: is missing: write the name of the .bin file, and its hash as weights_sha256"
        if not is_ir and (self.weights is not None or self.weights_sha256 is not None):
            yield "weights: an ONNX file has its weights inside; leave weights and weights_sha256 out"
        if len(set(self.labels)) != len(self.labels):
            yield "labels: each name stands once"
        for label in self.classes:
            if label not in self.labels:
                yield f"classes.{label}: maps to nothing, it is none of labels: {', '.join(self.labels)}"
        categories = dict.fromkeys(self.classes.values())
        for category in categories:
            if category not in self.thresholds:
                yield f"thresholds.{category}: is missing: write floor and start, scores from 0 to 1"
        for category in self.thresholds:
            if category not in categories:
                yield f"thresholds.{category}: no label means {category}, see classes"

    @property
    def categories(self) -> tuple[Category, ...]:
        """What it finds, each once."""
        return tuple(dict.fromkeys(self.classes.values()))


def load_own(directory: Path, name: str) -> LoadedModel:
    """One detector below `directory`, read and proven, its head bound. Raises as the module's header says."""
    table = read_table(directory, name)
    folder = directory / name
    said_by = f"{name}/{SETTINGS_NAME}"
    files = NetworkFiles(
        ModelFiles.model_construct(
            precision="f32",
            devices=("CPU", "GPU"),
            graph=table.file,
            graph_sha256=table.sha256,
            weights=table.weights or "",
            weights_sha256=table.weights_sha256 or "",
        ),
        proven(folder, table.file, table.sha256, said_by),
        proven(folder, table.weights, table.weights_sha256 or "", said_by) if table.weights else b"",
    )
    try:
        return _loaded(name, table, files)
    except GraphFault as fault:
        raise _invalid(name, fault.lines) from None
    except ValidationError as error:
        raise _invalid(name, [sentence(item, _SEE, _advice) for item in error.errors()]) from None


def read_table(directory: Path, name: str) -> OwnModel:
    """The `model.toml` of a detector, checked by itself."""
    folder = directory / name
    if not (folder / SETTINGS_NAME).is_file():
        there = ", ".join(own_names(directory)) or "none"
        detail = f"{name}: there is no {folder / SETTINGS_NAME}. Detectors in {directory}: {there}."
        raise EquipmentError(Reason.MODEL_MISSING, "load model", detail)
    try:
        return OwnModel.model_validate(tomllib.loads(read_bounded(folder, SETTINGS_NAME).decode()))
    except ValidationError as error:
        raise _invalid(name, [sentence(item, _SEE, _advice) for item in error.errors()]) from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or beyond the library's own limits
        text = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        raise _invalid(name, [f"{SETTINGS_NAME} is not valid TOML: {text}"]) from None


def own_names(directory: Path) -> tuple[str, ...]:
    """The detectors that lie in a directory, sorted; none where it is not there."""
    try:
        return tuple(sorted(path.parent.name for path in directory.glob(f"*/{SETTINGS_NAME}")))
    except OSError:
        return ()


def _loaded(name: str, table: OwnModel, files: NetworkFiles) -> LoadedModel:
    reading = Reading(
        table.input.size, table.input.layout, table.input.mean, table.input.scales, table.file.endswith(".onnx")
    )
    size, outputs = bound(reading, files)
    facts = Facts(
        *size, len(table.labels), table.decode.first_label, table.decode.boxes == "shares", table.decode.anchors
    )
    try:
        family, decode = bind(outputs, facts, table.family)
    except ValueError as error:
        raise GraphFault([str(error)]) from None
    tile = min(size)
    entry = ModelEntry.model_construct(
        name=name,
        categories=table.categories,
        head=family,
        source=ModelSource(origin=table.origin, licence=table.licence),
        files=(files.entry,),
        input=CanvasLayout(
            element_type="u8",
            layout="NHWC",
            colour=table.input.colour,
            multiple=1,
            width_px=size[0],
            height_px=size[1],
            stretched=table.input.resize == "plain",
            pad=table.input.pad,
        ),
        thresholds=table.thresholds,
        merge=MergeTable.model_validate(_MERGE | dict(table.merge)),
        views={
            profile: ViewTable.model_validate(_views(profile, tile) | dict(table.views.get(profile, {})))
            for profile in ("thorough", "balanced")
        },
        measured={},
    )
    head = Head(tuple(output_name(place) for place in range(len(outputs))), _decoding(decode, table))
    return LoadedModel(
        entry,
        (files,),
        head=head,
        read=lambda core, same: read_graph(core, reading, same),
        particulars={"own": table.model_dump(mode="json", exclude={"views", "merge", "thresholds"})},
    )


def _decoding(decode: Decode, table: OwnModel) -> Callable[[Maps, float], tuple[HitArray, ...]]:
    """What a head is asked: the hits of each category, in the entry's order, of all labels that mean it."""
    meant = [
        [table.labels.index(label) for label, other in table.classes.items() if other is category]
        for category in table.categories
    ]

    def decoded(maps: Maps, floor: float) -> tuple[HitArray, ...]:
        found = decode(list(maps.values()), floor)
        return tuple(np.concatenate([found.of(label) for label in labels]) for labels in meant)

    return decoded


def _views(profile: str, tile_px: int) -> dict[str, Any]:
    """How a network of this input is shown pictures: photos on many levels, frames of a video once, in few tiles."""
    is_thorough = profile == "thorough"
    return {
        "largest_scale": 2.0 if is_thorough else 1.0,
        "magnified_pixels": 3_000_000 if is_thorough else 1_000_000,
        "finest_pixels": 1_000_000_000 if is_thorough else 1_000_000,
        "ratio": 2.0,
        "whole_px": tile_px,
        "tile_px": tile_px,
        "overlap_px": max(tile_px // 4, 20),
        "smallest_px": tile_px / 40,
        "largest_px": tile_px * 0.6,
        "variants": ("plain",),
        "variant_pixels": 4_000_000,
    }


def _advice(key: str, item: ErrorDetails) -> str | None:
    if key == "sha256" or key.endswith("_sha256"):
        return "write the 64 hexadecimal digits that `sha256sum` prints"
    if key in ("input.colour", "input.scale") and item["type"] == "missing":
        return {
            "input.colour": 'is missing: write "RGB" or "BGR", as the network was trained',
            "input.scale": "is missing: write what values of pixels are divided by: 255.0 for 0 to 1, 1.0 for 0 to 255",
        }[key]
    if key == "input.size":
        return f"write the input's width and height, such as [640, 640]; each at least {_LEAST_SIDE_PX}"
    if key == "licence" and item["type"] == "missing":
        return "is missing: write the licence under which you may use the model"
    return None


def _invalid(name: str, lines: list[str]) -> EquipmentError:
    detail = "\n".join(f"{name}: {line}" for text in lines for line in text.splitlines())
    return EquipmentError(Reason.MODEL_INVALID, "load model", detail)
