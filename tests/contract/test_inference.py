"""The detector: a real network on a real face, on every shape of picture, and on devices that fail."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pytest

from bench.face_coverage import GROWTH, look
from blurd.adapters.coco import read_annotations
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.model_cache import SUFFIX
from blurd.adapters.models import LoadedModel, ModelSet, load_models
from blurd.config import installed_models
from blurd.core.accuracy import operating_point
from blurd.core.geometry import coverage, grow
from blurd.core.heads import HEADS, Head
from blurd.errors import EquipmentError, Reason
from blurd.records import Box, Category, Detection, RgbPicture
from media import astronaut as photo_of_an_astronaut

FACE = Box(178, 64, 272, 178)
"""Where the face is in the astronaut photo, by eye."""
ANNOTATED = Path(__file__).resolve().parents[3] / "shared" / "data" / "faces"


def build(models: ModelSet | None = None, **changes: Any) -> OpenVinoDetector:
    settings: dict[str, Any] = {
        "categories": frozenset({Category.FACE}),
        "device": "CPU",
        "cache_directory": None,
        "profile": "thorough",
        "threads": 0,
    }
    return OpenVinoDetector(models or load_models(installed_models()), **(settings | changes))


@pytest.fixture(scope="module")
def detector() -> OpenVinoDetector:
    return build()


@pytest.fixture(scope="module")
def face_model() -> LoadedModel:
    return next(model for model in load_models(installed_models()).models if Category.FACE in model.entry.categories)


def astronaut(scale: float = 1.0) -> RgbPicture:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(photo_of_an_astronaut(), None, fx=scale, fy=scale, interpolation=method), np.uint8)


def scaled(box: Box, scale: float, left: float = 0.0, top: float = 0.0) -> Box:
    return Box(box.left * scale + left, box.top * scale + top, box.right * scale + left, box.bottom * scale + top)


def overlap(first: Box, second: Box) -> float:
    common = coverage(first, [second]) * first.area
    return common / (first.area + second.area - common)


def strong(detector: OpenVinoDetector, picture: RgbPicture) -> list[Detection]:
    start = detector.start_threshold(Category.FACE)
    return [hit for hit in detector.detect(picture) if hit.score >= start]


@pytest.mark.parametrize("scale", [0.08, 0.15, 0.4, 1.0, 3.0, 8.0])
def test_a_face_is_found_at_any_size(detector: OpenVinoDetector, scale: float) -> None:
    """From 8 pixels wide to 750; the last picture has 17 megapixels and is cut into tiles smaller than the face."""
    best, *others = strong(detector, astronaut(scale))
    assert overlap(best.box, scaled(FACE, scale)) > 0.6
    assert best.score > 0.5
    assert len(others) <= 1, "a badge or a flag, perhaps"


def test_faces_of_different_sizes_are_found_anywhere_in_a_scene(detector: OpenVinoDetector) -> None:
    """Some of them lie across the edges of tiles; each is covered by the masks that the defaults would draw."""
    scene = np.full((1_700, 2_600, 3), 120, np.uint8)
    placed: list[Box] = []
    for scale, left, top in (
        (0.2, 0, 0),
        (0.2, 1_270, 100),
        (0.4, 1_150, 500),
        (1.0, 300, 600),
        (1.0, 2_088, 1_188),
        (2.0, 900, 650),
        (0.15, 2_500, 830),
        (0.3, 30, 1_500),
    ):
        photo = astronaut(scale)
        height, width = photo.shape[:2]
        scene[top : top + height, left : left + width] = photo
        placed.append(scaled(FACE, scale, left, top))
    hits = strong(detector, scene)
    for face in placed:
        assert coverage(face, [grow(hit.box, GROWTH) for hit in hits]) >= 0.9
    matched = [max(overlap(hit.box, face) for face in placed) > 0.5 for hit in hits]
    assert matched.count(True) == len(placed), "one hit for each face"
    assert matched.count(False) <= 3


def test_a_mirrored_picture_gives_mirrored_faces(detector: OpenVinoDetector) -> None:
    photo = astronaut(0.7)
    (hit, *_), (mirrored, *_) = strong(detector, photo), strong(detector, np.ascontiguousarray(photo[:, ::-1]))
    width = photo.shape[1]
    back = Box(width - mirrored.box.right, mirrored.box.top, width - mirrored.box.left, mirrored.box.bottom)
    assert overlap(hit.box, back) > 0.85


def test_the_same_picture_gives_the_same_hits(detector: OpenVinoDetector) -> None:
    photo = astronaut(0.6)
    first = detector.detect(photo)
    assert len(first) >= 1
    assert all(detector.detect(photo) == first for _ in range(2))


def test_every_hit_lies_in_the_picture_on_whole_pixels_and_above_the_floor(
    detector: OpenVinoDetector, face_model: LoadedModel
) -> None:
    """The face is cut by the picture's corner, so its box must be cut too."""
    corner = astronaut(2.0)[200:700, 430:900]
    hits = detector.detect(np.ascontiguousarray(corner))
    assert hits
    for hit in hits:
        box = hit.box
        assert 0 <= box.left < box.right <= corner.shape[1]
        assert 0 <= box.top < box.bottom <= corner.shape[0]
        assert all(edge == int(edge) for edge in (box.left, box.top, box.right, box.bottom))
        assert hit.score >= face_model.entry.thresholds[Category.FACE].floor
        assert hit.category is Category.FACE
    assert min(hit.box.left for hit in hits) == 0
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def noise(height: int, width: int) -> RgbPicture:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((240, 320, 3), np.uint8),
        np.full((240, 320, 3), 255, np.uint8),
        noise(240, 320),
        np.asarray(cv2.GaussianBlur(noise(240, 320), (0, 0), 4), np.uint8),
        np.linspace((0, 255, 90), (255, 0, 160), 240 * 320).reshape(240, 320, 3).astype(np.uint8),
    ],
    ids=["black", "white", "noise", "clouds", "ramp"],
)
def test_pictures_without_faces_give_next_to_nothing(detector: OpenVinoDetector, picture: RgbPicture) -> None:
    assert len(strong(detector, picture)) == 0
    assert len(detector.detect(picture)) <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (16, 16), (31, 33), (1, 3_000), (9_000, 2), (100, 20_000)])
