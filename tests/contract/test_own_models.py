"""Detectors of the owner's own: real graphs of every family, against decoders by the book and by OpenVINO's library."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

import decoders
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.models import LoadedModel, ModelSet
from blurd.adapters.own_models import load_own
from blurd.core.masking import covers
from blurd.core.outlines import polygon
from blurd.errors import EquipmentError, Reason
from blurd.records import Detection, Mask, MaskStyle, RgbPicture
from decoders import Hit, Reference
from networks import HEIGHT_PX, WIDTH_PX, Precision, network, said_by

FLOOR = 0.3
GRIDS = {stride: (WIDTH_PX // stride) * (HEIGHT_PX // stride) for stride in (8, 16, 32)}
CELLS = sum(GRIDS.values())
RANDOM = np.random.default_rng(3)
Outputs = Mapping[str, NDArray[Any]]


def scores(*shape: int) -> NDArray[np.float32]:
    """Mostly low, some high."""
    return (0.8 * RANDOM.uniform(0, 1, shape) ** 4).astype(np.float32)


def centred(count: int) -> NDArray[np.float32]:
    """Boxes by centre and size in pixels."""
    places = RANDOM.uniform(0, 1, (count, 2)) * (WIDTH_PX, HEIGHT_PX)
    return np.concatenate([places, RANDOM.uniform(6, 50, (count, 2))], axis=1).astype(np.float32)


def cornered(count: int) -> NDArray[np.float32]:
    boxes = centred(count)
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def shares(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes / (WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX)).astype(np.float32)


def row(*columns: NDArray[Any]) -> NDArray[np.float32]:
    """One table with a batch of one."""
    return np.concatenate(columns, axis=1).astype(np.float32)[np.newaxis]


def normal(*shape: int, mean: float = 0.0, spread: float = 0.5) -> NDArray[np.float32]:
    return RANDOM.normal(mean, spread, shape).astype(np.float32)


def yolov3(labels: int) -> Outputs:
    maps = {}
    for stride in (32, 16, 8):
        grid = normal(3, 5 + labels, HEIGHT_PX // stride, WIDTH_PX // stride, spread=0.8)
        grid[:, 4:] = normal(*grid[:, 4:].shape, mean=-1.5, spread=2.0)
        maps[f"map_{stride}"] = grid.reshape(1, -1, *grid.shape[2:])
    return maps


def yolov3_last(labels: int) -> Outputs:
    return {name: np.ascontiguousarray(grid.transpose(0, 2, 3, 1)) for name, grid in yolov3(labels).items()}


def yolov8(labels: int) -> Outputs:
    return {"output0": np.ascontiguousarray(row(centred(CELLS), scores(CELLS, labels)).transpose(0, 2, 1))}


def detection_output(labels: int) -> Outputs:
    numbers = RANDOM.integers(1, 1 + labels, (40, 1))
    table = row(np.zeros((40, 1)), numbers, scores(40, 1), shares(cornered(40)))
    table[0, 36, 0] = -1
    table[0, 36:, 2] = 0.9  # behind the end nothing counts, however sure it looks
    return {"detections": table[np.newaxis]}


def boxes(labels: int) -> Outputs:
    numbers = RANDOM.integers(1, 1 + labels, 80)
    return {"boxes": cornered(80), "labels": numbers, "scores": scores(80)}


def boxes_with_scores(labels: int) -> Outputs:
    return {"dets": row(cornered(40), scores(40, 1)), "labels": RANDOM.integers(0, labels, (1, 40))}


def mask_rcnn(labels: int) -> Outputs:
    return {**boxes(labels), "masks": RANDOM.uniform(0, 1, (80, 1, 14, 14)).astype(np.float32)}


def yolo_seg(labels: int) -> Outputs:
    table = row(centred(CELLS), scores(CELLS, labels), normal(CELLS, 4))
    maps = normal(1, 4, HEIGHT_PX // 4, WIDTH_PX // 4)
    return {"output0": np.ascontiguousarray(table.transpose(0, 2, 1)), "output1": maps}


def retinaface(_: int) -> Outputs:
    faces = scores(2 * CELLS, 1)
    return {
        "boxes": normal(1, 2 * CELLS, 4, spread=1.0),
        "confidences": row(1 - faces, faces),
        "landmarks": normal(1, 2 * CELLS, 10),
    }


def retinaface_maps(_: int) -> Outputs:
    found: dict[str, NDArray[Any]] = {}
    for stride in (32, 16, 8):
        sides = HEIGHT_PX // stride, WIDTH_PX // stride
        found |= {f"prob_{stride}": scores(1, 4, *sides), f"bbox_{stride}": normal(1, 8, *sides, spread=0.3)}
        found[f"landmark_{stride}"] = normal(1, 20, *sides)
    return found


def scrfd(_: int) -> Outputs:
    found: dict[str, NDArray[Any]] = {f"score_{stride}": scores(2 * count, 1) for stride, count in GRIDS.items()}
    found |= {
        f"bbox_{stride}": RANDOM.uniform(0.3, 3, (2 * count, 4)).astype(np.float32) for stride, count in GRIDS.items()
    }
    return found | {f"kps_{stride}": normal(2 * count, 10) for stride, count in GRIDS.items()}


def yunet(_: int) -> Outputs:
    found: dict[str, NDArray[Any]] = {}
    for name, count in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride, cells in GRIDS.items():
            found[f"{name}_{stride}"] = (
                RANDOM.uniform(-0.1, 1.1, (1, cells, 1)).astype(np.float32) if count == 1 else normal(1, cells, count)
            )
    return found


@dataclass(frozen=True)
class Case:
    """A family's outputs for so many labels, what the model.toml says beside, and its decoder by the book."""

    outputs: Callable[[int], Outputs]
    reference: Reference
    family: str
    labels: int = 2
    extra: str = ""

    def made(self) -> Outputs:
        """The outputs, the same every time."""
        RANDOM.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return self.outputs(self.labels)


