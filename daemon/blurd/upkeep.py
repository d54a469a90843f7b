"""What `watch` does around the copies: receipts of refusals and beside copies, batches, retention, samples.

`FolderUpkeep` is a folder keeper's, in its thread; `Upkeep` is the supervisor's.
"""

import time
from collections.abc import Callable, Collection, Mapping

from blurd import __version__
from blurd.adapters.files import stamp_of
from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.ledger import Ledger
from blurd.adapters.store import SqliteJobStore
from blurd.config import FolderSettings, Settings
from blurd.core.receipts import ReceiptValue
from blurd.errors import EquipmentError
from blurd.events import Event
from blurd.records import Job
from blurd.retention import STOP_S, RetentionThread
from blurd.sampling import Sampler
from blurd.stages.batches import Batches, BatchTerms
from blurd.stages.receipt import put_sidecars, write_outcomes
from blurd.stages.settle import Settler, walk


class FolderUpkeep:
    """Around the copies of one folder. Belongs to one thread, and to one opened queue."""

    def __init__(
        self, settings: Settings, folder: FolderSettings, store: SqliteJobStore, emit: Callable[[Event], None]
    ) -> None:
        self._settings, self._folder, self._store = settings, folder, store
        self._ledger = Ledger(settings.receipts_path)
        terms = BatchTerms(folder.batch_quiet_s, folder.batch_marker, folder.mode)
        self._batches = Batches(folder.key, terms, store, emit)

    def receipt(self, job: Job) -> Mapping[str, ReceiptValue]:
        """What the folder adds to the receipt of a job that is about to be published."""
        folder = self._folder
        if folder.sidecar_receipts:
            self._store.want_sidecar(job.id)
        return {
            "version": __version__,
            "mask_style": str(folder.mask.style),
            "originals": folder.originals,
            "originals_days": folder.originals_days if folder.originals != "keep" else None,
            "outbound_days": folder.outbound_days or None,
        }

    def keep(self, settler: Settler, inbound: InboundFolder, outbound: OutboundFolder) -> None:
        """Once a round, after publishing. Raises as looking at inbound and writing outbound do."""
        put_sidecars(self._store, self._ledger, outbound, self._folder.key, self._folder.mode)
        self._batches.keep(inbound, outbound, settler.pending(), lambda name: self._files_of(inbound, name, settler))

    def _files_of(self, inbound: InboundFolder, name: str, settler: Settler) -> Collection[str] | None:
        """The files of a batch; None where one has no job for its very version, or a place can't be read."""
        files: list[str] = []
        unreadable: list[str] = []
        for path, status in walk(inbound, self._settings.watch.temporary_names, name, 1, unreadable.append):
            settler.beat()
            try:
                regions = inbound.regions_stamp(path)
            except EquipmentError:
                return None
            if not self._store.is_known(self._folder.key, path, stamp_of(status), regions):
                return None
            files.append(path)
        return None if unreadable else files


class Upkeep:
    """Around the whole appliance. Belongs to the supervisor."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self._ledger = Ledger(settings.receipts_path)
        self._sampler = Sampler()
        self._threads = [RetentionThread(settings, folder, emit) for folder in settings.folder]

    def start(self) -> None:
        """Begin with the retention."""
        for thread in self._threads:
            thread.start()

    def look(self, store: SqliteJobStore) -> None:
        """Called with every look of the supervisor. Raises `EquipmentError` where the state can't be used."""
        write_outcomes(store, self._ledger, __version__)
        self._sampler.look(store)

    def stop(self, store: SqliteJobStore) -> None:
        """End, not for long: what is under way is brought to an end at the next start."""
        for thread in self._threads:
            thread.ask_to_stop()
        deadline_s = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        write_outcomes(store, self._ledger, __version__)
        self._sampler.leave(store)