def test_any_shape_of_picture_is_looked_at(detector: OpenVinoDetector, size: tuple[int, int]) -> None:
    for hit in detector.detect(noise(*size)):
        assert hit.box.right <= size[1]
        assert hit.box.bottom <= size[0]


def test_a_face_in_a_panorama_is_found(detector: OpenVinoDetector) -> None:
    panorama = np.full((140, 12_000, 3), 90, np.uint8)
    photo = astronaut(0.25)
    panorama[10 : 10 + photo.shape[0], 7_000 : 7_000 + photo.shape[1]] = photo
    assert any(overlap(hit.box, scaled(FACE, 0.25, 7_000, 10)) > 0.5 for hit in strong(detector, panorama))


def test_the_picture_is_not_changed_and_need_not_be_contiguous(detector: OpenVinoDetector) -> None:
    photo = astronaut(0.5)
    wide = np.zeros((photo.shape[0], photo.shape[1] * 2, 3), np.uint8)
    wide[:, ::2] = photo
    view = wide[:, ::2]
    view.setflags(write=False)
    assert detector.detect(view) == detector.detect(photo)


def test_colours_go_in_as_the_manifest_says(face_model: LoadedModel) -> None:
    """A network that wants BGR sees of an RGB picture what one that wants RGB sees of its BGR twin."""
    entry = face_model.entry
    plain = {"thorough": entry.views["thorough"].model_copy(update={"variants": ("plain",)})}

    def wanting(colour: str) -> OpenVinoDetector:
        layout = entry.input.model_copy(update={"colour": colour})
        changed = entry.model_copy(update={"input": layout, "views": plain})
        return build(ModelSet((dataclasses.replace(face_model, entry=changed),)))

    photo = astronaut(0.5)
    twin = np.ascontiguousarray(photo[:, :, ::-1])
    assert wanting("BGR").detect(twin) == wanting("RGB").detect(photo)
    assert wanting("BGR").detect(photo) != wanting("RGB").detect(photo)


