"""Retention in its own time: one thread for each folder whose settings take something away. Part of `watch`.

Apart from the folder's keeper, for files are read as a whole before they go, and nothing else is to wait for that.

Invariants
* Folders are opened and recognised anew for every round, as the keeper does, and let go between rounds.
* Trouble pauses the retention of the folder, is told once, and passes by itself; it never pauses the folder.
* A thread that hangs in a file system, or is busy with a large file, does not hold up the end of the process: what it
  began stands in the queue, and is brought to an end at the next start.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from blurd.adapters.known_folders import KnownFolders
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.adapters.tree import sizes_below
from blurd.config import FolderSettings, Settings
from blurd.errors import BlurdError, EquipmentError, Reason
from blurd.events import Event
from blurd.stages.retain import Due, Retainer, RetentionTerms, due_copies, due_originals
from blurd.stages.settle import walk
from blurd.upkeep_events import RetentionPaused, RetentionResumed

EVERY_S = 60.0
STOP_S = 1.0


def terms_of(folder: FolderSettings) -> RetentionTerms:
    """What a folder's settings say."""
    return RetentionTerms(
        originals_days=None if folder.originals == "keep" else folder.originals_days,
        archives=folder.originals == "archive",
        outbound_days=folder.outbound_days or None,
        hard_links=folder.hard_links,
    )


class RetentionThread(threading.Thread):
    """Takes away what is due in one folder."""

    def __init__(self, settings: Settings, folder: FolderSettings, emit: Callable[[Event], None]) -> None:
        super().__init__(name=f"retention-{folder.name}", daemon=True)
        self._settings, self._folder, self._emit = settings, folder, emit
        self._ledger = Ledger(settings.receipts_path)
        self._stopping = threading.Event()
        self._paused: Reason | None = None

    def ask_to_stop(self) -> None:
        """End after the current file."""
        self._stopping.set()

    def run(self) -> None:
        """A round now and then, until asked to stop."""
        while not self._stopping.is_set():
            try:
                with closing(SqliteJobStore(self._settings.queue_path)) as store:
                    self._round(store)
            except BlurdError as error:
                self._tell(error.reason)
            except OSError:  # a folder went away while its entries were read
                self._tell(Reason.READ_ERROR)
            else:
                self._tell(None)
            self._stopping.wait(EVERY_S)

    def _round(self, store: SqliteJobStore) -> None:
        terms, state, folder = terms_of(self._folder), self._settings.state.directory, self._folder
        guard = KnownFolders(state, folder.key, folder.inbound, folder.outbound, adopts=False)
        begun = bool(store.retiring(folder.key))
        if not folder.retains and not begun:
            return
        with ExitStack() as opened:
            originals = opened.enter_context(guard.open_originals())
            outbound = opened.enter_context(guard.open_outbound())
            archive = None
            if folder.archive_elsewhere is not None:
                place = KnownFolders.of_archive(state, folder.key, folder.archive_elsewhere, adopts=True)
                try:
                    archive = opened.enter_context(place.open_outbound())
                except EquipmentError as error:
                    raise EquipmentError(Reason.ARCHIVE_UNUSABLE, "open archive") from error
            retainer = Retainer(folder.key, terms, store, self._ledger, originals, outbound, archive, self._emit)
            retainer.resume()
            if terms.originals_days is not None:
                files = walk(originals, self._settings.watch.temporary_names)
                for due in self._unless_stopped(
                    due_originals(store, folder.key, originals, files, terms.originals_days)
                ):
                    retainer.retire_original(due)
            if terms.outbound_days is not None:
                with guard.read_outbound() as lying:
                    copies = list(sizes_below(lying))
                for due in self._unless_stopped(due_copies(store, folder.key, copies, terms.outbound_days)):
                    retainer.retire_copy(due)

    def _unless_stopped(self, due: Iterator[Due]) -> Iterator[Due]:
        for item in due:
            if self._stopping.is_set():
                return
            yield item

    def _tell(self, reason: Reason | None) -> None:
        if self._stopping.is_set() or reason is self._paused:
            return
        self._emit(RetentionResumed(self._folder.key) if reason is None else RetentionPaused(self._folder.key, reason))
        self._paused = reason


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be taken away now, in one folder; None where its folders can't be looked at."""

    folder: FolderSettings
    originals: tuple[Due, ...] | None
    copies: tuple[Due, ...] | None


def forecast(settings: Settings, store: SqliteJobStore) -> Iterator[Forecast]:
    """Look at every folder, and change nothing."""
    for folder in settings.folder:
        terms = terms_of(folder)
        guard = KnownFolders(settings.state.directory, folder.key, folder.inbound, folder.outbound, adopts=False)
        originals: tuple[Due, ...] | None = ()
        copies: tuple[Due, ...] | None = ()
        if terms.originals_days is not None:
            try:
                with guard.open_inbound() as inbound:
                    files = walk(inbound, settings.watch.temporary_names)
                    originals = tuple(due_originals(store, folder.key, inbound, files, terms.originals_days))
            except EquipmentError:
                originals = None
        if terms.outbound_days is not None:
            try:
                with guard.read_outbound() as lying:
                    copies = tuple(due_copies(store, folder.key, sizes_below(lying), terms.outbound_days))
            except EquipmentError:
                copies = None
        yield Forecast(folder, originals, copies)
