"""Figures in Prometheus' text format, version 0.0.4.

Invariants
* Names follow Prometheus' rules: base units (seconds, bytes, ratios), `_total` at the end of counters and nowhere else.
* Every figure has its HELP and its TYPE, and no series stands twice.
* A label's value is one of our own words, or a folder's name: no text from a file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

_NAME = re.compile(r"blurd(_[a-z0-9]+)+\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]*\Z")
_VALUE = re.compile(r"[A-Za-z0-9_.+-]*\Z")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric: its name, kind, what it means, and its series. Raises `ValueError` where it breaks the rules."""

    name: str
    kind: Literal["gauge", "counter"]
    meaning: str
    series: Mapping[Labels, float]

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or self.name.endswith("_total") != (self.kind == "counter"):
            raise ValueError(f"{self.name} is no name of a {self.kind}")
        for labels in self.series:
            for label, value in labels:
                if not _LABEL.match(label) or not _VALUE.match(value):
                    raise ValueError(f"{self.name} has a label that may hold text")


def labels(**values: str) -> Labels:
    """Labels in their order."""
    return tuple(values.items())


def exposition(figures: Iterable[Figure]) -> str:
    """The file's text. A metric without series has its HELP and TYPE all the same."""
    return "".join(f"{line}\n" for figure in figures for line in _lines(figure))


def _lines(figure: Figure) -> Iterator[str]:
    yield f"# HELP {figure.name} {figure.meaning}"
    yield f"# TYPE {figure.name} {figure.kind}"
    for series, value in figure.series.items():
        listed = ",".join(f'{label}="{text}"' for label, text in series)
        yield f"{figure.name}{{{listed}}} {value!r}" if listed else f"{figure.name} {value!r}"
