"""Small detectors as real ONNX graphs, for tests: outputs of any family, from values that a test chooses.

A network averages its input over 16 x 16 pixels and changes each base value by a share that is a small random mixture
of these means, so what it says depends on every pixel, in all three colours. As in real detectors the last steps are
sums and products, which processors that multiply matrices in bfloat16 do in full precision.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

WIDTH_PX, HEIGHT_PX = 128, 96
POOL = 16
Precision = Literal["f32", "f16", "int8"]


class _Graph:
    """A graph that is put together: its nodes, its constants, its outputs."""

    def __init__(self, precision: Precision, *, still: bool) -> None:
        self.precision, self.still = precision, still
        self.kind = TensorProto.FLOAT16 if precision == "f16" else TensorProto.FLOAT
        self.number = np.float16 if precision == "f16" else np.float32
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: list[Any] = []
        self._random = np.random.default_rng(11)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def means(self, image: str) -> str:
        """What is seen of the picture, one row."""
        means = self.node("AveragePool", [image], "means", kernel_shape=[POOL, POOL], strides=[POOL, POOL])
        flat = self.node("Flatten", [means], "flat")
        if self.precision != "int8":
            return flat
        scale = self.constant("flat_scale", np.array(1 / 255, np.float32))
        zero = self.constant("flat_zero", np.array(0, np.uint8))
        quantised = self.node("QuantizeLinear", [flat, scale, zero], "flat_quantised")
        return self.node("DequantizeLinear", [quantised, scale, zero], "flat_again")

    def mixture(self, name: str, columns: int, *, is_still: bool) -> str:
        """Weights (features, columns)."""
        features = 3 * (WIDTH_PX // POOL) * (HEIGHT_PX // POOL)
        weights = self._random.normal(0, 0.0 if is_still or self.still else 0.01, (features, columns)).astype(
            np.float32
        )
        if self.precision != "int8":
            return self.constant(f"{name}_weights", weights.astype(self.number))
        steps = np.maximum(np.abs(weights).max(axis=0) / 127, 1e-9).astype(np.float32)
        quantised = self.constant(f"{name}_quantised", np.rint(weights / steps).clip(-127, 127).astype(np.int8))
        scale, zero = self.constant(f"{name}_steps", steps), self.constant(f"{name}_zero", np.zeros(columns, np.int8))
        return self.node("DequantizeLinear", [quantised, scale, zero], f"{name}_weights", axis=1)

    def output(self, flat: str, name: str, base: NDArray[Any], change: str | None) -> None:
        """An output of these values, changed by what is seen, and by a further number."""
        whole = bool(np.issubdtype(base.dtype, np.integer))
        shape = [-1, *base.shape[1:]] if base.shape[0] == 1 else list(base.shape)
        seen = self.node("MatMul", [flat, self.mixture(name, base.size, is_still=whole)], f"{name}_seen")
        placed = self.node(
            "Reshape", [seen, self.constant(f"{name}_shape", np.array(shape, np.int64))], f"{name}_placed"
        )
        width = self.constant(f"{name}_width", np.abs(base).astype(self.number))
        moved = self.node("Mul", [placed, width], f"{name}_moved")
        bias = self.constant(f"{name}_base", base.astype(self.number))
        last = name if not whole and change is None else f"{name}_plain"
        self.node("Add", [moved, bias], last)
        if change is not None:
            self.node("Add", [last, change], name)
        if whole:
            self.node("Cast", [self.node("Round", [last], f"{name}_round")], name, to=TensorProto.INT64)
        said = [None if length == -1 else length for length in shape]
        kind = TensorProto.INT64 if whole else self.kind
        self.outputs.append(helper.make_tensor_value_info(name, kind, said))


def network(  # noqa: PLR0913  a graph has many sides
    path: Path,
    outputs: Mapping[str, NDArray[Any]],
    *,
    batch: int | str = 1,
    size: tuple[int | str, int | str] = (WIDTH_PX, HEIGHT_PX),
    precision: Precision = "f32",
    layout: str = "NCHW",
    asks: Mapping[str, int] | None = None,
    still: bool = False,
) -> str:
    """Write the graph; its SHA-256. Outputs that don't begin with a batch of one have no batch.

    `asks` is a further input, (1, n): a thousandth of its sum is added to the first output. A `still` one
    says the same of every picture.
    """
    graph = _Graph(precision, still=still)
    sides = {"N": batch, "C": 3, "W": size[0], "H": size[1]}
    inputs = [helper.make_tensor_value_info("images", graph.kind, [sides[letter] for letter in layout])]
    image = graph.node("Transpose", ["images"], "upright", perm=[0, 3, 1, 2]) if layout == "NHWC" else "images"
    if layout == "CHW":
        image = graph.node("Unsqueeze", ["images", graph.constant("first", np.array([0], np.int64))], "with_batch")
    change = None
    for name, count in (asks or {}).items():
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count]))
        total = graph.node("ReduceSum", [name], f"{name}_sum", keepdims=0)
        change = graph.node("Mul", [total, graph.constant("small", np.array(1e-3, np.float32))], "change")
    flat = graph.means(image)
    for place, (name, base) in enumerate(outputs.items()):
        graph.output(flat, name, base, change if place == 0 else None)
    made = helper.make_graph(graph.nodes, "detector", inputs, graph.outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def said_by(path: Path, picture: NDArray[np.uint8], *, precision: Precision = "f32") -> dict[str, NDArray[Any]]:
    """What the graph says of a whole input (rows, columns, 3), RGB in 0..255, by ONNX's own evaluator."""
    evaluator = ReferenceEvaluator(onnx.load(str(path)))
    pixels = (picture.astype(np.float32) / 255)[np.newaxis].transpose(0, 3, 1, 2)
    fed = pixels.astype(np.float16) if precision == "f16" else pixels
    names = [item.name for item in evaluator.proto_.graph.output]
    return dict(zip(names, evaluator.run(None, {"images": fed}), strict=True))
