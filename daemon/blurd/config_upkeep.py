"""Settings of what happens around a copy: receipts beside it, batches that are complete, retention. Part of a policy.

Invariant: nothing here shapes a copy, so nothing here is a part of a policy's hash.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Days = Annotated[float, Field(ge=0.0, le=36_500.0)]
_LONGEST_MARKER_BYTES = 200


class UpkeepPolicy(BaseModel):
    """Keys of `[defaults]` and of each `[[folder]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    originals: Literal["keep", "archive", "delete"] = "keep"
    originals_days: Days = 30.0
    archive: str = ""
    outbound_days: Days = 0.0
    sidecar_receipts: bool = False
    batch_marker: str = ""
    batch_quiet_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0

    @field_validator("archive")
    @classmethod
    def _absolute_or_none(cls, value: str) -> str:
        if value and not Path(value).is_absolute():
            raise ValueError('write an absolute path, beginning with /, or "" for a folder below inbound')
        if "\0" in value:
            raise ValueError("no path holds a zero byte")
        return value

    @field_validator("batch_marker")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        plain = value.isprintable() and "/" not in value and not value.startswith(".")
        if not plain or len(value.encode()) > _LONGEST_MARKER_BYTES:
            raise ValueError('write a file\'s name without a folder, such as "complete.json", or "" for none')
        return value

    @property
    def archive_elsewhere(self) -> Path | None:
        """The archive, where originals are to be archived and it does not lie below inbound."""
        return Path(self.archive) if self.originals == "archive" and self.archive else None

    @property
    def retains(self) -> bool:
        """True where something is ever taken away."""
        return self.originals != "keep" or self.outbound_days > 0