FIRST_IS_1, FIRST_IS_0 = "[decode]\nfirst_label = 1\n", "[decode]\nfirst_label = 0\n"


def yolov5(labels: int) -> Outputs:
    return {"output": row(centred(3 * CELLS), scores(3 * CELLS, 1) ** 0.2, scores(3 * CELLS, labels))}


def yolov8_turned(labels: int) -> Outputs:
    return {"output": row(centred(CELLS), scores(CELLS, labels))}


def yolov10(labels: int) -> Outputs:
    return {"output": row(cornered(60), scores(60, 1), RANDOM.integers(0, labels, (60, 1)))}


def yolox(labels: int) -> Outputs:
    return {"output": row(normal(CELLS, 4), scores(CELLS, 1) ** 0.2, scores(CELLS, labels))}


def detr(labels: int) -> Outputs:
    return {"logits": normal(1, 30, labels + 1, spread=2.0), "pred_boxes": shares(centred(30))[np.newaxis]}


def rtdetr(labels: int) -> Outputs:
    return {"logits": normal(1, 30, labels, mean=-1, spread=2.0), "boxes": shares(centred(30))[np.newaxis]}


CASES: Mapping[str, Case] = {
    "yolov3": Case(yolov3, decoders.yolov3, "yolov3"),
    "yolov3 channels last": Case(yolov3_last, decoders.yolov3, "yolov3"),
    "yolov5": Case(yolov5, decoders.yolov5, "yolov5"),
    "yolov8": Case(yolov8, decoders.yolov8, "yolov8"),
    "yolov8 turned": Case(yolov8_turned, decoders.yolov8, "yolov8", labels=3),
    "yolov10": Case(yolov10, decoders.yolov10, "yolov10", labels=3),
    "yolox": Case(yolox, decoders.yolox, "yolox"),
    "detection_output": Case(detection_output, decoders.detection_output, "detection_output", extra=FIRST_IS_1),
    "boxes": Case(boxes, decoders.boxes, "boxes", extra=FIRST_IS_1),
    "boxes with scores": Case(boxes_with_scores, decoders.boxes_with_scores, "boxes", extra=FIRST_IS_0),
    "detr": Case(detr, decoders.detr, "detr"),
    "rtdetr": Case(rtdetr, decoders.rtdetr, "rtdetr"),
    "mask_rcnn": Case(mask_rcnn, decoders.boxes, "mask_rcnn", extra=FIRST_IS_1),
    "yolo_seg": Case(yolo_seg, decoders.yolo_seg, "yolo_seg"),
    "retinaface": Case(retinaface, decoders.retinaface, "retinaface", labels=1),
    "retinaface maps": Case(retinaface_maps, decoders.retinaface_maps, "retinaface", labels=1),
    "scrfd": Case(scrfd, decoders.scrfd, "scrfd", labels=1),
    "yunet": Case(yunet, decoders.yunet, "yunet", labels=1),
}
NAMES = {1: ("face",), 2: ("person", "face"), 3: ("person", "face", "screen")}


