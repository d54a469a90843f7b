"""The two folders of a pair: opening inbound files, staging, and publication by link.

Invariants
* Inbound paths are opened beneath the folder, through no symbolic link, without blocking; only a regular file is ever
  handed out.
* A staged file lies in `.blurd/` (mode 0700) inside outbound: same mount as its final place, invisible to the share.
* What is published has the folder's mode and group, whatever the umask: `sharing.py`.
* Publication never overwrites: a hard link, or `renameat2(RENAME_NOREPLACE)` where the file system has no links.
* A published name is durable when `publish` returns: the file was synced by `staged`, its folder is synced here.
  (POSIX does not promise that a synced file's name survives; syncing the folder does, on the file systems of Linux.)

DIAGNOSTICS: `InputError` for what lies in inbound, `EquipmentError` for what is wrong with a folder or a disk.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from blurd.adapters.files import open_beneath, sha256_of, stamp_of, status_beneath
from blurd.adapters.sharing import Sharing, make_folder
from blurd.adapters.trouble import MOUNT_GONE, open_reason, writing
from blurd.core.naming import OUTBOUND_MARKER, STAGING_FOLDER, candidates, regions_path
from blurd.errors import BlurdError, EquipmentError, InputError, Reason
from blurd.records import FileStamp

_RENAME_NOREPLACE = 1
_MARKER_NAME = OUTBOUND_MARKER.rpartition("/")[2]
_NOTHING_THERE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.ENAMETOOLONG})
_NO_LINK_ERRORS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})

Admit = Callable[[int], None]
"""Asked with a folder's handle before anything is done there; raises where it is not the right one."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Folder:
    """A handle on a folder, for as long as a `with` block."""

    def __init__(self, path: Path, missing: Reason, admit: Admit | None) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise EquipmentError(missing, "open folder") from error
        if admit is not None:
            try:
                admit(self._handle)
            except BaseException:
                os.close(self._handle)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the handle."""
        os.close(self._handle)


class InboundFolder(_Folder):
    """A handle on an inbound folder. Paths are relative, with `/`, as the scan gave them."""

    def __init__(self, path: Path, admit: Admit | None = None) -> None:
        super().__init__(path, Reason.INBOUND_MISSING, admit)

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
            if error.errno in MOUNT_GONE:
                raise EquipmentError(Reason.INBOUND_MISSING, "open source") from error
            raise InputError(open_reason(error.errno), "open source") from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise InputError(Reason.NOT_REGULAR, "open source")
        if status.st_nlink > 1 and not allow_hard_links:
            os.close(handle)
            raise InputError(Reason.HARD_LINKED, "open source")
        return os.fdopen(handle, "rb")

    def status(self, path: str) -> os.stat_result | None:
        """The status of whatever lies at the path, a link's own where it is one; None where nothing does.

        Raises `EquipmentError` with NO_PERMISSION, READ_ERROR or INBOUND_MISSING where that can't be told.
        """
        try:
            return status_beneath(self._handle, path)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                return None
            reason = Reason.INBOUND_MISSING if error.errno in MOUNT_GONE else open_reason(error.errno)
            raise EquipmentError(reason, "look at source") from error

    def regions_stamp(self, path: str) -> FileStamp | None:
        """The stamp of whatever lies where a file's own regions would; None where nothing does."""
        status = self.status(regions_path(path))
        return None if status is None else stamp_of(status)


