"""The two folders of a pair: opening inbound files, staging, and publication by link.

Invariants
* Inbound paths are opened beneath the folder, through no symbolic link, without blocking; only a regular file is ever
  handed out.
* A staged file lies in `.blurd/` (mode 0700) inside outbound: same mount as its final place, invisible to the share.
* Publication never overwrites: a hard link, or `renameat2(RENAME_NOREPLACE)` where the file system has no links.
* A published name is durable when `publish` returns: the file was synced by `staged`, its folder is synced here.
  (POSIX does not promise that a synced file's name survives; syncing the folder does, on the file systems of Linux.)

DIAGNOSTICS: `InputError` for what lies in inbound, `EquipmentError` for what is wrong with a folder or a disk.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from blurd.adapters.files import open_beneath, sha256_of, stamp_of, status_beneath
from blurd.core.naming import STAGING_FOLDER, candidates, regions_path
from blurd.errors import BlurdError, EquipmentError, InputError, Reason
from blurd.records import FileStamp

_RENAME_NOREPLACE = 1
_NOTHING_THERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.ENAMETOOLONG})
_NO_LINK_ERRORS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})

_libc = ctypes.CDLL(None, use_errno=True)


class _Folder:
    """A handle on a folder, for as long as a `with` block."""

    def __init__(self, path: Path, missing: Reason) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise EquipmentError(missing, "open folder") from error
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the handle."""
        os.close(self._handle)

    def is_current(self) -> bool:
        """False where the path now names another folder (unmounted, remounted, replaced)."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._handle))
        except OSError:
            return False


class InboundFolder(_Folder):
    """A handle on an inbound folder. Paths are relative, with `/`, as the scan gave them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Reason.INBOUND_MISSING)

    def entries(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """Name and status (of the entry itself, links not followed) of all that lies in one folder below."""
        handle = open_beneath(self._handle, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(handle) as found:
                for entry in found:
                    try:
                        yield entry.name, entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
        finally:
            os.close(handle)

    def open(self, path: str, *, allow_hard_links: bool) -> BinaryIO:
        """Open a regular file for reading.

        Raises `InputError` with SOURCE_VANISHED, SYMBOLIC_LINK, NOT_REGULAR, HARD_LINKED, NO_PERMISSION or READ_ERROR.
        """
        try:
            handle = open_beneath(self._handle, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise InputError(_open_reason(error.errno), "open source") from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise InputError(Reason.NOT_REGULAR, "open source")
        if status.st_nlink > 1 and not allow_hard_links:
            os.close(handle)
            raise InputError(Reason.HARD_LINKED, "open source")
        return os.fdopen(handle, "rb")

    def status(self, path: str) -> os.stat_result | None:
        """The status of whatever lies at the path, a link's own where it is one; None where nothing does."""
        try:
            return status_beneath(self._handle, path)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            raise EquipmentError(Reason.READ_ERROR, "look at source") from error

    def regions_stamp(self, path: str) -> FileStamp | None:
        """The stamp of whatever lies where a file's own regions would; None where nothing does."""
        status = self.status(regions_path(path))
        return None if status is None else stamp_of(status)


def _open_reason(code: int | None) -> Reason:
    if code in (errno.ENOENT, errno.ENOTDIR):
        return Reason.SOURCE_VANISHED
    if code in (errno.ELOOP, errno.EXDEV):
        return Reason.SYMBOLIC_LINK
    if code in (errno.ENXIO, errno.ENODEV, errno.EISDIR):
        return Reason.NOT_REGULAR
    if code in (errno.EACCES, errno.EPERM):
        return Reason.NO_PERMISSION
    return Reason.READ_ERROR


class OutboundFolder(_Folder):
    """A handle on an outbound folder and on its staging folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Reason.OUTBOUND_MISSING)
        try:
            with writing("make staging"):
                try:
                    os.mkdir(STAGING_FOLDER, 0o700, dir_fd=self._handle)
                    os.fsync(self._handle)
                except FileExistsError:
                    pass
                self._staging = open_beneath(self._handle, STAGING_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
        except BlurdError:
            super().close()
            raise

    def close(self) -> None:
        """Release the handles."""
        os.close(self._staging)
        super().close()

    def free_bytes(self) -> int:
        """Bytes that an unprivileged user may still write."""
        status = os.fstatvfs(self._handle)
        return status.f_bavail * status.f_frsize

    # -- staging ------------------------------------------------------------------------------------------------------

    @contextmanager
    def staged(self, name: str, mode: int) -> Iterator[BinaryIO]:
        """A new, empty staged file, open for writing and reading.

        On leaving it is given its final mode and made durable; after an error it is removed instead.
        """
        with writing("create staged"):
            self.remove_staged(name)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.fdopen(os.open(name, flags, 0o600, dir_fd=self._staging), "w+b")
        try:
            with file:
                yield file
                with writing("finish staged"):
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                    os.fsync(self._staging)
        except BaseException:
            self.remove_staged(name)
            raise

    def open_staged(self, name: str) -> BinaryIO | None:
        """A staged file for reading; None where it is gone."""
        try:
            return os.fdopen(open_beneath(self._staging, name, os.O_RDONLY), "rb")
        except OSError:
            return None

    def remove_staged(self, name: str) -> None:
        """Remove a staged file, if there."""
        try:
            os.unlink(name, dir_fd=self._staging)
        except FileNotFoundError:
            return

    def remove_staging(self) -> None:
        """Remove the staging folder where it is empty (after a run without a daemon)."""
        try:
            os.rmdir(STAGING_FOLDER, dir_fd=self._handle)
        except OSError:
            return  # somebody else stages here

    def staged_names(self) -> tuple[str, ...]:
        """Names in the staging folder."""
        with writing("list staging"):
            return tuple(os.listdir(self._staging))  # noqa: PTH208  a handle is no path

    # -- publication --------------------------------------------------------------------------------------------------

    def free_name(self, target: str, staged: str) -> str:
        """The first of the target's candidate names that is free, or that already is this staged file."""
        status = self._status(STAGING_FOLDER + "/" + staged)
        for candidate in candidates(target):
            found = self._status(candidate)
            if found is None or (status is not None and os.path.samestat(found, status)):
                return candidate
        raise EquipmentError(Reason.WRITE_ERROR, "find free name")

    def copies(self, target: str, size: int, sha256: str) -> Iterator[str]:
        """The target's candidate names, as far as they are taken, under which this very content lies."""
        for candidate in candidates(target):
            status = self._status(candidate)
            if status is None:
                return
            if status.st_size == size and _is_content(self.open_published(candidate), sha256):
                yield candidate

    def is_taken(self, path: str) -> bool:
        """True where something lies at the path below outbound."""
        return self._status(path) is not None

    def publish(self, staged: str, target: str) -> bool:
        """Link a staged file to its final name and sync; False where the name was taken meanwhile.

        The staged name stays until `remove_staged`, except where the file system has no hard links.
        """
        with writing("publish"):
            head, _, name = target.rpartition("/")
            folder = self._make_folders(head)
            try:
                if not self._link(staged, folder, name):
                    return False
                os.fsync(folder)
            finally:
                os.close(folder)
        return True

    def is_published(self, staged: str, target: str) -> bool:
        """True where the final name already is this staged file."""
        ours, found = self._status(STAGING_FOLDER + "/" + staged), self._status(target)
        return ours is not None and found is not None and os.path.samestat(ours, found)

    def open_published(self, target: str) -> BinaryIO | None:
        """A file below outbound for reading; None where there is none."""
        try:
            return os.fdopen(open_beneath(self._handle, target, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except OSError:
            return None

    def withdraw(self, path: str, sha256: str, aside: str) -> bool:
        """Remove a published copy with this content; False where another content lies there, which is left alone.

        It is first taken into the staging folder as `aside`, looked at there, and put back where it is another file
        after all. Repeatable after a cut at any step.
        """
        with writing("withdraw"):
            head, _, name = path.rpartition("/")
            if _is_content(self.open_published(path), sha256):
                folder = open_beneath(self._handle, head or ".", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=self._staging)
                    os.fsync(folder)
                finally:
                    os.close(folder)
            if self._status(f"{STAGING_FOLDER}/{aside}") is None:
                return not self.is_taken(path)
            if _is_content(self.open_staged(aside), sha256):
                os.unlink(aside, dir_fd=self._staging)
                os.fsync(self._staging)
                return True
            self._put_back(aside, head, name)
        return False

    def _put_back(self, aside: str, head: str, name: str) -> None:
        """Give somebody else's file its name back, where that is still free; else it stays aside."""
        folder = self._make_folders(head)
        try:
            self._rename(aside, folder, name)
            os.fsync(folder)
        finally:
            os.close(folder)

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return status_beneath(self._handle, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            if error.errno == errno.ELOOP:  # a link lies there: the name is taken, by something that is not ours
                return os.stat(STAGING_FOLDER, dir_fd=self._handle, follow_symlinks=False)
            raise EquipmentError(Reason.WRITE_ERROR, "look at outbound") from error

    def _make_folders(self, path: str) -> int:
        """A handle on a folder below outbound, made where missing; through no link."""
        handle = os.dup(self._handle)
        for part in filter(None, path.split("/")):
            try:
                os.mkdir(part, 0o777, dir_fd=handle)
                os.fsync(handle)
            except FileExistsError:
                pass
            try:
                below = open_beneath(handle, part, os.O_RDONLY | os.O_DIRECTORY)
            finally:
                os.close(handle)
            handle = below
        return handle

    def _link(self, staged: str, folder: int, name: str) -> bool:
        try:
            os.link(staged, name, src_dir_fd=self._staging, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINK_ERRORS:
                raise
            return self._rename(staged, folder, name)
        return True

    def _rename(self, staged: str, folder: int, name: str) -> bool:
        done = _libc.renameat2(self._staging, os.fsencode(staged), folder, os.fsencode(name), _RENAME_NOREPLACE)
        if done == 0:
            return True
        code = ctypes.get_errno()
        if code == errno.EEXIST:
            return False
        if code in _NO_LINK_ERRORS:
            raise EquipmentError(Reason.OUTBOUND_NO_LINKS, "publish")
        raise OSError(code, os.strerror(code))


def _is_content(file: BinaryIO | None, sha256: str) -> bool:
    """True for an opened file with this content; closes it."""
    if file is None:
        return False
    with file:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and sha256_of(file) == sha256


@contextmanager
def writing(operation: str) -> Iterator[None]:
    """Translate errors of writing below outbound into reasons that pause the folder and never blame the input."""
    try:
        yield
    except OSError as error:
        raise EquipmentError(_WRITE_REASONS.get(error.errno or 0, Reason.WRITE_ERROR), operation) from error


_WRITE_REASONS = {
    errno.ENOSPC: Reason.OUTBOUND_FULL,
    errno.EDQUOT: Reason.OUTBOUND_FULL,
    errno.EROFS: Reason.OUTBOUND_READ_ONLY,
    errno.EACCES: Reason.OUTBOUND_READ_ONLY,
    errno.EPERM: Reason.OUTBOUND_READ_ONLY,
    errno.ENOENT: Reason.OUTBOUND_MISSING,
    errno.ENODEV: Reason.OUTBOUND_MISSING,
    errno.ENOTCONN: Reason.OUTBOUND_MISSING,
    errno.ESTALE: Reason.OUTBOUND_MISSING,
}