def test_the_hash_tells_what_was_used(detector: OpenVinoDetector, face_model: LoadedModel) -> None:
    entry = face_model.entry
    assert build().model_hash == detector.model_hash
    raised = {Category.FACE: entry.thresholds[Category.FACE].model_copy(update={"floor": 0.05})}
    other_views = {"thorough": entry.views["thorough"].model_copy(update={"overlap_px": 200})}
    other_merge = entry.merge.model_copy(update={"reach": 0.75})
    hashes = {
        build(ModelSet((dataclasses.replace(face_model, entry=entry.model_copy(update=change)),))).model_hash
        for change in ({"thresholds": raised}, {"views": other_views}, {"merge": other_merge}, {"name": "other"})
    }
    assert len(hashes | {detector.model_hash}) == 5
    remarked = dataclasses.replace(face_model, entry=entry.model_copy(update={"measured": {"coverage": 1}}))
    assert build(ModelSet((remarked,))).model_hash == detector.model_hash, "figures for people shape nothing"


def test_a_category_without_a_model_is_refused(face_model: LoadedModel) -> None:
    with pytest.raises(EquipmentError, match="plate") as caught:
        build(ModelSet((face_model,)), categories=frozenset(Category))
    assert caught.value.reason is Reason.MODEL_MISSING


def with_plates(model: LoadedModel, *categories: Category) -> LoadedModel:
    """The face network under another name, as if it found these categories."""
    thresholds = model.entry.thresholds[Category.FACE]
    changes = {"name": "second", "categories": categories, "thresholds": dict.fromkeys(categories, thresholds)}
    return dataclasses.replace(model, entry=model.entry.model_copy(update=changes))


def test_several_networks_work_as_one_and_only_those_that_are_wanted(face_model: LoadedModel) -> None:
    models = ModelSet((face_model, with_plates(face_model, Category.PLATE)))
    faces, everything = build(models), build(models, categories=frozenset(Category))
    photo = astronaut(0.3)
    assert {hit.category for hit in faces.detect(photo)} == {Category.FACE}
    assert {hit.category for hit in everything.detect(photo)} == {Category.FACE, Category.PLATE}
    assert everything.categories == frozenset(Category)
    assert everything.model_hash != faces.model_hash


def test_of_a_network_for_two_categories_only_the_wanted_one_is_reported(
    monkeypatch: pytest.MonkeyPatch, face_model: LoadedModel
) -> None:
    head = HEADS["centerface"]
    twice = Head(head.outputs, lambda maps, floor: head.decode(maps, floor) * 2)
    monkeypatch.setattr("blurd.adapters.inference.HEADS", {"centerface": twice})
    both = ModelSet((with_plates(face_model, Category.FACE, Category.PLATE),))
    photo = astronaut(0.3)
    assert {hit.category for hit in build(both, categories=frozenset(Category)).detect(photo)} == set(Category)
    assert {hit.category for hit in build(both).detect(photo)} == {Category.FACE}


def test_a_profile_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(EquipmentError, match="leisurely") as caught:
        build(profile="leisurely")
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda graph: graph[: len(graph) // 2],
        lambda _: b"not a graph",
        lambda graph: graph.replace(b'"scale"', b'"size"'),
    ],
    ids=["empty", "cut", "text", "output"],
)
def test_a_graph_that_can_not_be_used_is_refused(face_model: LoadedModel, spoil: Callable[[bytes], bytes]) -> None:
    """Its hash may be the manifest's: then the manifest names the wrong thing."""
    (files,) = face_model.files
    spoilt = dataclasses.replace(face_model, files=(dataclasses.replace(files, graph=spoil(files.graph)),))
    with pytest.raises(EquipmentError, match="centerface") as caught:
        build(ModelSet((spoilt,)))
    assert caught.value.reason is Reason.MODEL_INVALID


