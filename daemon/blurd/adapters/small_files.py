"""Small files that others read while they are written: whole, or not there.

Invariant: a reader finds the old text or the new one. Its name begins with a dot until it is whole, and ends with
`.new`, which no collector of metrics and no sender of alerts looks at.
"""

import os
from pathlib import Path


def replace(path: Path, text: str, mode: int, *, durable: bool = False) -> None:
    """Put a text in the file's place, with these permissions whatever the umask. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
