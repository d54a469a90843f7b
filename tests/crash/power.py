"""A power cut, as cruel as the rules allow: of what processes left, all that was not synced is taken back.

Invariant: a name that was made, moved or taken away counts from the sync of its folder, content from the sync of its
file. The database syncs for itself: what it committed stays.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any


def undo_unsynced(notes: Sequence[Mapping[str, Any]]) -> None:  # noqa: C901  one case for each operation
    """Undo what the notes of `entry.Operations` say was done and not synced."""
    names: dict[str, list[Callable[[], None]]] = {}
    content: dict[str, int] = {}
    for note in sorted(notes, key=lambda item: item["at"]):
        path = note.get("path", "")
        folder = os.path.dirname(path)  # noqa: PTH120
        match note["operation"]:
            case "fsync":
                names.pop(path, None)
                content.pop(path, None)
            case "create" if note["new"]:
                names.setdefault(folder, []).append(partial(_gone, path))
                content[path] = 0
            case "link" | "mkdir":
                names.setdefault(folder, []).append(partial(_gone, path))
            case "write":
                content.setdefault(path, note["size"])
            case "unlink" if note["kept"] is not None:
                names.setdefault(folder, []).append(partial(_back, note["kept"], path))
            case "rename":
                names.setdefault(folder, []).append(partial(_moved_back, path, note["before"]))
    for path, size in content.items():
        if os.path.lexists(path):
            os.truncate(path, size)
    for changes in names.values():
        for change in reversed(changes):
            change()


def _gone(path: str) -> None:
    if not os.path.lexists(path):
        return
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for below in os.listdir(path):  # noqa: PTH208
            _gone(os.path.join(path, below))  # noqa: PTH118
        os.rmdir(path)  # noqa: PTH106
    else:
        os.unlink(path)  # noqa: PTH108


def _back(kept: str, path: str) -> None:
    if not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)):  # noqa: PTH112, PTH120
        os.link(kept, path)


def _moved_back(path: str, before: str) -> None:
    if os.path.lexists(path):
        os.rename(path, before)  # noqa: PTH104
