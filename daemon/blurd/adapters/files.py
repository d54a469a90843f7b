"""Single files: opening one beneath a folder without being led astray, and what its handle tells.

Invariants
* A path is opened from a folder's handle with `openat2`: beneath it, and through no symbolic link.
* Nothing here changes a file.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
from typing import BinaryIO

from blurd.records import FileStamp

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_SAFELY = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_TRIES_PER_OPEN = 16
_BLOCK = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(folder: int, path: str, flags: int) -> int:
    """`openat2(2)`: open `path` below the folder handle, through no link of any kind. Raises `OSError`."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_SAFELY)
    name = os.fsencode(path)
    for _ in range(_TRIES_PER_OPEN):
        handle = _libc.syscall(_SYS_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
        if handle >= 0:
            return int(handle)
        if ctypes.get_errno() != errno.EAGAIN:  # EAGAIN: a rename ran meanwhile, the kernel could not be sure
            break
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def status_beneath(folder: int, path: str) -> os.stat_result:
    """The status of whatever lies at `path` below the folder handle, a link's own where it is one. Raises `OSError`."""
    handle = open_beneath(folder, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def stamp_of(status: os.stat_result) -> FileStamp:
    """The identity of a file from its status."""
    return FileStamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def writer_gone(file: BinaryIO) -> bool | None:
    """False while a local process has the file open for writing; None where the file system can't tell.

    Asks for a read lease and gives it back at once. The process must ignore SIGIO: a writer that opens the file while
    the lease is held would else end it. Works for the file's owner, or with CAP_LEASE.
    """
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def fully_allocated(file: BinaryIO) -> bool | None:
    """False where the file has a hole: space set aside and not yet written. None where the file system can't tell.

    Blocks alone don't prove a hole (file systems compress), nor does a reported hole alone.
    """
    status = os.fstat(file.fileno())
    if status.st_size == 0 or status.st_blocks * 512 >= status.st_size:
        return True
    try:
        hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
    except OSError:
        return None
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return hole >= status.st_size


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 of a file's whole content, in hexadecimal; leaves the position at the start."""
    return _digest(file).hexdigest()


def source_hashes(file: BinaryIO, path: str) -> tuple[str, str]:
    """SHA-256 of a file's content, and of its content followed by its path; leaves the position at the start."""
    digest = _digest(file)
    content = digest.hexdigest()
    digest.update(os.fsencode(path))
    return content, digest.hexdigest()


def _digest(file: BinaryIO) -> "hashlib._Hash":
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return digest


def size_of(file: BinaryIO) -> int:
    """Length of a file's content in bytes, what is still in its buffer included."""
    file.flush()
    return os.fstat(file.fileno()).st_size


class FileReader:
    """Random access to an open file, for the container parsers."""

    def __init__(self, file: BinaryIO) -> None:
        self._handle = file.fileno()
        self.size = os.fstat(self._handle).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer at the end."""
        return os.pread(self._handle, length, offset)
