"""Whom copies are for: the mode and the group of what is published, whatever the process's umask.

Invariants
* A copy has its folder's mode and group before it has its name. Whoever may read copies may enter the folders that are
  made for them, and whoever of those may remove them from outbound may do so there.
* A group that the settings name is given, or the folder pauses; that of outbound is given where we may.
* No mode with a set-group bit is ever asked for: the kernel lets folders inherit it.
"""

import grp
import os
import threading
from dataclasses import dataclass

from blurd.errors import EquipmentError, Reason

_umask_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sharing:
    """The mode of copies, and their group's number; None is the group of outbound."""

    mode: int
    group: int | None = None

    def folder_mode(self, outbound: int) -> int:
        """The mode of a folder that is made for copies, where outbound has the other one."""
        readers = self.mode & 0o044
        return 0o700 | self.mode | readers >> 2 | readers >> 1 & outbound

    def give(self, handle: int, outbound: int) -> None:
        """Give an open file or folder to the group. Raises GROUP_UNUSABLE, or `OSError`."""
        group = os.fstat(outbound).st_gid if self.group is None else self.group
        if os.fstat(handle).st_gid == group:
            return
        try:
            os.fchown(handle, -1, group)
        except PermissionError as error:
            if self.group is not None:
                raise EquipmentError(Reason.GROUP_UNUSABLE, "give to group") from error

    def share(self, handle: int, outbound: int) -> None:
        """Give an open file its group and its mode, and make that durable. Raises as `give` does."""
        self.give(handle, outbound)
        os.fchmod(handle, self.mode)
        os.fsync(handle)


def sharing(mode: int, group: str) -> Sharing:
    """Whom copies are for, by a group's name; "" is the group of outbound. Raises GROUP_UNUSABLE."""
    if not group:
        return Sharing(mode)
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise EquipmentError(Reason.GROUP_UNUSABLE, "find group") from error
    if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        raise EquipmentError(Reason.GROUP_UNUSABLE, "find group")
    return Sharing(mode, number)


def make_folder(parent: int, name: str, mode: int) -> bool:
    """Make a folder with exactly this mode, and the set-group bit if its parent has it; False where the name is taken.

    The umask is the process's, so it is put aside for a moment, under a lock. Whatever another thread makes in that
    moment has its mode named, or lies in the state directory, which nobody else enters. Not `chmod`: that would take
    the inherited bit away.
    """
    with _umask_lock:
        before = os.umask(0)
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            return False
        finally:
            os.umask(before)
    return True