def settings(labels: int, sha256: str, extra: str = "", **changes: str) -> str:
    """A model.toml in which every label means a class of its own name."""
    names = NAMES[labels]
    keys = {"file": '"model.onnx"', "sha256": f'"{sha256}"', "licence": '"MIT"', "labels": str(list(names))} | changes
    lines = [f"{key} = {value}" for key, value in keys.items() if "." not in key and value]
    lines += ["[classes]", *(f'{name} = "{name}"' for name in names)]
    lines += ["[input]", 'colour = "RGB"', "scale = 255.0"]
    lines += [f"{key.removeprefix('input.')} = {value}" for key, value in changes.items() if key.startswith("input.")]
    for name in names:
        lines += [f"[thresholds.{name}]", f"floor = {FLOOR}", "start = 0.5"]
    lines += ["[merge]", "link_iou = 1.0"]
    for profile in ("thorough", "balanced"):
        lines += [f"[views.{profile}]", "largest_scale = 1.0", "magnified_pixels = 1000000"]
    return "\n".join(lines) + "\n" + extra


def own(
    folder: Path, case: Case, precision: Precision = "f32", *, changes: Mapping[str, str] | None = None
) -> LoadedModel:
    """The case's detector, written, and read as the product reads it."""
    place = folder / "mine"
    place.mkdir()
    sha256 = network(place / "model.onnx", case.made(), precision=precision)
    (place / "model.toml").write_text(settings(case.labels, sha256, case.extra, **(changes or {})))
    return load_own(folder, "mine")


def detector_of(model: LoadedModel) -> OpenVinoDetector:
    return OpenVinoDetector(
        ModelSet((model,)),
        categories=frozenset(model.entry.categories),
        device="CPU",
        cache_directory=None,
        profile="thorough",
        threads=0,
    )


def picture(width: int = 90, height: int = 70) -> RgbPicture:
    blocks = np.random.default_rng(9).integers(0, 256, (7, 9, 3), np.uint8)
    return np.asarray(cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def clipped(hits: list[Hit], width: int, height: int, across: float = 1.0, down: float = 1.0) -> list[Hit]:
    """Hits of a view as the product reports them: cut to the picture, edges on whole pixels."""
    found: list[Hit] = []
    for label, score, *box in hits:
        left, right = (min(max(edge * across, 0.0), width) for edge in box[::2])
        top, bottom = (min(max(edge * down, 0.0), height) for edge in box[1::2])
        if left < right and top < bottom:
            found.append((label, score, math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)))
    return found