def test_s31_a_compiled_network_is_kept_and_a_damaged_one_replaced(tmp_path: Path) -> None:
    photo = astronaut(0.3)
    expected = build(cache_directory=tmp_path).detect(photo)
    (kept,) = tmp_path.glob(f"*{SUFFIX}")
    content = kept.read_bytes()
    assert build(cache_directory=tmp_path).detect(photo) == expected
    for damage in (b"", content[:-1], content[:1_000_000] + b"x" + content[1_000_001:]):
        kept.write_bytes(damage)
        assert build(cache_directory=tmp_path).detect(photo) == expected
        assert len(kept.read_bytes()) == len(content)


def test_one_thread_finds_the_same_face(detector: OpenVinoDetector) -> None:
    photo = astronaut(0.5)
    assert overlap(build(threads=1).detect(photo)[0].box, detector.detect(photo)[0].box) > 0.95


CORE = openvino.Core


class SecretError(RuntimeError):
    """What a library might raise, with text that must not get out."""


class Machine:
    """OpenVINO on a machine that claims to have a GPU. The 'GPU' is the CPU, until it fails as `broken` says."""

    def __init__(self, *devices: str, broken: str = "") -> None:
        self.available_devices = list(devices)
        self.broken = broken
        self._core = CORE()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def get_property(self, device: str, name: str) -> Any:
        return self._core.get_property("CPU" if device == "GPU" else device, name)

    def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
        if device == "CPU":
            return self._core.compile_model(model, device, options)
        if self.broken == "compile":
            raise SecretError("/home/someone/secret")
        compiled = self._core.compile_model(model, "CPU", options)
        return {"inference": Failing, "hang": Hanging}.get(self.broken, lambda same: same)(compiled)


class Failing:
    """A compiled network whose requests fail."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def create_infer_request(self) -> Any:
        return self

    def start_async(self, _inputs: Any) -> None:
        raise SecretError("/home/someone/secret")


class Hanging(Failing):
    """A compiled network whose requests never come back: whoever waits for one without end fails the test."""

    def start_async(self, _inputs: Any) -> None:
        return

    def wait(self) -> None:
        raise AssertionError("this would wait for ever")

    def wait_for(self, patience_ms: int) -> bool:
        time.sleep(patience_ms / 1000)
        return False


@pytest.mark.parametrize(
    ("wanted", "devices", "broken", "device", "degraded"),
    [
        ("CPU", ("CPU", "GPU"), "", "CPU", False),
        ("AUTO", ("CPU",), "", "CPU", False),
        ("AUTO", ("CPU", "GPU"), "", "GPU", False),
        ("AUTO", ("CPU", "GPU.0", "GPU.1"), "", "GPU", False),
        ("GPU", ("CPU", "GPU"), "", "GPU", False),
        ("GPU", ("CPU",), "", "CPU", True),
        ("AUTO", ("CPU", "GPU"), "compile", "CPU", True),
        ("GPU", ("CPU", "GPU"), "compile", "CPU", True),
    ],
)
def test_the_device_is_a_usable_one(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    devices: tuple[str, ...],
    broken: str,
    device: str,
    degraded: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(openvino, "Core", lambda: Machine(*devices, broken=broken))
    built = build(device=wanted)
    assert (built.device, built.degraded) == (device, degraded)
    assert built.detect(astronaut(0.2))


def test_s43_a_gpu_that_fails_over_a_picture_is_replaced_and_the_picture_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, detector: OpenVinoDetector
) -> None:
    monkeypatch.setattr(openvino, "Core", lambda: Machine("CPU", "GPU", broken="inference"))
    built = build(device="AUTO")
    assert (built.device, built.degraded) == ("GPU", False)
    photo = astronaut(0.2)
    assert built.detect(photo) == detector.detect(photo)
    assert (built.device, built.degraded) == ("CPU", True)


def test_several_threads_share_a_detector() -> None:
    """More of them than there are requests, over parts of several sizes: each gets what it would get alone."""
    built = build(categories=frozenset(Category), profile="balanced")
    pictures = [astronaut(scale) for scale in (0.3, 0.6, 1.0, 1.7)]
    parts = [None, Box(10, 10, 138, 138), Box(0, 0, 140, 120)]
    asked = [(picture, part) for picture in pictures for part in parts]
    alone = [built.detect(*question) for question in asked]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda question: built.detect(*question), asked)) == alone


def test_s43_threads_that_see_a_gpu_fail_are_all_served(
    monkeypatch: pytest.MonkeyPatch, detector: OpenVinoDetector
) -> None:
    monkeypatch.setattr(openvino, "Core", lambda: Machine("CPU", "GPU", broken="inference"))
    built, photo = build(device="AUTO"), astronaut(0.2)
    expected = detector.detect(photo)
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(lambda _: built.detect(photo), range(8)))
    assert (built.device, built.degraded) == ("CPU", True)


RESTING = """
import os, pathlib, sys
import numpy as np
from blurd.adapters.host import return_memory_early
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.models import load_models
from blurd.config import installed_models
from blurd.records import Category

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

