"""Documents built from bytes: every byte is a choice, so that a search over bytes walks over documents.

Random bytes are hardly ever JSON, and the JSON parser is not ours. What is built here is always a document; whether it
makes sense is what our checks must tell.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_ENTRIES = 12
MOST_DEPTH = 5
_NUMBERS = (
    0, 1, -1, 0.5, 1.0, 2, 3, 64, 65, 1e-9, 1e6, 1e7, -1e6, 1e308, 2**31, 2**63, 2**64, -(2**63), math.inf, math.nan,
)  # fmt: skip


@dataclass
class Choices:
    """Bytes, read one after the other; zeros behind the end."""

    data: bytes
    place: int = 0

    def byte(self) -> int:
        """The next byte."""
        self.place += 1
        return self.data[self.place - 1] if self.place <= len(self.data) else 0

    def of(self, several: Sequence[Any]) -> Any:
        """One of them."""
        return several[self.byte() % len(several)]

    def value(self, words: Sequence[str], depth: int = 0) -> Any:
        """Any document of numbers, words, lists and tables."""
        kind = self.byte() % (9 if depth < MOST_DEPTH else 6)
        if kind < 6:
            return self._plain(kind, words)
        count = self.byte() % MOST_ENTRIES
        if kind < 8:
            return [self.value(words, depth + 1) for _ in range(count)]
        return {self.of(words): self.value(words, depth + 1) for _ in range(count)}

    def _plain(self, kind: int, words: Sequence[str]) -> Any:
        if kind == 0:
            return self.of(_NUMBERS)
        if kind == 1:
            return self.byte() / 255
        if kind < 4:
            return self.of(words)
        return self.of((True, False, None)) if kind == 4 else self.of(words) + chr(self.byte())

    def changed(self, document: Any, words: Sequence[str]) -> Any:
        """A sound document of which some parts are replaced, doubled or left out."""
        choice = self.byte()
        if choice % 16 == 1:
            return self.value(words, MOST_DEPTH - 2)
        if isinstance(document, dict):
            made = {key: self.changed(value, words) for key, value in document.items() if self.byte() % 16 != 1}
            return made if choice % 16 != 2 else {**made, self.of(words): self.value(words, MOST_DEPTH - 1)}
        if isinstance(document, list):
            made_list = [self.changed(item, words) for item in document]
            return made_list if choice % 16 != 2 else made_list + made_list[: self.byte() % MOST_ENTRIES]
        return document


def as_json(document: Any) -> bytes:
    """As our JSON readers get it; infinities are written as JavaScript does, which they must refuse."""
    return json.dumps(document).encode()