def assert_same(found: tuple[Detection, ...], expected: list[Hit], labels: int, slack: tuple[float, float]) -> None:
    """Box by box. Of several hits with the same box the best one is left."""
    score_slack, px = slack
    hits = [(hit.category, hit.score, hit.box.left, hit.box.top, hit.box.right, hit.box.bottom) for hit in found]
    wanted = [(NAMES[labels][hit[0]], min(1.0, hit[1]), *hit[2:]) for hit in expected]
    assert len(wanted) > 3, "the test must have something to compare"

    def near(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
        return one[0] == other[0] and all(abs(a - b) <= px for a, b in zip(one[2:], other[2:], strict=True))

    hits = [hit for hit in hits if min(hit[4] - hit[2], hit[5] - hit[3]) > 2 * px]  # an edge may leave nothing else
    for hit in hits:
        if hit[1] > FLOOR + score_slack:
            assert any(near(hit, one) and abs(hit[1] - one[1]) <= score_slack for one in wanted), hit
    for one in wanted:
        if one[1] > FLOOR + score_slack and min(one[4] - one[2], one[5] - one[3]) > 3 * px:
            assert any(near(hit, one) and hit[1] >= one[1] - score_slack for hit in hits), one


def on_canvas(shown: RgbPicture) -> NDArray[np.uint8]:
    canvas = np.full((HEIGHT_PX, WIDTH_PX, 3), 114, np.uint8)
    canvas[: shown.shape[0], : shown.shape[1]] = shown
    return canvas


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_told_by_its_outputs_and_decoded_as_the_book_does(tmp_path: Path, name: str) -> None:
    """From a picture through the real graph; against ONNX's own evaluator and a decoder that goes cell by cell."""
    case = CASES[name]
    model = own(tmp_path, case)
    assert model.entry.head == case.family
    shown = picture()
    said = said_by(tmp_path / "mine" / "model.onnx", on_canvas(shown))
    expected = case.reference(said, WIDTH_PX, HEIGHT_PX, case.labels, FLOOR - 0.01)
    assert_same(detector_of(model).detect(shown), clipped(expected, 90, 70), case.labels, (0.002, 1.0))


@pytest.mark.parametrize("name", CASES)
def test_a_head_decodes_exactly_what_the_book_decodes(tmp_path: Path, name: str) -> None:
    """The same raw outputs, before anything is cut or rounded: to a thousandth of a pixel, each hit once."""
    case = CASES[name]
    model = own(tmp_path, case)
    said = said_by(tmp_path / "mine" / "model.onnx", on_canvas(picture()))
    expected = sorted(case.reference(said, WIDTH_PX, HEIGHT_PX, case.labels, FLOOR))
    assert model.head is not None
    found = model.head.decode(dict(zip(model.head.outputs, said.values(), strict=True)), FLOOR)
    hits = sorted((label, hit[4], *hit[:4]) for label, group in enumerate(found) for hit in group.tolist())
    assert len(expected) > 3
    assert np.allclose(hits, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["yolov8", "boxes", "rtdetr", "scrfd"])
@pytest.mark.parametrize(("precision", "slack"), [("f16", (0.01, 1.5)), ("int8", (0.02, 2.0))])
def test_half_precision_and_eight_bits_say_the_same(
    tmp_path: Path, name: str, precision: Precision, slack: tuple[float, float]
) -> None:
    case = CASES[name]
    shown = picture()
    model = own(tmp_path, case, precision)
    said = said_by(tmp_path / "mine" / "model.onnx", on_canvas(shown), precision=precision)
    expected = case.reference(said, WIDTH_PX, HEIGHT_PX, case.labels, FLOOR - 0.03)
    assert_same(detector_of(model).detect(shown), clipped(expected, 90, 70), case.labels, slack)


@pytest.mark.parametrize("name", ["yolov8", "detr", "yunet"])
def test_a_plain_resize_stretches_the_picture_and_the_boxes_back(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    shown = picture()
    model = own(tmp_path, case, changes={"input.resize": '"plain"'})
    stretched = np.asarray(cv2.resize(shown, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR), np.uint8)
    expected = case.reference(
        said_by(tmp_path / "mine" / "model.onnx", stretched), WIDTH_PX, HEIGHT_PX, case.labels, FLOOR - 0.01
    )
    back = clipped(expected, 90, 70, 90 / WIDTH_PX, 70 / HEIGHT_PX)
    assert_same(detector_of(model).detect(shown), back, case.labels, (0.002, 1.0))


@pytest.mark.parametrize(
    ("batch", "size", "layout"),
    [
        ("batch", (WIDTH_PX, HEIGHT_PX), "NCHW"),
        (2, (WIDTH_PX, HEIGHT_PX), "NCHW"),
        (1, ("width", "height"), "NCHW"),
        ("batch", ("width", "height"), "NHWC"),
        (1, (WIDTH_PX, HEIGHT_PX), "CHW"),
        (1, ("width", "height"), "CHW"),
    ],
)
def test_shapes_that_are_open_or_have_a_batch_are_fixed(
    tmp_path: Path, batch: int | str, size: tuple[int | str, int | str], layout: str
) -> None:
    case = CASES["yolov8"]
    outputs = case.made()
    for name, options in (("fixed", {}), ("other", {"batch": batch, "size": size, "layout": layout})):
        (tmp_path / name).mkdir()
        sha256 = network(tmp_path / name / "model.onnx", outputs, **options)  # type: ignore[arg-type]
        text = settings(2, sha256, **{"input.size": f"[{WIDTH_PX}, {HEIGHT_PX}]"})
        (tmp_path / name / "model.toml").write_text(text)
    fixed, other = (detector_of(load_own(tmp_path, name)).detect(picture()) for name in ("fixed", "other"))
    assert len(fixed) > 3
    assert other == fixed


def test_an_openvino_ir_with_its_weights_beside_it_is_a_detector_too(tmp_path: Path) -> None:
    case = CASES["yolov8"]
    onnx_model = own(tmp_path, case)
    folder = tmp_path / "other"
    folder.mkdir()
    openvino.save_model(openvino.Core().read_model(str(tmp_path / "mine" / "model.onnx")), str(folder / "model.xml"))
    digests = {suffix: _sha256(folder / f"model.{suffix}") for suffix in ("xml", "bin")}
    (folder / "model.toml").write_text(
        settings(2, digests["xml"], file='"model.xml"', weights='"model.bin"', weights_sha256=f'"{digests["bin"]}"')
    )
    first, second = (detector_of(model).detect(picture()) for model in (onnx_model, load_own(tmp_path, "other")))
    assert len(first) > 3
    assert {hit.category for hit in second} == {hit.category for hit in first}
    assert abs(len(first) - len(second)) <= 2, "the weights are kept in half precision"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_inputs_that_ask_for_the_size_are_answered(tmp_path: Path) -> None:
    """RT-DETR's own export, and Faster R-CNN with im_info: 128 x 96 and 96 x 128 x 1."""
    outputs = CASES["boxes"].made()
    plain: Any = None
    for name, asks, answer in (("none", {}, 0), ("two", {"orig_sizes": 2}, 224), ("three", {"im_info": 3}, 225)):
        (tmp_path / name).mkdir()
        sha256 = network(tmp_path / name / "model.onnx", outputs, asks=asks)
        (tmp_path / name / "model.toml").write_text(settings(2, sha256, FIRST_IS_1))
        model = load_own(tmp_path, name)
        assert model.read is not None
        graph = openvino.Core().compile_model(model.read(openvino.Core(), model.files[0]), "CPU")
        found = graph([on_canvas(picture())[np.newaxis]])["boxes"]
        plain = found if plain is None else plain
        assert np.allclose(found, plain + answer * 1e-3, atol=1e-3)


def test_colours_means_and_scales_reach_the_graph(tmp_path: Path) -> None:
    """What a network for BGR with a mean and a scale for each colour sees of a picture, computed here."""
    case = CASES["yolov8"]
    folder = tmp_path / "mine"
    folder.mkdir()
    sha256 = network(folder / "model.onnx", case.made())
    mean, scale = np.array([103.5, 116.3, 123.7]), np.array([57.4, 57.1, 58.4])
    text = settings(2, sha256).replace('colour = "RGB"', f'colour = "BGR"\nmean = {mean.tolist()}')
    (folder / "model.toml").write_text(text.replace("scale = 255.0", f"scale = {scale.tolist()}"))
    shown = picture()
    seen = ((on_canvas(shown)[:, :, ::-1] - mean) / scale * 255).astype(np.float32)
    expected = case.reference(
        said_by(folder / "model.onnx", seen),
        WIDTH_PX,
        HEIGHT_PX,
        2,
        FLOOR - 0.01,
    )
    assert_same(detector_of(load_own(tmp_path, "mine")).detect(shown), clipped(expected, 90, 70), 2, (0.002, 1.0))


# -- OpenVINO's own library, as a second opinion -----------------------------------------------------------------------


def library_says(path: Path, name: str, shown: RgbPicture, **configuration: Any) -> Any:
    """What `openvino-model-api` finds with its wrapper of this name, in a picture of the input's size."""
    from model_api.adapters import OpenvinoAdapter, create_core
    from model_api.models import Model

    adapter = OpenvinoAdapter(create_core(), str(path), device="CPU")
    wrapper = Model.get_model_class(name)(adapter, {"confidence_threshold": FLOOR, **configuration}, preload=True)
    if name == "YOLOX":  # whose preparation of a picture forgets what its decoder asks for
        return wrapper.postprocess(said_by(path, shown), {"scale": 1.0, "original_shape": shown.shape})
    return wrapper(shown)


LIBRARY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "yolov8": ("YOLOv8", {"iou_threshold": 1.0}),
    "yolox": ("YOLOX", {"iou_threshold": 1.0, "agnostic_nms": False}),
    "detection_output": ("SSD", {"nms_execute": False}),
    "boxes with scores": ("SSD", {"nms_execute": False}),
    "yolo_seg": ("YOLO-seg", {"iou_threshold": 1.0}),
}
"""Its wrapper for raw YOLOv3 can't be made in the version at hand."""


@pytest.mark.parametrize("name", LIBRARY)
def test_openvino_s_own_library_finds_the_same(tmp_path: Path, name: str) -> None:
    """It keeps a row's best label alone and rounds to whole pixels: each of its hits is one of ours."""
    wrapper, configuration = LIBRARY[name]
    model = own(tmp_path, CASES[name])
    shown = picture(WIDTH_PX, HEIGHT_PX)
    scale = {"scale_values": [255.0], "reverse_input_channels": False, "resize_type": "standard"}
    found = library_says(tmp_path / "mine" / "model.onnx", wrapper, shown, **scale, **configuration)
    graph = openvino.Core().compile_model(model.read(openvino.Core(), model.files[0]), "CPU")  # type: ignore[misc]
    said = graph([shown[np.newaxis]])
    assert model.head is not None
    ours = model.head.decode({output: said[output] for output in model.head.outputs}, FLOOR - 0.01)
    numbers = np.asarray(found.labels) - (1 if name == "yolo_seg" else 0)
    if name == "detection_output":  # it cuts 0.99 off to 0, which only a network of tests says
        ours, numbers = (np.concatenate(ours),), np.zeros_like(numbers)
    limits = (WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX)
    assert len(found.bboxes) > 3
    for box, score, label in zip(found.bboxes, found.scores, numbers, strict=True):
        if name == "detection_output" and score > 0.8:  # it reads on behind the end
            continue
        same = ours[int(label)]
        near = (np.abs(same[:, :4].clip(0, limits) - box) <= 1.01).all(axis=1) & (np.abs(same[:, 4] - score) < 0.01)
        assert near.any(), (box, score, label)


# -- outlines ----------------------------------------------------------------------------------------------------------


def test_a_mask_s_outline_holds_the_mask_and_little_more(tmp_path: Path) -> None:
    """YOLO's segmentation: against the mask of the whole input, summed and cut to the box here, row by row."""
    case = CASES["yolo_seg"]
    model = own(tmp_path, case)
    shown = picture()
    said = said_by(tmp_path / "mine" / "model.onnx", on_canvas(shown))
    table, prototypes = said["output0"][0].T, said["output1"][0]
    hits = detector_of(model).detect(shown)
    with_outline = 0
    for values in table:
        for label in range(2):
            if values[4 + label] < FLOOR + 0.01:
                continue
            likely = np.repeat(np.repeat(np.tensordot(values[6:], prototypes, axes=1) > 0.05, 4, axis=0), 4, axis=1)
            left, top, right, bottom = decoders.centred(*values[:4].tolist())
            rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX] + 0.5
            inside = (columns > left) & (columns < right) & (rows > top) & (rows < bottom)
            inside &= (columns < 90) & (rows < 70)
            thing = likely & inside
            edges = np.array([max(left, 0), max(top, 0), min(right, 90), min(bottom, 70)])
            near = [
                hit
                for hit in hits
                if abs(hit.score - values[4 + label]) < 0.002
                and np.abs(edges - (hit.box.left, hit.box.top, hit.box.right, hit.box.bottom)).max() <= 1.01
            ]
            if not near or not thing.any():
                continue
            masks = [Mask.polygon(polygon(hit.box, hit.outline), MaskStyle.SOLID) for hit in near]
            covered = covers(masks[0], WIDTH_PX, HEIGHT_PX)
            assert covered[thing].mean() > 0.995
            with_outline += covered.sum() < 0.98 * inside.sum()
    assert with_outline > 2