return_memory_early()
built = OpenVinoDetector(load_models(installed_models()), categories=frozenset({Category.FACE}), device="CPU",
    cache_directory=None, profile="balanced", threads=0)
photo = np.load(sys.argv[1])
before = built.detect(photo)
busy = resident()
built.rest()
print(busy - resident(), len(before), built.detect(photo) == before)
"""


def test_a_detector_that_rested_finds_the_same_and_held_less_meanwhile(tmp_path: Path) -> None:
    """In a process of its own, as a worker sets it up: what other tests left in this one's heap would hide it."""
    np.save(tmp_path / "photo.npy", astronaut(1.7))
    command = [sys.executable, "-c", RESTING, str(tmp_path / "photo.npy")]
    given_back, hits, same = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert float(given_back) > 50
    assert int(hits) > 0
    assert same == "True"


def test_s43_a_gpu_that_hangs_is_given_up_and_the_picture_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, detector: OpenVinoDetector
) -> None:
    """A request that never comes back: nobody waits for it again, and the CPU does the work from then on."""
    monkeypatch.setattr(openvino, "Core", lambda: Machine("CPU", "GPU", broken="hang"))
    monkeypatch.setattr("blurd.adapters.inference._LONGEST_ANSWER_MS", 50)
    built = build(device="AUTO")
    photo = astronaut(0.2)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: built.detect(photo), range(3))) == [detector.detect(photo)] * 3
    assert (built.device, built.degraded) == ("CPU", True)


def test_a_cpu_that_fails_is_an_error_without_the_library_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Machine):
        def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
            return Failing(super().compile_model(model, device, options))

    monkeypatch.setattr(openvino, "Core", lambda: Broken("CPU"))
    with pytest.raises(EquipmentError) as caught:
        build().detect(astronaut(0.2))
    assert caught.value.reason is Reason.DETECTOR_FAILED
    assert caught.value.detail == "SecretError."
    assert caught.value.__suppress_context__


def test_a_picture_that_is_none_is_an_error_and_the_detector_goes_on(detector: OpenVinoDetector) -> None:
    with pytest.raises(EquipmentError) as caught:
        detector.detect(np.zeros((20, 20, 4), np.uint8))
    assert caught.value.reason is Reason.DETECTOR_FAILED
    assert detector.detect(astronaut(0.3))


@pytest.mark.skipif(not ANNOTATED.is_dir(), reason="the annotated faces are not beside this checkout")
def test_the_figures_of_the_card_hold_on_a_sample(detector: OpenVinoDetector) -> None:
    """Every twelfth scene. The whole set is measured by tests/bench/face_coverage.py."""
    images = read_annotations(ANNOTATED / "annotations.json").images[::12]
    scenes = [look(detector, image, ANNOTATED / "images").scene for image in images]
    point = operating_point(scenes, detector.start_threshold(Category.FACE), GROWTH)
    assert sum(len(scene.truth) for scene in scenes) > 100
    assert point.coverage >= 0.90
    assert point.false_boxes_per_image <= 4.0
    assert point.over_blur <= 0.20
