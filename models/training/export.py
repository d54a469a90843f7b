"""From averaged weights to OpenVINO files: 16-bit for GPUs, 8-bit for CPUs; pre-processing inside the graph.

Contract of both files: input `image` uint8 [1, H, W, 3] BGR, H and W any multiple of 32 (reshape before compiling: a
fixed shape is faster); outputs `heatmap` [1, 1, H/4, W/4], `size` [1, 2, H/4, W/4], `offset` [1, 2, H/4, W/4], see
`network.ExportedNetwork`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import cv2
import nncf
import numpy as np
import openvino as ov
import torch
from camera import light_and_colour, night
from network import ExportedNetwork, PlateNetwork
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from scenes import Scene

CALIBRATION_HEIGHT_PX: Final = 544
CALIBRATION_WIDTH_PX: Final = 960
CALIBRATION_IMAGES: Final = 240


def to_openvino(network: PlateNetwork) -> ov.Model:
    """The trained network as an OpenVINO model with a free height and width."""
    exported = ExportedNetwork(network).eval()
    example = torch.zeros(1, 736, 1280, 3, dtype=torch.uint8)
    with torch.no_grad():
        model = ov.convert_model(exported, example_input=example, input=[("image", [1, -1, -1, 3], ov.Type.u8)])
    model.inputs[0].get_tensor().set_names({"image"})
    for output, name in zip(model.outputs, ("heatmap", "size", "offset"), strict=True):
        output.get_tensor().set_names({name})
    return model


def calibration_images(scenes: list[Scene]) -> Iterator[NDArray[np.uint8]]:
    """Training images [1, H, W, 3] at mixed scales, a fifth of them darkened."""
    random = np.random.default_rng(7)
    for position in random.permutation(len(scenes))[:CALIBRATION_IMAGES]:
        image = np.asarray(cv2.imread(str(scenes[position].path)), np.uint8)
        scale = random.uniform(0.6, 1.6)
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        canvas = np.full((CALIBRATION_HEIGHT_PX, CALIBRATION_WIDTH_PX, 3), 114, np.uint8)
        image = image[:CALIBRATION_HEIGHT_PX, :CALIBRATION_WIDTH_PX]
        canvas[: image.shape[0], : image.shape[1]] = image
        kind = random.random()
        if kind < 0.5:
            canvas = night(canvas, random) if kind < 0.2 else light_and_colour(canvas, random)
        yield canvas[None]


def to_int8(model: ov.Model, scenes: list[Scene]) -> ov.Model:
    """Post-training quantisation; the heads, the peak search and the probability stay in floating point.

    The heads are cheap, and their rare high values are what counts: calibrated on all cells, they were cut off.
    For the same reason ranges are the true extremes of all calibration images, not the mean of each image's.
    """
    nncf.set_log_level(logging.ERROR)
    fixed = model.clone()
    fixed.reshape([1, CALIBRATION_HEIGHT_PX, CALIBRATION_WIDTH_PX, 3])
    images = list(calibration_images(scenes))
    quantised: ov.Model = nncf.quantize(
        fixed,
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
        ignored_scope=nncf.IgnoredScope(
            types=["Sigmoid", "MaxPool", "Equal"], patterns=[r".*network\.(heat|size|offset)/.*"], validate=False
        ),
    )
    quantised.reshape([1, -1, -1, 3])
    return quantised


def write(model: ov.Model, target: Path) -> None:
    """The .xml and its .bin, floating-point constants in 16 bits."""
    ov.save_model(model, target, compress_to_fp16=True)
