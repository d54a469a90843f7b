"""A file's own regions: `NAME.regions.json` beside the file, read and checked as a whole.

    {"unit": "share", "regions": [
        {"class": "face", "box": [0.1, 0.2, 0.3, 0.4], "from_s": 1.5, "to_s": 4},
        {"class": "region", "polygon": [[0, 0], [0.5, 0], [0.5, 0.5]]}]}

`unit` is `share` (of the upright picture's width and height, 0 to 1; the default) or `px`. `class` says for people what
lies there: region, face or plate. A box is left, top, right, bottom. Times count in seconds from the first frame; a
side that is left out is open.

Invariants
* At most `MOST_BYTES` are read, at most `MOST_REGIONS` regions taken; an unknown key is an error.
* It is opened as a source is: beneath the folder, through no link, a plain file only.

DIAGNOSTICS: `InputError` with REGIONS_INVALID for what lies in the file, SOURCE_CHANGED where it is not the expected
version, NO_PERMISSION or READ_ERROR where it can't be read.
"""

import codecs
import hashlib
import os
from dataclasses import dataclass
from typing import Annotated, BinaryIO, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder
from blurd.core.naming import regions_path
from blurd.core.polygons import MOST_CORNERS, fault
from blurd.core.zones import Region, Unit
from blurd.errors import InputError, Reason
from blurd.records import FileStamp, Point, same_regions

MOST_BYTES: Final = 4 << 20
MOST_REGIONS: Final = 1000
_FAR_PX: Final = 1e6
_LAST_S: Final = 1e7

_Number = Annotated[float, Field(ge=-_FAR_PX, le=_FAR_PX, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0.0, le=_LAST_S, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class FileRegions:
    """The regions of one file, and the SHA-256 of what they were read from; None where it has none of its own."""

    regions: tuple[Region, ...] = ()
    sha256: str | None = None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Region(_Table):
    label: Annotated[Literal["region", "face", "plate"], Field(alias="class")]
    polygon: Annotated[tuple[tuple[_Number, _Number], ...], Field(max_length=MOST_CORNERS)] | None = None
    box: tuple[_Number, _Number, _Number, _Number] | None = None
    from_s: _Seconds | None = None
    to_s: _Seconds | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (self.polygon is None) == (self.box is None):
            raise ValueError("a region has either a polygon or a box")
        wrong = fault(self.corners)
        if wrong is not None:
            raise ValueError(wrong)
        if self.box is not None and (self.box[0] >= self.box[2] or self.box[1] >= self.box[3]):
            raise ValueError("a box is left, top, right, bottom")
        if self.from_s is not None and self.to_s is not None and self.from_s > self.to_s:
            raise ValueError("from_s comes before to_s")
        return self

    @property
    def corners(self) -> tuple[Point, ...]:
        if self.box is None:
            return self.polygon or ()
        left, top, right, bottom = self.box
        return (left, top), (right, top), (right, bottom), (left, bottom)


class _Document(_Table):
    unit: Literal["share", "px"] = "share"
    regions: Annotated[tuple[_Region, ...], Field(max_length=MOST_REGIONS)]

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        numbers = (number for region in self.regions for corner in region.corners for number in corner)
        if self.unit == "share" and not all(0.0 <= number <= 1.0 for number in numbers):
            raise ValueError('shares lie between 0 and 1; for pixels write "unit": "px"')
        return self


def read_regions(
    inbound: InboundFolder, path: str, expected: FileStamp | None, *, allow_hard_links: bool
) -> FileRegions:
    """The regions of the file at `path`, as long as they are of the `expected` version."""
    found = inbound.regions_stamp(path)
    if not same_regions(found, expected):
        raise InputError(Reason.SOURCE_CHANGED, "open regions")
    if found is None:
        return FileRegions()
    with open_regions(inbound, path, allow_hard_links=allow_hard_links) as file:
        if not same_regions(stamp_of(os.fstat(file.fileno())), expected):
            raise InputError(Reason.SOURCE_CHANGED, "open regions")
        try:
            content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise InputError(Reason.READ_ERROR, "read regions") from error
    return FileRegions(parse_regions(content), hashlib.sha256(content).hexdigest())


def open_regions(inbound: InboundFolder, path: str, *, allow_hard_links: bool) -> BinaryIO:
    """The regions of the file at `path`, for reading."""
    try:
        return inbound.open(regions_path(path), allow_hard_links=allow_hard_links)
    except InputError as error:
        if error.reason in _ODD_OBJECTS:
            raise InputError(Reason.REGIONS_INVALID, "open regions") from error
        if error.reason is Reason.SOURCE_VANISHED:
            raise InputError(Reason.SOURCE_CHANGED, "open regions") from error
        raise


_ODD_OBJECTS = frozenset({Reason.SYMBOLIC_LINK, Reason.NOT_REGULAR, Reason.HARD_LINKED})


def parse_regions(content: bytes) -> tuple[Region, ...]:
    """The regions in a file's content. Raises `InputError(REGIONS_INVALID)` whose detail names the first fault."""
    if len(content) > MOST_BYTES:
        raise _invalid(f"It is larger than {MOST_BYTES >> 20} MiB.")
    try:
        document = _Document.model_validate_json(content.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        known = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]
        place = ".".join(str(part) for part in known) or "the file"
        raise _invalid(f"{place}: {first['msg']} (and {error.error_count() - 1} more).") from None
    unit = Unit(document.unit)
    return tuple(Region(item.corners, unit, item.box is not None, item.from_s, item.to_s) for item in document.regions)


def is_cut_off(file: BinaryIO) -> bool:
    """True where regions are not wholly written yet: nothing, or an object that is not closed."""
    content = file.read(MOST_BYTES + 1).removeprefix(codecs.BOM_UTF8).strip()
    return not content or (content.startswith(b"{") and not content.endswith(b"}") and len(content) < MOST_BYTES)


def _invalid(detail: str) -> InputError:
    return InputError(Reason.REGIONS_INVALID, "read regions", detail)
