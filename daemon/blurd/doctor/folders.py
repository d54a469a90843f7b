"""The doctor's look at one pair of folders, made as the user who serves them.

Invariants
* Whatever is written is the doctor's own, hidden, and removed again: one file in inbound (`.blurd-doctor-PID`, which no
  scan takes), and one in the staging folder.
* The staging folder is never made: where blurd has not run yet, its user does not own what the doctor would make.
* A file system that does not answer holds up this process alone; whoever started it waits only so long.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blurd.adapters.files import writer_gone
from blurd.adapters.folders import OutboundFolder
from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.mounts import place_of
from blurd.adapters.watcher import FolderWatcher
from blurd.config import FolderSettings, Settings
from blurd.core.naming import STAGING_FOLDER
from blurd.doctor.finding import Finding, Health
from blurd.errors import REASONS, EquipmentError, Reason

PROBE_PREFIX = ".blurd-doctor-"
HINT_PATIENCE_S = 2.0
REMOTE_KINDS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "glusterfs", "lustre"})
"""File systems whose other users change things that no notification tells of; and all that begin with `fuse`."""


def examine_folder(settings: Settings, folder: FolderSettings) -> Iterator[Finding]:
    """Everything that can be said of one pair of folders by the user who calls."""
    guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
    yield from _inbound(settings, folder, guard)
    yield from _outbound(folder, guard)


def _subject(folder: FolderSettings, side: str) -> str:
    return f"folder {folder.name}, {side}"


def _wrong(subject: str, reason: Reason, mend: str) -> Finding:
    return Finding(subject, Health.WRONG, REASONS[reason].meaning, mend)


def _mend_missing(path: Path) -> str:
    return f"mount the share at {path}, or create it: install -d -m 2770 -g GROUP {path}"


def _access(path: Path) -> str:
    """A command that lets blurd's user in; GROUP is the group of those who use the share."""
    return f"usermod -a -G GROUP blurd; chgrp GROUP {path}; chmod g+rwxs {path}; systemctl restart blurd.target"


# -- inbound ----------------------------------------------------------------------------------------------------------


def _inbound(settings: Settings, folder: FolderSettings, guard: KnownFolders) -> Iterator[Finding]:
    subject, path = _subject(folder, "inbound"), folder.inbound
    if not path.is_dir():
        yield _wrong(subject, Reason.INBOUND_MISSING, _mend_missing(path))
        return
    if not os.access(path, os.R_OK | os.X_OK):
        yield Finding(subject, Health.WRONG, f"{path} can't be read by {_me()}.", _access(path))
        return
    try:
        inbound = guard.open_inbound()
    except EquipmentError as error:
        yield _wrong(subject, error.reason, REASONS[error.reason].remedy)
        return
    with inbound:
        kind = _kind(path)
        yield Finding(subject, Health.WELL, f"{path} is there and readable ({kind}).")
        yield from _notifications(settings, subject, path, kind)
        yield from _leases(subject, path)


def _notifications(settings: Settings, subject: str, path: Path, kind: str) -> Iterator[Finding]:
    """Whether a new file is noticed at once: one is written, and its event waited for."""
    scan = f"new files are found by the scan every {settings.watch.rescan_s:g} s"
    if not settings.watch.notify:
        yield Finding(subject, Health.NOTE, f"Notifications are switched off: {scan}.", "set watch.notify = true")
        return
    if kind in REMOTE_KINDS or kind.startswith("fuse"):
        text = f"{kind} does not tell what others change: {scan}."
        yield Finding(subject, Health.NOTE, text, "set watch.rescan_s lower where that is too slow")
        return
    wake = threading.Event()
    watcher = FolderWatcher(path, wake)
    if not watcher.start():
        mend = "sysctl -w fs.inotify.max_user_watches=1048576 (and write it to /etc/sysctl.d/blurd.conf)"
        yield Finding(subject, Health.NOTE, f"The kernel gives no notifications here: {scan}.", mend)
        return
    try:
        with _probe(path):
            seen = wake.wait(HINT_PATIENCE_S)
    except OSError:
        text = "Notifications are on. They were not tried, because nothing may be written here."
        yield Finding(subject, Health.WELL, text)
        return
    finally:
        watcher.stop()
    if seen:
        yield Finding(subject, Health.WELL, "A new file is noticed at once.")
    else:
        text = f"A new file was not noticed: {scan}."
        yield Finding(subject, Health.NOTE, text, "set watch.rescan_s lower where that is too slow")


def _leases(subject: str, path: Path) -> Iterator[Finding]:
    """Whether a writer that pauses can be seen."""
    try:
        with _probe(path) as (name, writer), name.open("rb") as reader:
            open_seen = writer_gone(reader)
            writer.close()
            closed_seen = writer_gone(reader)
    except OSError:
        return
    if open_seen is False and closed_seen is True:
        yield Finding(subject, Health.WELL, "A file that is still being written is seen to be.")
    else:
        text = "Whether a file is still being written can't be seen here; that it rests for settle_s has to do."
        yield Finding(subject, Health.NOTE, text, "set settle_s to more than the longest pause of a copy, such as 60.0")