def test_a_mask_of_the_box_is_placed_in_the_box_and_one_of_the_input_in_the_input(tmp_path: Path) -> None:
    """Mask R-CNN, as Detectron2 and MMDetection give masks, and as torchvision does: the same lower left triangle."""
    box = np.array([[16, 16, 80, 64]], np.float32)
    small = np.tril(np.ones((28, 28), np.float32))[np.newaxis, np.newaxis]
    large = np.zeros((1, 1, HEIGHT_PX, WIDTH_PX), np.float32)
    large[0, 0, 16:64, 16:80] = cv2.resize(small[0, 0], (64, 48), interpolation=cv2.INTER_NEAREST)
    outlines = []
    for name, masks in (("small", small), ("large", large)):
        (tmp_path / name).mkdir()
        twice = {"boxes": box.repeat(2, axis=0), "masks": masks.repeat(2, axis=0)}  # a batch of one is no batch
        rows: dict[str, NDArray[Any]] = {"labels": np.ones(2, np.int64), "scores": np.full(2, 0.9, np.float32)}
        outputs: dict[str, NDArray[Any]] = {**twice, **rows}
        sha256 = network(tmp_path / name / "model.onnx", outputs)
        (tmp_path / name / "model.toml").write_text(settings(2, sha256, FIRST_IS_1))
        (hit, *_) = detector_of(load_own(tmp_path, name)).detect(picture())
        drawn = covers(Mask.polygon(polygon(hit.box, hit.outline), MaskStyle.SOLID), WIDTH_PX, HEIGHT_PX)
        outlines.append(drawn)
        assert drawn[60, 20]
        assert drawn[20, 17]
        assert not drawn[20, 70]
    assert (outlines[0] != outlines[1]).mean() < 0.06, "the box moves a little with what is seen"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('licence = "MIT"\n', "", "licence: is missing: write the licence"),
        ('colour = "RGB"', 'colour = "CMYK"', "input.colour: write one of 'RGB' or 'BGR'"),
        ('colour = "RGB"\n', "", 'input.colour: is missing: write "RGB" or "BGR"'),
        ("scale = 255.0\n", "", "input.scale: is missing: write what values of pixels are divided by"),
        ("scale = 255.0", "scale = 255.0\nsize = [0, 640]", "input.size"),
        ('face = "face"', 'dog = "face"', "classes.dog: maps to nothing, it is none of labels: person, face"),
        ('face = "face"', 'face = "Face!"', "classes.face: a class's name is a lower-case letter"),
        ("[thresholds.face]", "[thresholds.plate]", "thresholds.face: is missing: write floor and start"),
        ("start = 0.5", "start = 0.1", "start is not less than floor"),
        ('file = "model.onnx"', 'file = "../model.onnx"', "file: write the name of a file beside model.toml"),
        ('file = "model.onnx"', 'file = "model.pt"', "file: write the name of an ONNX file"),
        ('file = "model.onnx"', 'file = "model.xml"', "weights: is missing: write the name of the .bin file"),
        ("labels =", 'family = "wizard"\nlabels =', "family: there is no such family, write one of boxes"),
        ("labels =", 'speed = "fast"\nlabels =', "speed: there is no such key, see blurd-models(5)"),
        ("['person', 'face']", "['face']", "classes.person: maps to nothing"),
        ("['person', 'face']", "['person', 'face', 'dog']", "It would suit yolov8 with 2 labels"),
        ("labels =", 'family = "yolox"\nlabels =', "yolox has rows of 5 + 2 labels; the graph: output0 (1, 6, 252)"),
        ("labels =", "labels = [", "model.toml is not valid TOML"),
        ("scale = 255.0", 'scale = 255.0\nlayout = "NHWC"', "input.layout"),
        ("scale = 255.0", "scale = 255.0\nsize = [256, 256]", "input.size: the graph can't be brought to 256 x 256"),
        ("link_iou = 1.0", "link_iou = 0.0", "link_iou above 0"),
        ("largest_scale = 1.0", "largest_scale = 0.5", "largest_scale is at least 1"),
        ("largest_scale = 1.0", "biggest = 1.0", "there is no such key"),
    ],
)
def test_a_fault_is_refused_in_words_that_say_what_to_write(tmp_path: Path, old: str, new: str, line: str) -> None:
    own(tmp_path, CASES["yolov8"])
    path = tmp_path / "mine" / "model.toml"
    text = path.read_text()
    assert old in text, "the test must change something"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(EquipmentError) as caught:
        load_own(tmp_path, "mine")
    assert caught.value.reason is Reason.MODEL_INVALID
    assert line in caught.value.detail, caught.value.detail
    assert all(one.startswith("mine: ") for one in caught.value.detail.splitlines())


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    own(tmp_path, CASES["yolov8"])
    path = tmp_path / "mine" / "model.toml"
    path.write_text(path.read_text().replace('licence = "MIT"\n', "").replace('colour = "RGB"', 'colour = "CMYK"'))
    with pytest.raises(EquipmentError) as caught:
        load_own(tmp_path, "mine")
    assert "licence" in caught.value.detail
    assert "colour" in caught.value.detail


