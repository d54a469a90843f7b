"""Damaged versions of a file: cut, flipped, zeroed, doubled, shortened, moved, spliced, with wrong lengths."""

import random
from collections.abc import Callable, Mapping, Sequence

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEAD_BYTES = 600
"""Most of what a format says of itself stands here, or as near to the end."""


def _place(data: bytes, chance: random.Random) -> int:
    """Anywhere; as likely as not near the start or the end."""
    near = min(HEAD_BYTES, len(data))
    choice = chance.random()
    if choice < 0.35:
        return chance.randrange(near)
    return len(data) - 1 - chance.randrange(near) if choice < 0.5 else chance.randrange(len(data))


def _piece(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = _place(data, chance)
    return start, min(len(data), start + chance.choice((1, 4, 16, 64, 300, max(1, len(data) // 5))))


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _number in range(chance.choice((1, 1, 3, 10, 40))):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _zero(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _piece(data, chance)
    return data[:start] + bytes(end - start) + data[end:]


def _double(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _piece(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 1, 5, 200 if end - start < 100 else 1)) + data[end:]


def _shorten(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _piece(data, chance)
    return data[:start] + data[end:]


def _move(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _piece(data, chance)
    rest, target = data[:start] + data[end:], chance.randrange(len(data))
    return rest[:target] + data[start:end] + rest[target:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    start, end = _piece(other, chance)
    place = _place(data, chance)
    return data[:place] + other[start:end] + data[place + chance.choice((0, end - start)) :]


def _length(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """A number of 1, 2 or 4 bytes, as likely one that is small now as one anywhere, becomes an extreme one."""
    width = chance.choice((1, 2, 4))
    place = min(_place(data, chance), max(0, len(data) - width))
    number = chance.choice((*EXTREMES, len(data), len(data) + 1, chance.getrandbits(8 * width)))
    number %= 1 << 8 * width
    return data[:place] + number.to_bytes(width, chance.choice(("big", "little"))) + data[place + width :]


KINDS: Mapping[str, Callable[[bytes, Sequence[bytes], random.Random], bytes]] = {
    "cut": _cut,
    "flip": _flip,
    "zero": _zero,
    "double": _double,
    "shorten": _shorten,
    "move": _move,
    "splice": _splice,
    "length": _length,
}
_OFTEN = ("flip", "flip", "length", "length", "length", "zero", "double", "shorten", "move", "splice", "splice", "cut")


def mutant(data: bytes, others: Sequence[bytes], seed: str) -> tuple[str, bytes]:
    """The kind of damage, and the damaged file; the same seed gives the same one."""
    chance = random.Random(seed)  # noqa: S311
    kind = chance.choice(_OFTEN)
    for _ in range(20):
        made = KINDS[kind](data, others, chance)
        if made != data:
            return kind, made
    return "cut", data[: len(data) // 2]