@contextmanager
def _probe(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A hidden file in the folder, open for writing. Raises `OSError` where it can't be made."""
    probe = path / f"{PROBE_PREFIX}{os.getpid()}"
    handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123  a handle is no path
            file.write(b"blurd doctor\n")
            file.flush()
            yield probe, file
    finally:
        with suppress(OSError):
            probe.unlink()


def _kind(path: Path) -> str:
    """The kind of the file system that the folder lies on."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return place_of(handle).kind
    finally:
        os.close(handle)


def _me() -> str:
    return f"user {os.geteuid()}" if os.geteuid() else "root"


# -- outbound ---------------------------------------------------------------------------------------------------------


def _outbound(folder: FolderSettings, guard: KnownFolders) -> Iterator[Finding]:
    subject, path = _subject(folder, "outbound"), folder.outbound
    if not path.is_dir():
        yield _wrong(subject, Reason.OUTBOUND_MISSING, _mend_missing(path))
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        mend = f"find out why (journalctl -k), then: mount -o remount,rw {path}"
        yield Finding(subject, Health.WRONG, f"{path} is mounted read-only.", mend)
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(subject, Health.WRONG, f"{path} can't be written by {_me()}.", _access(path))
        return
    if not os.path.lexists(path / STAGING_FOLDER):
        yield from _room(subject, folder, os.statvfs(path))
        yield Finding(subject, Health.NOTE, "Not tried: blurd has not staged anything here yet.", "start blurd")
        return
    try:
        outbound = guard.open_outbound()
    except EquipmentError as error:
        mend = REASONS[error.reason].remedy
        if error.reason is Reason.OUTBOUND_READ_ONLY:
            mend = f"chown -R blurd: {path / STAGING_FOLDER}; chmod 0700 {path / STAGING_FOLDER}"
        yield _wrong(subject, error.reason, mend)
        return
    with outbound:
        yield from _room(subject, folder, os.statvfs(path))
        yield from _publication(subject, folder, outbound)


def _room(subject: str, folder: FolderSettings, status: os.statvfs_result) -> Iterator[Finding]:
    free_mebibytes = (status.f_bavail * status.f_frsize) >> 20
    text = f"{free_mebibytes} MiB are free, {folder.reserve_mebibytes} MiB are the reserve."
    if free_mebibytes < folder.reserve_mebibytes:
        mend = f"make room: du -xhd1 {folder.outbound} | sort -h | tail"
        yield Finding(subject, Health.WRONG, f"The folder pauses: {text}", mend)
    elif free_mebibytes < 2 * folder.reserve_mebibytes:
        yield Finding(subject, Health.NOTE, f"Soon full: {text}", f"make room in {folder.outbound}")
    else:
        yield Finding(subject, Health.WELL, text)


def _publication(subject: str, folder: FolderSettings, outbound: OutboundFolder) -> Iterator[Finding]:
    """Stage a file and link it, within the staging folder: what publication does, and nobody sees it."""
    staged, linked = f"doctor-{os.getpid()}", f"doctor-{os.getpid()}-linked"
    try:
        with outbound.staged(staged, folder.mode) as file:
            file.write(b"blurd doctor\n")
        outbound.publish(staged, f"{STAGING_FOLDER}/{linked}")
        by_link = outbound.open_staged(staged)
        mode = _mode(outbound, linked)
    except EquipmentError as error:
        yield _wrong(subject, error.reason, _mend_publication(folder.outbound, error.reason))
        return
    finally:
        for name in (staged, linked):
            with suppress(OSError):
                outbound.remove_staged(name)
    way = "hard link" if by_link is not None else "rename that overwrites nothing (no hard links here)"
    if by_link is not None:
        by_link.close()
    yield Finding(
        subject, Health.WELL, f"{folder.outbound} takes copies, published by {way} ({_kind(folder.outbound)})."
    )
    if mode != folder.mode:
        text = f"Copies get the mode {mode:04o}, not output_mode = {folder.output_mode}: the file system sets its own."
        yield Finding(subject, Health.NOTE, text, "set file_mode, dir_mode and gid in the mount's options")


def _mode(outbound: OutboundFolder, name: str) -> int:
    file = outbound.open_staged(name)
    if file is None:
        raise EquipmentError(Reason.WRITE_ERROR, "look at staged")
    with file:
        return os.fstat(file.fileno()).st_mode & 0o777


def _mend_publication(path: Path, reason: Reason) -> str:
    if reason is Reason.OUTBOUND_NO_LINKS:
        return "use a file system with hard links for outbound (ext4, XFS, btrfs, NFS, or SMB mounted from Linux)"
    if reason is Reason.OUTBOUND_FULL:
        return f"make room, or raise the quota: df -h {path}; df -i {path}"
    if reason is Reason.OUTBOUND_READ_ONLY:
        return _access(path)
    return "journalctl -k -n 50"
