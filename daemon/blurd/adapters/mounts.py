"""Mounts: where an open folder lies, in terms that survive a remount. Reads `/proc/self`, changes nothing.

Invariants
* The mount is the one that the handle was opened through (its mount id), not the one that a path seems to lie on.
* A bind mount of a folder onto itself (a service's sandbox makes such) does not change its place: the path is counted
  within the file system.
"""

import fcntl
import os
from pathlib import Path

from blurd.adapters.mount_table import Mount, mounts
from blurd.core.recognition import Place

_FS_IOC_GETFSUUID = 0x80111500
_UUID_BYTES = 16
_VOLATILE_KINDS = frozenset({"tmpfs", "ramfs"})
"""File systems that are made anew, with a UUID of their own, each time they are mounted."""
_KINDS_WITH_FSID = frozenset({"ext2", "ext3", "ext4", "btrfs"})
"""File systems whose `f_fsid` is made of the UUID; with others it is a device number, which means nothing."""


def place_of(handle: int) -> Place:
    """Where the open folder lies. Raises `OSError` where its mount is gone."""
    mount = _mount_of(handle)
    path = Path(f"/proc/self/fd/{handle}").readlink()
    below = os.path.relpath(path, mount.point)
    inside = os.path.normpath(os.path.join(mount.root, below))  # noqa: PTH118  `Path` keeps `..`
    return Place(mount.source, mount.kind, inside, _uuid_of(handle, mount.kind))


def _mount_of(handle: int) -> Mount:
    wanted = _mount_id(handle)
    found = next((mount for mount in mounts() if mount.number == wanted), None)
    if found is None:
        raise FileNotFoundError("the folder's mount is gone")
    return found


def _mount_id(handle: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return int(value)
    raise FileNotFoundError("the handle has no mount")


def _uuid_of(handle: int, kind: str) -> str | None:
    """The file system's UUID or what is made of it; None where it has none or the kernel does not tell (before 6.9)."""
    if kind in _VOLATILE_KINDS:
        return None
    if kind in _KINDS_WITH_FSID:
        return f"{os.fstatvfs(handle).f_fsid:016x}"
    answer = bytearray(1 + _UUID_BYTES)
    try:
        fcntl.ioctl(handle, _FS_IOC_GETFSUUID, answer)
    except OSError:
        return None
    return answer[1 : 1 + answer[0]].hex() or None
