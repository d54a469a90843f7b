"""A look at a pair of folders that may hang: made in a thread of its own, waited for only so long.

Invariants
* At most one look is under way; while it hangs, further questions are answered at once: no answer.
* The thread ends with its process; nothing waits for it.
"""

import threading
from collections.abc import Callable

from blurd.errors import EquipmentError

ANSWER_PATIENCE_S = 2.0
"""How long a folder that answers at all is given to do so."""


class FolderProbe:
    """Answers how much room a folder has; None while it can't be served or does not answer."""

    def __init__(self, name: str, look: Callable[[], int]) -> None:
        self._look = look
        self._wanted = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._room: int | None = None
        self._failure: Exception | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def room(self, patience_s: float) -> int | None:
        """Bytes of room, as `look` says now. Raises what `look` raises, `EquipmentError` apart."""
        if not self._answered.is_set():
            return None
        self._answered.clear()
        self._wanted.set()
        if not self._answered.wait(patience_s):
            return None
        if self._failure is not None:
            raise self._failure
        return self._room

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._room = self._failure = None
            try:
                self._room = self._look()
            except EquipmentError:
                self._room = None
            except Exception as failure:  # noqa: BLE001  raised again where the answer is wanted
                self._failure = failure
            self._answered.set()
