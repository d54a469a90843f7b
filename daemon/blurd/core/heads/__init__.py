"""Output heads: from a network's raw maps to hits in pixels of the picture that it was shown. Pure.

`HEADS` names the heads of the networks that blurd brings; a model's manifest entry chooses one. `FAMILIES` names those
that an owner's own detector may have: they are bound to a graph's outputs when the detector is read. A head says which
outputs it reads and turns them into one (N, 5) array of hits (left, top, right, bottom, score) for each category of the
model, in the manifest's order. Hits may overlap and reach over the picture's edges; merging is not a head's business.

Why the families are decoded here and not by `openvino-model-api`, which is the independent decoder of the tests: its
wrappers want to own the request queue, the resizing and the suppression; they round boxes to whole pixels, and keep of
each row the best label alone, so a face in a row whose best guess is "person" would be lost. It reads half of the
families here (no DETR, no face family, and of YOLOv3 and YOLOv5 not what their frameworks export). A decoder is ten
lines.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from blurd.core.heads.boxes import bind_boxes, bind_detection_output, bind_detr, bind_rtdetr
from blurd.core.heads.centres import decode_centerface as decode_centerface
from blurd.core.heads.centres import decode_plate_centres as decode_plate_centres
from blurd.core.heads.faces import bind_retinaface, bind_scrfd, bind_yunet
from blurd.core.heads.forms import LARGEST_SIDE_PX as LARGEST_SIDE_PX
from blurd.core.heads.forms import UNKNOWN as UNKNOWN
from blurd.core.heads.forms import Bind, UnfitError, listed
from blurd.core.heads.forms import Decode as Decode
from blurd.core.heads.forms import Facts as Facts
from blurd.core.heads.forms import Head as Head
from blurd.core.heads.forms import Maps as Maps
from blurd.core.heads.forms import Output as Output
from blurd.core.heads.instances import bind_mask_rcnn, bind_yolo_seg
from blurd.core.heads.yolo import bind_yolov3, bind_yolov5, bind_yolov8, bind_yolov10, bind_yolox, row_counts

HEADS: Final[Mapping[str, Head]] = MappingProxyType(
    {
        "centerface": Head(("heatmap", "scale", "offset"), decode_centerface),
        "plate_centres": Head(("heatmap", "size", "offset"), decode_plate_centres),
    }
)

FAMILIES: Final[Mapping[str, Bind]] = MappingProxyType(
    {
        "boxes": bind_boxes,
        "detection_output": bind_detection_output,
        "detr": bind_detr,
        "mask_rcnn": bind_mask_rcnn,
        "retinaface": bind_retinaface,
        "rtdetr": bind_rtdetr,
        "scrfd": bind_scrfd,
        "yolo_seg": bind_yolo_seg,
        "yolov10": bind_yolov10,
        "yolov3": bind_yolov3,
        "yolov5": bind_yolov5,
        "yolov8": bind_yolov8,
        "yolox": bind_yolox,
        "yunet": bind_yunet,
    }
)


def bind(outputs: Sequence[Output], facts: Facts, family: str | None) -> tuple[str, Decode]:
    """The family, named or told by the outputs, and its decoder. Raises `UnfitError` with words for the owner."""
    if family is not None:
        return family, FAMILIES[family](outputs, facts)
    fits: dict[str, Decode] = {}
    reasons: list[str] = []
    for name, binding in FAMILIES.items():
        try:
            fits[name] = binding(outputs, facts)
        except UnfitError as error:
            reasons.append(str(error))
    if "yolox" in fits:  # whose number of rows fits too, which yolov5's is not
        fits.pop("yolov5", None)
    if "yolov10" in fits and outputs[0].shape[1] in row_counts(facts):
        del fits["yolov10"]
    if len(fits) == 1:
        (name,) = fits
        _doubt(name, outputs[0], facts)
        return name, fits[name]
    if fits:
        raise UnfitError(f"the family can't be told: write family = one of {', '.join(fits)}")
    asked = next((reason for reason in reasons if "first_label" in reason), None)
    if asked is not None:
        raise UnfitError(asked)
    raise UnfitError(
        f"no family has such outputs with {facts.labels} labels: {listed(outputs)}. {_hint(outputs)}Or write"
        f" family = one of {', '.join(FAMILIES)}, to be told what it misses"
    )


def _doubt(name: str, table: Output, facts: Facts) -> None:
    """RT-DETR, exported by the makers of YOLOv8, looks like it but for the number of rows, and counts in shares."""
    if name == "yolov8" and not facts.in_shares and not {UNKNOWN, *row_counts(facts)}.intersection(table.shape[1:]):
        raise UnfitError(
            f"yolov8 has other numbers of rows for {facts.width_px} x {facts.height_px} pixels; the graph: {table}."
            ' Write boxes = "shares" in [decode] for an RT-DETR of Ultralytics, or family = "yolov8" where it is one'
        )


def _hint(outputs: Sequence[Output]) -> str:
    """How many labels a single table could have."""
    if len(outputs) == 1 and len(outputs[0].shape) == 3:  # noqa: PLR2004
        columns = min(length for length in outputs[0].shape[1:])
        if columns > 5:  # noqa: PLR2004
            return f"It would suit yolov8 with {columns - 4} labels, or yolov5 or yolox with {columns - 5}. "
    return ""
