"""What the operating system's errors mean for a job: its own fault, the folder's, or the disk's.

Invariant: trouble while writing never blames the input; trouble with a mount never blames a file.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from blurd.errors import EquipmentError, Reason

MOUNT_GONE = frozenset(
    {errno.ENODEV, errno.ENOTCONN, errno.ESTALE, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT}
)
"""What a file system answers that has lost its server, its disk or its daemon."""


def open_reason(code: int | None) -> Reason:
    """Why a file below inbound could not be opened or looked at."""
    if code in (errno.ENOENT, errno.ENOTDIR):
        return Reason.SOURCE_VANISHED
    if code in (errno.ELOOP, errno.EXDEV):
        return Reason.SYMBOLIC_LINK
    if code in (errno.ENXIO, errno.EISDIR):
        return Reason.NOT_REGULAR
    if code in (errno.EACCES, errno.EPERM):
        return Reason.NO_PERMISSION
    return Reason.READ_ERROR


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
    **dict.fromkeys(MOUNT_GONE, Reason.OUTBOUND_MISSING),
}