def test_numbers_of_labels_that_could_be_read_in_two_ways_are_asked_for(tmp_path: Path) -> None:
    """A wrong guess would find nobody."""
    with pytest.raises(EquipmentError, match="write first_label = 1 where 0 is the background"):
        own(tmp_path, Case(boxes, decoders.boxes, "boxes"))


def test_an_rt_detr_that_looks_like_yolov8_is_not_taken_for_one(tmp_path: Path) -> None:
    """Its boxes are shares: read as pixels, nothing would be found."""
    pixels = row(centred(300), scores(300, 3))
    with pytest.raises(EquipmentError, match="for an RT-DETR of Ultralytics"):
        own(tmp_path, Case(lambda _: {"output": pixels}, decoders.yolov8, "yolov8", labels=3))
    found = []
    sides = row(np.array([[WIDTH_PX, HEIGHT_PX, WIDTH_PX, HEIGHT_PX, 1, 1, 1]]))
    for name, table, decode in (
        ("in_pixels", pixels, 'boxes = "pixels"'),
        (
            "in_shares",
            pixels / sides,
            'boxes = "shares"',
        ),
    ):
        (tmp_path / name).mkdir()
        sha256 = network(tmp_path / name / "model.onnx", {"output": table.astype(np.float32)}, still=True)
        (tmp_path / name / "model.toml").write_text(settings(3, sha256, f"[decode]\n{decode}\n", family='"yolov8"'))
        found.append(detector_of(load_own(tmp_path, name)).detect(picture()))
    assert len(found[0]) > 3
    assert found[0] == found[1]


