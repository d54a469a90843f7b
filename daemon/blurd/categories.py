"""What is looked for: faces, plates, and the classes that an owner's own detectors add. Pure.

Invariants
* There is one object for each name, so `is` compares; this holds through pickling and copying too.
* A name is a setting, not somebody's data: a lower-case letter, then up to 31 of a-z, 0-9, `-`, `_`. It may be logged.
"""

import re
from collections.abc import Iterator
from typing import ClassVar

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")


class _Listed(type):
    """Lets the class be gone through, and counted, as the classes that blurd brings itself."""

    def __iter__(cls) -> Iterator["Category"]:
        return iter((Category.FACE, Category.PLATE))

    def __len__(cls) -> int:
        return len(tuple(iter(cls)))


class Category(str, metaclass=_Listed):
    """What a detector looks for. Going through the class gives `face` and `plate`; others come from the settings."""

    __slots__ = ()

    FACE: ClassVar["Category"]
    PLATE: ClassVar["Category"]
    _made: ClassVar[dict[str, "Category"]] = {}

    def __new__(cls, text: str) -> "Category":  # noqa: PYI034  nothing is derived from it
        known = cls._made.get(text)
        if known is None:
            if not _NAME.match(text):
                raise ValueError("a class's name is a lower-case letter, then up to 31 of a-z, 0-9, - and _")
            known = cls._made.setdefault(str(text), super().__new__(cls, text))
        return known


Category.FACE = Category("face")
Category.PLATE = Category("plate")
