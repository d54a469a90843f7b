"""Compiled networks on disk, so that a worker need not compile them at every start.

Why not OpenVINO's own cache: it does not check what it reads. One flipped bit in a stored network goes unnoticed and
changes what is found. Here a file begins with the SHA-256 of the rest.

Invariants
* What `load` returns was saved under the same key, bit for bit; everything else is thrown away.
* A file is complete or not there (written aside, then renamed), so several workers may share a directory.
* Trouble with the directory never raises: the network is compiled anew.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".compiled"
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class ModelCache:
    """Compiled networks below `directory`; without one nothing is kept."""

    directory: Path | None

    def load(self, name: str, key: str) -> bytes | None:
        """The network saved under this name and key; None where there is none, or none that is whole."""
        if self.directory is None:
            return None
        try:
            stored = self._path(self.directory, name, key).read_bytes()
        except OSError:
            return None
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            return content
        self.discard(name, key)
        return None

    def save(self, name: str, key: str, content: bytes) -> None:
        """Keep a network, in place of any other of this name, if the directory lets it."""
        if self.directory is None:
            return
        target = self._path(self.directory, name, key)
        aside = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(hashlib.sha256(content).digest() + content)
            aside.replace(target)
            for older in self.directory.glob(f"{name}-*{SUFFIX}*"):
                if older != target:
                    older.unlink(missing_ok=True)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def discard(self, name: str, key: str) -> None:
        """Throw away what is saved under this name and key."""
        if self.directory is not None:
            with contextlib.suppress(OSError):
                self._path(self.directory, name, key).unlink(missing_ok=True)

    @staticmethod
    def _path(directory: Path, name: str, key: str) -> Path:
        return directory / f"{name}-{key}{SUFFIX}"