def test_a_family_that_can_t_be_told_is_asked_for(tmp_path: Path) -> None:
    """Rows of six: boxes with a score and a label, or two labels."""
    case = Case(yolov10, decoders.yolov10, "yolov10")
    with pytest.raises(EquipmentError, match="the family can't be told: write family = one of yolov10, yolov8"):
        own(tmp_path, case)
    text = (tmp_path / "mine" / "model.toml").read_text()
    (tmp_path / "mine" / "model.toml").write_text('family = "yolov10"\n' + text)
    assert load_own(tmp_path, "mine").entry.head == "yolov10"


def test_an_open_size_that_nobody_names_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    sha256 = network(tmp_path / "mine" / "model.onnx", CASES["yolov8"].made(), size=("width", "height"))
    (tmp_path / "mine" / "model.toml").write_text(settings(2, sha256))
    with pytest.raises(EquipmentError, match=r"input\.size: write width and height"):
        load_own(tmp_path, "mine")


@pytest.mark.parametrize("spoil", ["changed", "gone", "no graph", "no folder"])
def test_a_file_that_is_not_the_one_is_refused(tmp_path: Path, spoil: str) -> None:
    own(tmp_path, CASES["yolov8"])
    graph = tmp_path / "mine" / "model.onnx"
    wanted = {"changed": Reason.MODEL_HASH, "no graph": Reason.MODEL_INVALID}.get(spoil, Reason.MODEL_MISSING)
    if spoil == "changed":
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    elif spoil == "gone":
        graph.unlink()
    elif spoil == "no graph":
        before = _sha256(graph)
        graph.write_bytes(b"this is no graph")
        text = (tmp_path / "mine" / "model.toml").read_text()
        (tmp_path / "mine" / "model.toml").write_text(text.replace(before, _sha256(graph)))
    with pytest.raises(EquipmentError) as caught:
        load_own(tmp_path, "other" if spoil == "no folder" else "mine")
    assert caught.value.reason is wanted
    assert "mine" in caught.value.detail
