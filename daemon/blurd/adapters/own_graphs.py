"""The graphs of the owner's own detectors: read with OpenVINO, brought to one fixed size, and fed as all others are.

The graph is given one input of 8-bit pixels (1, rows, columns, 3); conversion, mean, scale and layout become a part of
it. A batch becomes one. An input that asks for the picture's size is answered with the network's own.

DIAGNOSTICS: `GraphFault` with lines that say what to write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
import openvino
from numpy.typing import NDArray

from blurd.adapters.models import InputLayout, NetworkFiles
from blurd.core.geometry import HitArray
from blurd.core.heads import UNKNOWN, Output

_COLOURS: Final = 3
_RANK: Final = 4
_OURS: Final = "blurd_output_"
_LIBRARY_ERRORS: Final = (RuntimeError, ValueError, TypeError, AttributeError)


class GraphFault(ValueError):  # noqa: N818  a fault of the file, for whoever wrote it
    """What is wrong with a graph, a line for each fault."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Reading:
    """How a graph is fed: width and height where the graph leaves them open, layout, and what is done to pixels."""

    size: tuple[int, int] | None
    layout: Literal["NCHW", "NHWC"] | None
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    is_onnx: bool


class CanvasLayout(InputLayout):
    """An input of one size: a view lies in its upper left corner (`pad` fills the rest), or is stretched over it."""

    width_px: int
    height_px: int
    stretched: bool
    pad: int

    def filled(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view as the network is fed it, (1, rows, columns, 3)."""
        if self.stretched:
            size_px = (self.width_px, self.height_px)
            if part.shape[1::-1] != size_px:
                part = np.asarray(cv2.resize(part, size_px, interpolation=cv2.INTER_LINEAR), np.uint8)
            return np.ascontiguousarray(part)[np.newaxis]
        pixels = np.full((1, self.height_px, self.width_px, 3), self.pad, np.uint8)
        pixels[0, : part.shape[0], : part.shape[1]] = part
        return pixels

    def to_view(self, hits: HitArray, width_px: int, height_px: int) -> HitArray:
        """Hits in pixels of the input in pixels of a view of this size."""
        if not self.stretched:
            return hits
        shrunk = hits.copy()
        shrunk[:, [0, 2]] *= width_px / self.width_px
        shrunk[:, [1, 3]] *= height_px / self.height_px
        return shrunk


def bound(reading: Reading, files: NetworkFiles) -> tuple[tuple[int, int], tuple[Output, ...]]:
    """Width and height of the input, and the outputs, of a graph that was brought to its size.

    The outputs have the names that the graph's maker gave them; `output_name` tells them by their places.
    """
    graph = read_graph(openvino.Core(), reading, files)
    _, rows, columns, _ = graph.inputs[0].shape
    outputs = tuple(
        Output(
            next((name for name in sorted(output.get_names()) if not is_ours(name)), ""),
            tuple(UNKNOWN if length.is_dynamic else length.get_length() for length in output.partial_shape),
            output.element_type.is_integral(),
        )
        for place, output in enumerate(graph.outputs)
        if output.partial_shape.rank.is_static
    )
    if len(outputs) != len(graph.outputs):
        raise GraphFault(["an output has no fixed number of dimensions: export the model with fixed shapes"])
    return (int(columns), int(rows)), outputs


def read_graph(core: Any, reading: Reading, files: NetworkFiles) -> Any:
    """The graph, ready to be compiled."""
    try:
        graph = core.read_model(files.graph, files.weights)
    except _LIBRARY_ERRORS as error:
        kind = "ONNX file" if reading.is_onnx else "OpenVINO IR"
        detail = f"file: OpenVINO can't read it ({type(error).__name__}): is it a whole {kind}, weights inside?"
        raise GraphFault([detail]) from None
    names = [_said(output) for output in graph.outputs]
    _give_batch(graph)
    image = _image_input(graph)
    layout, shape = _fixed_shape(image, reading)
    width_px, height_px = shape[layout.index("W")], shape[layout.index("H")]
    try:
        for other in [item for item in graph.inputs if item.node != image.node]:
            _answer(graph, other, width_px, height_px)
        graph.reshape({image: shape})
        return _fed(graph, layout, reading, names)
    except GraphFault:
        raise
    except _LIBRARY_ERRORS:
        wanted = f"{width_px} x {height_px} and a batch of one"
        detail = f"input.size: the graph can't be brought to {wanted}: export it with this fixed shape"
        raise GraphFault([detail]) from None


def _give_batch(graph: Any) -> None:
    """A picture without a batch, as torchvision's detectors take it, becomes a batch of one."""
    ranks = [len(item.partial_shape) if item.partial_shape.rank.is_static else 0 for item in graph.inputs]
    if _RANK in ranks or ranks.count(_RANK - 1) != 1:
        return
    image = graph.inputs[ranks.index(_RANK - 1)]
    shape = openvino.PartialShape([1, *image.partial_shape])
    batch = openvino.opset13.parameter(shape, image.element_type)
    alone = openvino.opset13.squeeze(batch, openvino.opset13.constant(np.array([0], np.int64)))
    for target in list(image.get_target_inputs()):
        target.replace_source_output(alone.output(0))
    graph.remove_parameter(image.node)
    graph.add_parameters([batch])


def _image_input(graph: Any) -> Any:
    images = [item for item in graph.inputs if item.partial_shape.rank.is_static and len(item.partial_shape) == _RANK]
    if len(images) != 1:
        shapes = ", ".join(str(item.partial_shape) for item in graph.inputs)
        raise GraphFault([f"file: one input of the graph is a picture with 4 dimensions; the graph has: {shapes}"])
    return images[0]


def _fixed_shape(image: Any, reading: Reading) -> tuple[str, list[int]]:
    lengths = [None if length.is_dynamic else int(length.get_length()) for length in image.partial_shape]
    layouts = [layout for layout in ("NCHW", "NHWC") if lengths[layout.index("C")] == _COLOURS]
    if reading.layout is not None:
        if lengths[reading.layout.index("C")] not in (None, _COLOURS):
            raise GraphFault([f"input.layout: the graph's input {image.partial_shape} has no 3 colours there"])
        layouts = [reading.layout]
    if not layouts and None not in (lengths[1], lengths[3]):
        raise GraphFault([f"file: the network must see 3 colours; its input is {image.partial_shape}"])
    if len(layouts) != 1:
        raise GraphFault([f'input.layout: write "NCHW" or "NHWC"; the graph\'s input is {image.partial_shape}'])
    (layout,) = layouts
    width, height = lengths[layout.index("W")], lengths[layout.index("H")]
    if reading.size is not None:
        width, height = reading.size
    if width is None or height is None:
        detail = f"input.size: write width and height, the graph leaves them open ({image.partial_shape})"
        raise GraphFault([detail])
    sides = {"N": 1, "C": _COLOURS, "W": width, "H": height}
    return layout, [sides[letter] for letter in layout]


def _answer(graph: Any, item: Any, width_px: int, height_px: int) -> None:
    """Put numbers in the place of an input that asks how large the picture is."""
    shape = item.partial_shape
    count = shape[-1].get_length() if shape.rank.is_static and len(shape) == 2 and not shape[-1].is_dynamic else 0  # noqa: PLR2004
    answers = {2: (width_px, height_px), 3: (height_px, width_px, 1)}  # RT-DETR's own size; Faster R-CNN's im_info
    if count not in answers:
        raise GraphFault([f"file: the graph has a second input {shape} that nobody knows: export the model without it"])
    kind = item.element_type.to_dtype()
    answer = openvino.opset13.constant(np.array([answers[count]], kind))
    parameter = item.node
    for target in list(item.get_target_inputs()):
        target.replace_source_output(answer.output(0))
    graph.remove_parameter(parameter)


def _fed(graph: Any, layout: str, reading: Reading, names: Sequence[str]) -> Any:
    steps = openvino.preprocess.PrePostProcessor(graph)
    entry = steps.input()
    entry.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    entry.model().set_layout(openvino.Layout(layout))
    entry.preprocess().convert_element_type(openvino.Type.f32).mean(list(reading.mean)).scale(list(reading.scale))
    fed = steps.build()
    for place, output in enumerate(fed.outputs):
        output.get_tensor().set_names({output_name(place), *([names[place]] if names[place] else [])})
    return fed


def output_name(place: int) -> str:
    """The name by which a head asks for an output."""
    return f"{_OURS}{place}"


def is_ours(name: str) -> bool:
    """True for a name that `output_name` gave, and not the graph's maker."""
    return name.startswith(_OURS)


def _said(output: Any) -> str:
    names = sorted(output.get_names())
    return str(names[0]) if names else str(output.node.get_friendly_name())
