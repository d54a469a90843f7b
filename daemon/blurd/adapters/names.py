"""Digests that take the place of file names in the queue, once those are erased.

A digest is HMAC-SHA-256 over the folder's name and the path, under a key of this state directory (`names.key`, mode
0600). Who has the queue alone can't tell the name from it, nor try names out; who still has the file can be
recognised by it, together with the file's size and time of change, which stay in the queue.

Invariants
* A digest begins with a zero byte, which no path holds, so a column tells by itself which of the two it has.
* A key is made once, durably, before the first name is erased. A queue whose key is lost can't recognise its files any
  more: it is begun anew from the receipts (`stages/rebuild.py`).

DIAGNOSTICS: `OSError`, for the caller to translate.
"""

import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

KEY_NAME = "names.key"
KEY_BYTES = 32
_MARK = b"\0"


def load_key(directory: Path) -> bytes | None:
    """The key of a state directory; None where there is none. Raises `OSError` where it can't be read."""
    try:
        key = (directory / KEY_NAME).read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == KEY_BYTES else None


def make_key(directory: Path) -> bytes:
    """Make the key durably; it is written aside and renamed, so it is whole or not there."""
    aside = directory / f"{KEY_NAME}.new"
    with suppress(FileNotFoundError):
        aside.unlink()
    key = secrets.token_bytes(KEY_BYTES)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, key)
        os.fsync(handle)
    finally:
        os.close(handle)
    aside.rename(directory / KEY_NAME)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


def proof_of(key: bytes) -> bytes:
    """What the queue keeps to tell this key from another; the key can't be had from it."""
    return hmac.digest(key, b"this key", "sha256")


def digest_of(key: bytes, folder: str, path: bytes) -> bytes:
    """What takes a path's place; 33 bytes."""
    return _MARK + hmac.digest(key, folder.encode() + _MARK + path, "sha256")


def is_digest(value: bytes) -> bool:
    """True for what took a path's place."""
    return value.startswith(_MARK)


def recognised(key: bytes | None, folder: str, paths: Iterable[str]) -> Mapping[bytes, str]:
    """Each path by its digest; nothing without a key."""
    return {} if key is None else {digest_of(key, folder, os.fsencode(path)): path for path in paths}
