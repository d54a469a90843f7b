"""Where the paths of the settings lead, without waiting for a file system that does not answer."""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_RESOLVE_PATIENCE_S = 2.0


def resolve_all(paths: Sequence[Path]) -> Mapping[Path, Path]:
    """Each path through its links; as it is written where its file system does not answer, or it leads in a circle."""
    found: dict[Path, Path] = {}

    def resolve(path: Path) -> None:
        with suppress(OSError, RuntimeError):
            found[path] = path.resolve()

    threads = [threading.Thread(target=resolve, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + _RESOLVE_PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    return {path: found.get(path) or Path(os.path.normpath(path)) for path in paths}
