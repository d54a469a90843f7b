"""The settings of what tells others how blurd does: metrics and alerts."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Table(BaseModel):
    """A table of the settings: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricsSettings(Table):
    """`[metrics]`: a file for node_exporter's textfile collector."""

    directory: str = ""
    every_s: Annotated[float, Field(ge=1.0, le=3600.0)] = 15.0

    @field_validator("directory")
    @classmethod
    def _nowhere_or_absolute(cls, value: str) -> str:
        if value and (not value.startswith("/") or "\0" in value):
            raise ValueError('write an absolute path, beginning with /, or "" for no metrics')
        return value

    @property
    def place(self) -> Path | None:
        """The directory, if any."""
        return Path(self.directory) if self.directory else None


class AlertSettings(Table):
    """`[alerts]`: what is told, and how often at most; a folder's own thresholds stand in its policy."""

    enabled: bool = False
    repeat_hours: Annotated[float, Field(ge=0.0, le=8760.0)] = 6.0
    paused_minutes: Annotated[float, Field(ge=0.0, le=10_080.0)] = 5.0
    worker_missing_minutes: Annotated[float, Field(ge=0.0, le=10_080.0)] = 10.0
    worker_deaths: Annotated[int, Field(ge=1, le=1000)] = 3
