"""The guard: what libraries raise, warn and print is turned into reasons, and none of their text goes anywhere.

Libraries raise almost anything over hostile input, so the guard names the families of exceptions; an exception of our
own passes through. Some C libraries print to file descriptor 2; `captured` takes that away, and for libjpeg it is the
only way to learn that the data was corrupt: it reports, repairs silently and goes on.

Invariants
* Leaves only `BlurdError` (and what is none of the named families, a fault of ours).
* `captured` redirects the descriptor of the whole process, so only one thread may be in it at a time (a lock sees to
  that), and what another thread prints to descriptor 2 meanwhile is lost. The log must have a descriptor of its own.
"""

import errno
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
from PIL import Image

from blurd.core.containers.reader import ParseError
from blurd.errors import BlurdError, EquipmentError, InputError, Reason

_MAX_CAPTURED_BYTES = 64 << 10
MAX_OUTPUT_BYTES = 1 << 32
_LIBRARY_ERRORS = (
    ParseError, OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError,
    RuntimeError, AssertionError, struct.error, zlib.error, cv2.error, Image.DecompressionBombError,
)  # fmt: skip
_NO_MEMORY = -4
_LOCK = threading.Lock()

# The limits on pixels are ours and are checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def decoding(operation: str) -> Iterator[None]:
    """Whatever a library raises over a file's content becomes `DAMAGED`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BlurdError:
        raise
    except MemoryError:
        raise BlurdError(Reason.OUT_OF_MEMORY, operation) from None
    except _LIBRARY_ERRORS as error:
        if isinstance(error, cv2.error) and error.code == _NO_MEMORY:
            raise BlurdError(Reason.OUT_OF_MEMORY, operation) from None
        raise InputError(Reason.DAMAGED, operation) from None


@contextmanager
def encoding(operation: str) -> Iterator[None]:
    """Whatever a library raises over a good picture is a fault of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BlurdError:
        raise
    except MemoryError:
        raise BlurdError(Reason.OUT_OF_MEMORY, operation) from None
    except _LIBRARY_ERRORS:
        raise BlurdError(Reason.INTERNAL_ERROR, operation) from None


@contextmanager
def captured() -> Iterator[list[bytes]]:
    """Collect what is printed to descriptor 2; the list holds it, cut at 64 KiB, when the context ends."""
    texts: list[bytes] = []
    # A file in memory: a sandboxed worker may have no folder for temporary files.
    with _LOCK, os.fdopen(os.memfd_create("captured"), "w+b") as sink:
        try:
            before = os.dup(2)
        except OSError:
            before = -1
        os.dup2(sink.fileno(), 2)
        try:
            yield texts
        finally:
            if before >= 0:
                os.dup2(before, 2)
                os.close(before)
            else:
                os.close(2)
            sink.seek(0)
            texts.append(sink.read(_MAX_CAPTURED_BYTES))


def write(target: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write everything to the target; trouble with it is the equipment's."""
    try:
        target.write(data)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            reason = Reason.OUTBOUND_FULL
        elif error.errno == errno.EROFS:
            reason = Reason.OUTBOUND_READ_ONLY
        else:
            reason = Reason.WRITE_ERROR
        raise EquipmentError(reason, "write the copy") from error


def read_all(file: BinaryIO, limit: int) -> bytes:
    """The whole file; `TOO_LARGE` above the limit, which is looked at before reading."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size > limit:
            raise InputError(Reason.TOO_LARGE, "read the image")
        data = file.read(size + 1)  # not the limit: Python sets aside what is asked for
    except OSError as error:
        raise EquipmentError(Reason.READ_ERROR, "read the image") from error
    if len(data) > limit:
        raise InputError(Reason.TOO_LARGE, "read the image")
    if not data:
        raise InputError(Reason.EMPTY_FILE, "read the image")
    return data
