"""All that lies below an outbound folder."""

import stat
from collections.abc import Iterator
from contextlib import suppress

from blurd.adapters.folders import InboundFolder
from blurd.core.naming import STAGING_FOLDER


def sizes_below(outbound: InboundFolder, path: str = "") -> Iterator[tuple[str, int]]:
    """Path and size of every file below outbound, staging left out; what can't be read is passed over."""
    with suppress(OSError):
        for name, status in outbound.entries(path):
            below = f"{path}/{name}" if path else name
            if below == STAGING_FOLDER:
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from sizes_below(outbound, below)
            else:
                yield below, status.st_size