class OutboundFolder(_Folder):
    """A handle on an outbound folder and on its staging folder.

    `staging` is where the staging folder is reached instead, by a process that may write nothing else of outbound.
    Without `sharing`, copies keep the mode that they were staged with, and get outbound's group where we may give it.
    """

    def __init__(
        self, path: Path, admit: Admit | None = None, *, staging: Path | None = None, sharing: Sharing | None = None
    ) -> None:
        super().__init__(path, Reason.OUTBOUND_MISSING, admit)
        self._sharing = sharing
        try:
            self._staging = self._make_staging() if staging is None else _open_staging(staging)
        except BlurdError:
            super().close()
            raise
        if not os.access(".", os.W_OK, dir_fd=self._staging, effective_ids=True):
            self.close()
            raise EquipmentError(Reason.OUTBOUND_READ_ONLY, "open staging")
        status = os.fstat(self._staging)
        if status.st_uid == os.geteuid() and status.st_mode & 0o077:
            os.fchmod(self._staging, 0o700)  # somebody else made it, or opened it: what lies there is not verified

    def _make_staging(self) -> int:
        with writing("make staging"):
            if make_folder(self._handle, STAGING_FOLDER, 0o700):
                os.fsync(self._handle)
            return open_beneath(self._handle, STAGING_FOLDER, os.O_RDONLY | os.O_DIRECTORY)

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
            try:
                yield file
                with writing("finish staged"):
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                    os.fsync(self._staging)
            finally:
                with suppress(OSError):  # what could not be written fails once more here, and is told already
                    file.close()
        except BaseException:
            with suppress(OSError):  # what stays is found when the staging folder is cleaned
                self.remove_staged(name)
            raise

    def open_staged(self, name: str) -> BinaryIO | None:
        """A staged file for reading; None where it is gone."""
        with writing("open staged"):
            try:
                return os.fdopen(open_beneath(self._staging, name, os.O_RDONLY), "rb")
            except FileNotFoundError:
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
        """Names in the staging folder, the folder's marker left out."""
        with writing("list staging"):
            names = os.listdir(self._staging)  # noqa: PTH208  a handle is no path
        return tuple(name for name in names if name != _MARKER_NAME)

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
            folder = self._make_folders(head, self._share(staged))
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

    def is_content(self, path: str, sha256: str) -> bool:
        """True where a file with this content lies at the path below outbound."""
        return _is_content(self.open_published(path), sha256)

    def withdraw(self, path: str, sha256: str, aside: str) -> bool:
        """Remove a published copy with this content; False where another content lies there, which is left alone.

        It is first taken into the staging folder as `aside`, looked at there, and put back where it is another file
        after all. Repeatable after a cut at any step.
        """
        with writing("withdraw"):
            head, _, name = path.rpartition("/")
            if self.is_content(path, sha256):
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

    def _share(self, staged: str) -> Sharing:
        """Give a staged file the mode and the group that its published name is to have. Repeatable."""
        handle = open_beneath(self._staging, staged, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            sharing = self._sharing or Sharing(stat.S_IMODE(os.fstat(handle).st_mode))
            sharing.share(handle, self._handle)
        finally:
            os.close(handle)
        return sharing

    def _make_folders(self, path: str, sharing: Sharing | None = None) -> int:
        """A handle on a folder below outbound, made where missing for those whom copies are for; through no link."""
        handle = os.dup(self._handle)
        mode = 0o700 if sharing is None else sharing.folder_mode(os.fstat(handle).st_mode)
        for part in filter(None, path.split("/")):
            below = -1
            try:
                made = make_folder(handle, part, mode)
                below = open_beneath(handle, part, os.O_RDONLY | os.O_DIRECTORY)
                if made:
                    if sharing is not None:
                        sharing.give(below, self._handle)
                    os.fsync(handle)
            except BaseException:
                if below >= 0:
                    os.close(below)
                raise
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
        try:
            return rename_without_overwriting(self._staging, staged, folder, name)
        except OSError as error:
            if error.errno in _NO_LINK_ERRORS:
                raise EquipmentError(Reason.OUTBOUND_NO_LINKS, "publish") from error
            raise


def rename_without_overwriting(folder: int, name: str, new_folder: int, new_name: str) -> bool:
    """`renameat2(2)` with RENAME_NOREPLACE; False where the new name is taken. Raises `OSError`."""
    if _libc.renameat2(folder, os.fsencode(name), new_folder, os.fsencode(new_name), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    raise OSError(code, os.strerror(code))


def _open_staging(path: Path) -> int:
    """A handle on a staging folder that is reached by a path of its own. Raises OUTBOUND_READ_ONLY."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise EquipmentError(Reason.OUTBOUND_READ_ONLY, "open staging") from error


def _is_content(file: BinaryIO | None, sha256: str) -> bool:
    """True for an opened file with this content; closes it."""
    if file is None:
        return False
    with file:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and sha256_of(file) == sha256
