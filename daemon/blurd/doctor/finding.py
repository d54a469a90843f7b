"""What the doctor finds: one value a thing looked at.

Invariants
* A finding that is not well says what is wrong and, in `mend`, the command (or the setting) that mends it.
* A finding may quote the settings (paths, names of folders); it never quotes the name of a file in a folder.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Health(StrEnum):
    """How well a thing is."""

    WELL = "ok"
    NOTE = "note"
    """Worth knowing: slower or blinder than it could be, but nothing is lost or shown."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `subject` is what (`models`, `folder photos`)."""

    subject: str
    health: Health
    text: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The finding that `as_json` gave. Raises `ValueError` or `TypeError` for anything else."""
        return cls(**{**values, "health": Health(values["health"])})
