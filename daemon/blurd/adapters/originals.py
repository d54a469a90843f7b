"""Taking originals out of inbound: aside, then into the archive, away, or back.

How: `.blurd-originals` in inbound, mode 0700, on the same mount, left out of every scan. `retiring/N` holds a file that
is being taken away, where nobody can change it by its name; `archive/` holds what is archived here, in the same tree.

Invariants
* A file is looked at only once it was taken aside: what is deleted is what was looked at.
* Nothing is overwritten; what goes back finds its own name, or the next free one like it.
* Every rename is durable when its method returns, as far as the file system keeps what is synced.

DIAGNOSTICS: `EquipmentError` with INBOUND_READ_ONLY where inbound can't be written, INBOUND_MISSING where it is gone.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from blurd.adapters.files import open_beneath
from blurd.adapters.folders import InboundFolder, rename_without_overwriting
from blurd.adapters.sharing import make_folder
from blurd.adapters.trouble import MOUNT_GONE
from blurd.core.naming import ORIGINALS_FOLDER, candidates
from blurd.errors import EquipmentError, Reason

_RETIRING = f"{ORIGINALS_FOLDER}/retiring"
_ARCHIVE = f"{ORIGINALS_FOLDER}/archive"


class OriginalsFolder(InboundFolder):
    """An inbound folder from which originals are taken."""

    def take_aside(self, path: str, number: int) -> bool:
        """Take a file out of everybody's reach; False where it is gone."""
        head, _, name = path.rpartition("/")
        with _taking("take aside"):
            try:
                source = open_beneath(self._handle, head or ".", os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return False
                raise
            try:
                target = self._folder(_RETIRING)
                try:
                    os.rename(name, str(number), src_dir_fd=source, dst_dir_fd=target)
                    os.fsync(target)
                    os.fsync(source)
                except FileNotFoundError:
                    return False
                finally:
                    os.close(target)
            finally:
                os.close(source)
        return True

    def open_aside(self, number: int) -> BinaryIO | None:
        """What was taken aside, for reading; None where nothing was, or it is no file."""
        with _taking("look aside"):
            try:
                handle = open_beneath(
                    self._handle, f"{_RETIRING}/{number}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    return None
                raise
            return os.fdopen(handle, "rb")

    def put_back(self, number: int, path: str) -> None:
        """Give a file its name back, or the next free one like it: it is then taken for a new one."""
        head, _, name = path.rpartition("/")
        self._move(number, head, name)

    def archive_aside(self, number: int, path: str) -> None:
        """Move what was taken aside into the archive below inbound, under its path or the next free one like it."""
        head, _, name = path.rpartition("/")
        self._move(number, f"{_ARCHIVE}/{head}" if head else _ARCHIVE, name)

    def delete_aside(self, number: int) -> None:
        """Delete what was taken aside."""
        with _taking("delete"):
            folder = self._folder(_RETIRING)
            try:
                os.unlink(str(number), dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)

    def _move(self, number: int, head: str, name: str) -> None:
        with _taking("move"):
            source, target = self._folder(_RETIRING), self._folder(head)
            try:
                if not any(rename_without_overwriting(source, str(number), target, free) for free in candidates(name)):
                    raise EquipmentError(Reason.INBOUND_READ_ONLY, "find free name")
                os.fsync(target)
                os.fsync(source)
            finally:
                os.close(source)
                os.close(target)

    def _folder(self, path: str) -> int:
        """A handle on a folder below inbound, made where missing, for blurd alone; through no link."""
        handle = os.dup(self._handle)
        for part in filter(None, path.split("/")):
            try:
                if make_folder(handle, part, stat.S_IRWXU):
                    os.fsync(handle)
                below = open_beneath(handle, part, os.O_RDONLY | os.O_DIRECTORY)
            finally:
                os.close(handle)
            handle = below
        return handle


@contextmanager
def _taking(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        gone = error.errno in MOUNT_GONE
        raise EquipmentError(Reason.INBOUND_MISSING if gone else Reason.INBOUND_READ_ONLY, operation) from error
