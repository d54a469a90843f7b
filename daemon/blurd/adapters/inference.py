"""Inference with OpenVINO: the `Detector` port over the networks of a `ModelSet`.

Invariants
* The same picture gives the same detections: views are decoded in their order, whatever finishes first, and one device
  does all the work. OpenVINO's own AUTO device, which moves from CPU to GPU while it runs, is not used.
* AUTO takes a GPU where one is usable, else the CPU. A GPU that was named and is not there, that can't take a model, or
  that fails over a picture is replaced by the CPU for the rest of the process, and `degraded` says so.
* The cache of compiled networks is a convenience: a damaged, full or unwritable one costs time, never a result.
* A GPU that does not answer within `_LONGEST_ANSWER_MS` counts as failed; its requests and networks are never touched
  again, not even to free them. (A CPU that hangs hangs the process, which the watcher ends.)
* Memory is bounded by the largest view, not by the picture: one view per request is in flight.

DIAGNOSTICS: `EquipmentError` with DETECTOR_FAILED (inference), MODEL_INVALID (a network can't be compiled, or has not
the outputs that its head reads), MODEL_MISSING (no model finds a wanted category). Of a library's exception only the
class is named.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Final

import cv2
import numpy as np
import openvino
from numpy.typing import NDArray

from blurd.adapters.model_cache import ModelCache
from blurd.adapters.models import InputLayout, LoadedModel, ModelSet, NetworkFiles, fingerprint
from blurd.adapters.own_graphs import is_ours
from blurd.adapters.selection import ALL, Selection
from blurd.core.geometry import HitArray, MergeRule, clip_hits, merge, moved, whole_pixels
from blurd.core.heads import HEADS, Head
from blurd.core.joining import Scale, join, rescaled
from blurd.core.views import View, ViewRule, views
from blurd.errors import EquipmentError, Reason
from blurd.records import Box, Category, Detection, RgbPicture

_MAX_REQUESTS: Final = 4
"""Views in flight at once, at most: each needs about 200 MiB for a view of 1280 x 1280 pixels."""
_KERNELS_KEPT: Final = 500
"""Compiled kernels that are kept for sizes of views that come again; some 60 and 4 MiB for each size and network."""
_LONGEST_ANSWER_MS: Final = 60_000
"""How long a GPU may take over the views in flight: some hundred times what it needs."""
_LIBRARY_ERRORS: Final = (RuntimeError, ValueError, TypeError, TimeoutError, cv2.error)
"""What OpenVINO and OpenCV raise. A lack of memory is none of them and goes through."""


@dataclass(frozen=True, slots=True)
class _Network:
    """A model compiled for the device in use, with all that it takes to use it."""

    model: LoadedModel
    files: NetworkFiles
    head: Head
    rule: ViewRule
    merging: MergeRule
    compiled: Any
    free: SimpleQueue[Any]
    """Requests that nobody uses."""
    patience_ms: int | None
    """How long a request may take; None where it is waited for without end."""

    @property
    def floor(self) -> float:
        """The lowest threshold of any of its categories."""
        return min(thresholds.floor for thresholds in self.model.entry.thresholds.values())

    def scale(self, category: Category) -> Scale:
        """What its scores mean."""
        thresholds = self.model.entry.thresholds[category]
        return Scale(thresholds.floor, thresholds.start)


class OpenVinoDetector:
    """Every network that the wanted categories need, as one detector. Built once per worker, for any of its threads.

    `device` is AUTO, CPU or GPU; `profile` names the view rules in the manifest; `threads` bounds inference on the
    CPU, 0 leaves it to the machine; without `cache_directory` models are compiled anew each time.
    """

    def __init__(
        self,
        models: ModelSet,
        *,
        categories: frozenset[Category],
        device: str,
        cache_directory: Path | None,
        profile: str,
        threads: int,
    ) -> None:
        missing = categories - models.categories
        if missing:
            detail = f"No model finds the class {', '.join(sorted(missing))}."
            raise EquipmentError(Reason.MODEL_MISSING, "choose model", detail)
        self._categories = categories
        self._models = tuple(model for model in models.models if categories.intersection(model.entry.categories))
        self._thresholds = models.start_threshold
        self._profile = profile
        self._threads = threads
        self._cache = ModelCache(cache_directory)
        self._core = openvino.Core()
        self._degraded = False
        self._falling_back = Lock()
        self._device = self._choose(device)
        self._networks: tuple[_Network, ...] = ()
        self._left: list[tuple[_Network, ...]] = []
        self._networks = self._load()

    @property
    def categories(self) -> frozenset[Category]:
        """What this detector finds."""
        return self._categories

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The models that look."""
        return self._models

    @property
    def device(self) -> str:
        """What inference runs on now: CPU or GPU."""
        return self._device

    @property
    def degraded(self) -> bool:
        """True where a GPU was to be used and the CPU does the work instead."""
        return self._degraded

    def output_shapes(self) -> tuple[tuple[str, str], ...]:
        """Every output of the networks by its name, with its shape."""
        return tuple(
            (min(output.get_names(), key=is_ours, default=""), str(output.partial_shape))
            for network in self._networks
            for output in network.compiled.outputs
        )

    @property
    def model_hash(self) -> str:
        """SHA-256 over the model files in use, their manifest entries and the view rules of the profile."""
        return self.hash_of(ALL)

    def hash_of(self, selection: Selection) -> str:
        """The same over the models of a selection."""
        return fingerprint(
            [
                {
                    "entry": network.model.entry.model_dump(
                        mode="json", include={"name", "categories", "head", "input", "thresholds", "merge"}
                    ),
                    "files": network.files.entry.model_dump(mode="json", include={"graph_sha256", "weights_sha256"}),
                    "views": asdict(network.rule),
                    **network.model.particulars,
                }
                for network in self._networks
                if selection.takes(network.model)
            ]
        )

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, where the settings name no other."""
        return self._thresholds(category)

    def detect(self, picture: RgbPicture, part: Box | None = None, selection: Selection = ALL) -> tuple[Detection, ...]:
        """All hits at or above the floors, one for each thing, best first within a category; in `part` alone if given.

        Of the selected models alone. Raises `EquipmentError(DETECTOR_FAILED)`.
        """
        networks = self._networks
        try:
            return self._detect(networks, picture, part, selection)
        except _LIBRARY_ERRORS as error:
            failure = _failed(error)
        with self._falling_back:
            if self._networks is networks:  # else another thread has met the failure before
                if self._device == "CPU":
                    raise failure from None
                self._fall_back()
        try:
            return self._detect(self._networks, picture, part, selection)
        except _LIBRARY_ERRORS as error:
            raise _failed(error) from None

    def rest(self) -> None:
        """Give back what only inference needs, kernels and intermediate results, while there is none."""
        for network in self._networks:
            network.compiled.release_memory()

    def _detect(
        self, networks: Sequence[_Network], picture: RgbPicture, part: Box | None, selection: Selection
    ) -> tuple[Detection, ...]:
        networks = [network for network in networks if selection.takes(network.model)]
        looks = [_Look(network, picture, part) for network in networks]
        try:
            for look in looks:
                look.start()
            found: dict[Category, list[tuple[_Network, HitArray]]] = {}
            for network, look in zip(networks, looks, strict=True):
                for category, hits in zip(network.model.entry.categories, look.hits(), strict=True):
                    if category in self._categories and selection.wants(category):
                        kept = hits[hits[:, 4] >= network.model.entry.thresholds[category].floor]
                        found.setdefault(category, []).append((network, kept))
        finally:
            for look in looks:
                look.abandon()
        return tuple(
            _detection(category, hit)
            for category, groups in found.items()
            for hit in _joined(category, sorted(groups, key=lambda group: selection.rank(group[0].model)))
        )

    def _choose(self, wanted: str) -> str:
        if wanted == "CPU":
            return "CPU"
        if any(name.split(".")[0] == "GPU" for name in self._core.available_devices):
            return "GPU"
        self._degraded = wanted == "GPU"
        return "CPU"

    def _load(self) -> tuple[_Network, ...]:
        try:
            return self._compile_all()
        except EquipmentError:
            if self._device == "CPU":
                raise
        self._fall_back()
        return self._networks

    def _fall_back(self) -> None:
        self._left.append(self._networks)  # freeing what a hanging driver holds would hang, too
        self._device, self._degraded = "CPU", True
        self._networks = self._compile_all()

    def _compile_all(self) -> tuple[_Network, ...]:
        return tuple(self._network(model) for model in self._models)

    def _network(self, model: LoadedModel) -> _Network:
        entry = model.entry
        files, table = model.files_for(self._device), entry.views.get(self._profile)
        if table is None or files is None:
            detail = f"{entry.name} has no views for the profile {self._profile}, or no files for {self._device}."
            raise EquipmentError(Reason.MODEL_INVALID, "compile model", detail)
        head = model.head or HEADS[entry.head]
        try:
            compiled = self._compile(model, files)
            names = {name for output in compiled.outputs for name in output.get_names()}
            free: SimpleQueue[Any] = SimpleQueue()
            for _ in range(_requests(compiled)):
                free.put(compiled.create_infer_request())
        except _LIBRARY_ERRORS as error:
            detail = f"{entry.name}: {type(error).__name__}."
            raise EquipmentError(Reason.MODEL_INVALID, "compile model", detail) from None
        if not names.issuperset(head.outputs):
            detail = f"{entry.name} lacks an output of the head {entry.head}."
            raise EquipmentError(Reason.MODEL_INVALID, "compile model", detail)
        patience_ms = None if self._device == "CPU" else _LONGEST_ANSWER_MS
        return _Network(model, files, head, table.rule(), entry.merge.rule(), compiled, free, patience_ms)

    def _compile(self, model: LoadedModel, files: NetworkFiles) -> Any:
        options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT", "PERFORMANCE_HINT_NUM_REQUESTS": _MAX_REQUESTS}
        if self._device == "CPU":
            options["CPU_RUNTIME_CACHE_CAPACITY"] = _KERNELS_KEPT
        if self._threads and self._device == "CPU":
            options["INFERENCE_NUM_THREADS"] = self._threads
        machine = str(self._core.get_property(self._device, "FULL_DEVICE_NAME"))
        entry = files.entry
        parts = [entry.graph_sha256, entry.weights_sha256, openvino.get_version(), machine, sorted(options.items())]
        parts += [model.particulars] if model.particulars else []
        name, key = f"{model.entry.name}-{self._device.lower()}", fingerprint(parts)
        stored = self._cache.load(name, key)
        if stored is not None:
            try:
                return self._core.import_model(stored, self._device, options)
            except _LIBRARY_ERRORS:
                self._cache.discard(name, key)
        graph = model.read(self._core, files) if model.read else self._core.read_model(files.graph, files.weights)
        compiled = self._core.compile_model(graph, self._device, options)
        self._cache.save(name, key, compiled.export_model().getvalue())
        return compiled


def _requests(compiled: Any) -> int:
    return min(_MAX_REQUESTS, int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))


def _failed(error: Exception) -> EquipmentError:
    return EquipmentError(Reason.DETECTOR_FAILED, "detect", f"{type(error).__name__}.")


def _joined(category: Category, groups: Sequence[tuple[_Network, HitArray]]) -> HitArray:
    """What the networks found of a category, on the scale of the first."""
    first = groups[0][0]
    scale = first.scale(category)
    return join([rescaled(hits, network.scale(category), scale) for network, hits in groups], first.merging)


def _detection(category: Category, hit: NDArray[np.float64]) -> Detection:
    left, top, right, bottom, score, *outline = hit.tolist()
    return Detection(category, Box(left, top, right, bottom), score, tuple(outline))


class _Look:
    """One network's way over a picture, or over a part of it: its views, started as requests are free.

    Whoever waits for a request while holding none of this network can't hold up those that he waits for: the networks
    are taken in the same order by all.
    """

    def __init__(self, network: _Network, whole: RgbPicture, part: Box | None) -> None:
        height_px, width_px = whole.shape[:2]
        shown = Box(0, 0, width_px, height_px) if part is None else part
        self._left, self._top = int(shown.left), int(shown.top)
        self._network = network
        self._picture = whole[self._top : int(shown.bottom), self._left : int(shown.right)]
        rows, columns = self._picture.shape[:2]
        self._views = views(columns, rows, network.rule, (width_px, height_px))
        self._next = next(self._views, None)
        self._running: deque[tuple[View, Any]] = deque()
        self._hangs = False

    def start(self) -> None:
        """Start as many views as there are free requests."""
        while self._next is not None:
            try:
                request = self._network.free.get(block=not self._running)
            except Empty:
                return
            try:
                request.start_async([_pixels(self._picture, self._next, self._network.model.entry.input)])
            except BaseException:
                self._network.free.put(request)
                raise
            self._running.append((self._next, request))
            self._next = next(self._views, None)

    def hits(self) -> tuple[HitArray, ...]:
        """The merged hits, in pixels of the whole picture, one array for each category of the network."""
        network = self._network
        found: list[list[HitArray]] = [[] for _ in network.model.entry.categories]
        while self._running:
            view, request = self._running[0]
            self._wait(request)
            maps = {name: request.get_tensor(name).data for name in network.head.outputs}
            layout = network.model.entry.input
            for hits, collected in zip(network.head.decode(maps, network.floor), found, strict=True):
                collected.append(view.to_picture(layout.to_view(hits, view.width_px, view.height_px)))
            self._running.popleft()
            network.free.put(request)
            self.start()
        height_px, width_px = self._picture.shape[:2]
        merged = (merge(clip_hits(np.concatenate(hits), width_px, height_px), network.merging) for hits in found)
        return tuple(moved(whole_pixels(hits), self._left, self._top) for hits in merged)

    def abandon(self) -> None:
        """Give the requests back, whatever became of them."""
        while self._running:
            _, request = self._running.popleft()
            with suppress(*_LIBRARY_ERRORS):
                self._wait(request)
            self._network.free.put(request)

    def _wait(self, request: Any) -> None:
        patience_ms = self._network.patience_ms
        if patience_ms is None:
            request.wait()
        elif self._hangs or not request.wait_for(patience_ms):
            self._hangs = True
            raise TimeoutError


def _pixels(picture: RgbPicture, view: View, layout: InputLayout) -> NDArray[np.uint8]:
    """The view as the network is fed it: (1, rows, columns, 3), black to the right and below up to the multiple."""
    part: NDArray[Any] = picture[view.top : view.bottom, view.left : view.right]
    if part.shape[:2] != (view.height_px, view.width_px):
        magnified = view.width_px >= part.shape[1] and view.height_px >= part.shape[0]
        method = cv2.INTER_CUBIC if magnified else cv2.INTER_AREA
        part = cv2.resize(part, (view.width_px, view.height_px), interpolation=method)
    if view.variant.grey:
        part = cv2.cvtColor(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if view.variant.mirrored:
        part = part[:, ::-1]
    if layout.colour == "BGR":
        part = part[:, :, ::-1]
    return layout.filled(part)
