"""Training samples: a crop at a random scale, synthetic plates and look-alikes pasted in, a camera's faults, targets.

Invariants
- A plate narrower than `IGNORE_BELOW_PX` in the sample is neither plate nor background.
- Everything random comes from one generator per worker, seeded by the data loader.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from camera import camera_faults
from network import STRIDE
from numpy.typing import NDArray
from scenes import PixelStore, Scene
from synth import Item, load_bank
from torch.utils.data import IterableDataset

IGNORE_BELOW_PX: Final = 9.0
UNLABELLED_BELOW_PX: Final = 14.0
"""Narrower plates are often unlabelled in the photos (px of the photo)."""
SMALL_PICTURE_BELOW_PX: Final = 100.0
HALF_BELOW_SCALE: Final = 0.6
GAUSSIAN_CELLS: Final = 4.0
"""What a plate's Gaussian may weigh together, however large the plate."""
PHOTO_FILLS_SHARE: Final = 0.7
"""How far a photo may shrink: its shorter side over the sample's side. Samples of bare filling teach nothing."""
SMALLEST_PASTED_PX: Final = 15.0
"""Free synthetic plates below this are specks without context, and taught that any speck is a plate."""
VISIBLE_SHARE: Final = 0.45
"""A plate that the crop's edge cuts counts while this share of it is left; else it is ignored."""

HARD_SHARE: Final = 0.12
"""How many crops show something that looks like a plate and is none."""

Boxes = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass
class Sample:
    """An image [S, S, 3] BGR with plates [n, 4] and regions to ignore [m, 4], px.

    `trust` [n] says how much each plate's box teaches about edges.
    """

    pixels: Pixels
    plates: list[list[float]]
    trust: list[float]
    ignored: list[list[float]]
    small_px: float


def map_box(matrix: NDArray[np.float64], box: Boxes) -> list[float]:
    """The upright box around a projected box."""
    left, top, right, bottom = (float(value) for value in box)
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ matrix.T
    corners = corners[:, :2] / corners[:, 2:]
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


def sharpness_safe_warp(
    image: Pixels, matrix: NDArray[np.float64], side: int, scale: float, fill: tuple[int, ...]
) -> Pixels:
    """Warp to [side, side]; strong reductions average first, or small plates turn into noise."""
    if scale < 0.6:
        shrink = max(scale * 1.1, 8 / min(image.shape[:2]))
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ np.diag([1 / shrink, 1 / shrink, 1.0])
    return np.asarray(
        cv2.warpPerspective(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=fill), np.uint8
    )


class SampleMaker:
    """Draws samples; one per worker."""

    def __init__(self, scenes: list[Scene], pixels: PixelStore, numbers: list[int], bank: Path, seed: int) -> None:
        self._scenes, self._pixels, self._numbers = scenes, pixels, numbers
        self._plates, self._look_alikes = load_bank(bank)
        self._halves: dict[int, Pixels] = {}
        self.random = np.random.default_rng(seed)
        weights = np.array([0.45 if scenes[number].source == "romania" else 1.0 for number in numbers])
        self._weights = weights / weights.sum()
        with_hard = sum(self._weights[place] for place, number in enumerate(numbers) if len(scenes[number].hard))
        self._hard_weight = 1.0 / max(with_hard, HARD_SHARE)

    def sample(self, side: int) -> Sample:
        """One sample; a fifth are four smaller crops side by side, which brings many small plates."""
        if self.random.random() < 0.2:
            half = side // 2
            result = Sample(np.empty((side, side, 3), np.uint8), [], [], [], 0.0)
            for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
                part = self._crop(half, wide_limit_px=half * 0.55)
                result.pixels[y : y + half, x : x + half] = part.pixels
                for source, target in ((part.plates, result.plates), (part.ignored, result.ignored)):
                    target.extend([box[0] + x, box[1] + y, box[2] + x, box[3] + y] for box in source)
                result.trust.extend(part.trust)
                result.small_px = max(result.small_px, part.small_px)
        else:
            result = self._crop(side, wide_limit_px=side * 0.9)
        result.pixels = camera_faults(result.pixels, self.random)
        return result

    def _crop(self, side: int, wide_limit_px: float) -> Sample:
        random = self.random
        number = int(random.choice(self._numbers, p=self._weights))
        scene, image = self._scenes[number], self._pixels.image(number)
        height, width = image.shape[:2]
        anchors = scene.hard if len(scene.hard) and random.random() < HARD_SHARE * self._hard_weight else scene.boxes
        if len(anchors) and random.random() < 0.85:
            anchor = anchors[random.integers(len(anchors))]
            plate_width = max(float(anchor[2] - anchor[0]), 4.0)
            wanted = math.exp(random.uniform(math.log(11), math.log(wide_limit_px)))
            scale = min(wanted / plate_width, 1.7 if plate_width < 60 else 2.5)
            scale = max(scale, PHOTO_FILLS_SHARE * side / min(height, width))
            centre = (anchor[:2] + anchor[2:]) / 2 + random.uniform(-0.42, 0.42, 2) * side / scale
        else:
            scale = math.exp(random.uniform(math.log(0.45), math.log(1.6)))
            centre = random.uniform(0, 1, 2) * (width, height)
        margin = side / scale / 2  # keep the crop on the photo where that is possible
        for axis, length in enumerate((width, height)):
            low, high = min(margin, length / 2), max(length - margin, length / 2)
            centre[axis] = np.clip(centre[axis], low, high)
        matrix = self._matrix(centre, scale, side)
        fill = tuple(int(value) for value in random.integers(0, 255, 3))
        if scale < HALF_BELOW_SCALE:
            half = self._half(number)
            pixels = sharpness_safe_warp(half, matrix @ np.diag([2.0, 2.0, 1.0]), side, scale * 2, fill)
        else:
            pixels = sharpness_safe_warp(image, matrix, side, scale, fill)
        unlabelled = UNLABELLED_BELOW_PX * scale if scene.source == "openimages" else 8.0
        sample = Sample(pixels, [], [], [], max(unlabelled, 8.0))
        for box in scene.ignored:
            left, top, right, bottom = (float(np.clip(value, 0, side)) for value in map_box(matrix, box))
            if left < right and top < bottom:
                sample.ignored.append([left, top, right, bottom])
        self._place_boxes(sample, scene, matrix, side)
        self._paste(sample, side, wide_limit_px)
        return sample

    def _half(self, number: int) -> Pixels:
        """The photo at half its size; kept, for averaging costs more than warping."""
        if number not in self._halves:
            image = self._pixels.image(number)
            size = (image.shape[1] // 2, image.shape[0] // 2)
            self._halves[number] = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        return self._halves[number]

    def _matrix(self, centre: NDArray[Any], scale: float, side: int) -> NDArray[np.float64]:
        """Photo to sample: mirrored, rotated, stretched, seen at a slant."""
        random = self.random
        angle = math.radians(random.normal(0, 4) if random.random() < 0.92 else random.uniform(-25, 25))
        stretch = math.exp(random.normal(0, 0.08))
        mirror = -1.0 if random.random() < 0.4 else 1.0
        cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
        shear = random.normal(0, 0.05)
        linear = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[mirror * stretch, shear], [0, 1 / stretch]])
        result = np.eye(3)
        result[:2, :2] = linear
        result[:2, 2] = side / 2 - linear @ np.asarray(centre, np.float64)
        slant = np.eye(3)
        slant[2, :2] = random.normal(0, 0.00012, 2) * (512 / side)
        to_middle, back = np.eye(3), np.eye(3)
        to_middle[:2, 2], back[:2, 2] = -side / 2, side / 2
        return back @ slant @ to_middle @ result

    def _place_boxes(self, sample: Sample, scene: Scene, matrix: NDArray[np.float64], side: int) -> None:
        for box in scene.boxes:
            mapped = map_box(matrix, box)
            clipped = [float(np.clip(value, 0, side)) for value in mapped]
            if clipped[2] - clipped[0] < 1 or clipped[3] - clipped[1] < 1:
                continue
            whole = (mapped[2] - mapped[0]) * (mapped[3] - mapped[1])
            visible = (clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) / max(whole, 1e-3)
            if visible < VISIBLE_SHARE or clipped[2] - clipped[0] < IGNORE_BELOW_PX:
                sample.ignored.append(clipped)
                continue
            replaced = self.random.random() < 0.35 and clipped[3] - clipped[1] > 4
            if replaced:
                self._replace(sample, mapped)
            sample.plates.append(clipped)
            sample.trust.append(1.0 if replaced else scene.trust)

    def _replace(self, sample: Sample, box: list[float]) -> None:
        """Another country's plate of a similar shape in the place of this one, filling its box."""
        width, height = box[2] - box[0], box[3] - box[1]
        candidates = [self._plates[index] for index in self.random.integers(len(self._plates), size=24)]
        item = min(candidates, key=lambda candidate: abs(math.log(candidate.aspect * height / width)))
        grow_x, grow_y = width * 0.02, height * 0.02
        quad = np.array(
            [
                [box[0] - grow_x, box[1] - grow_y],
                [box[2] + grow_x, box[1] - grow_y],
                [box[2] + grow_x, box[3] + grow_y],
                [box[0] - grow_x, box[3] + grow_y],
            ]
        )
        self._blend(sample.pixels, item, quad + self.random.normal(0, 0.02, (4, 2)) * height)

    def _paste(self, sample: Sample, side: int, wide_limit_px: float) -> None:
        """Free plates (labelled) and look-alikes (not labelled) that cover no labelled plate."""
        random = self.random
        plates = int(random.choice([0, 1, 2], p=[0.6, 0.28, 0.12]))
        others = int(random.choice([0, 1, 2, 4], p=[0.6, 0.2, 0.12, 0.08]))
        for is_plate in [True] * plates + [False] * others:
            bank = self._plates if is_plate else self._look_alikes
            item = bank[random.integers(len(bank))]
            width = math.exp(random.uniform(math.log(SMALLEST_PASTED_PX), math.log(wide_limit_px * 0.9)))
            quad = self._slanted_quad(width, width / item.aspect) + random.uniform(0, side, 2)
            low, high = quad.min(0), quad.max(0)
            inside = bool((low >= 0).all() and (high < side).all())
            box = [*low.tolist(), *high.tolist()]
            taken = sample.plates + sample.ignored
            if not inside or high[1] - low[1] < 3 or any(touches(box, other) for other in taken):
                continue
            self._blend(sample.pixels, item, quad)
            if is_plate:
                sample.plates.append(box)
                sample.trust.append(1.0)

    def _slanted_quad(self, width: float, height: float) -> NDArray[np.float64]:
        """The corners of a plate seen from a random side, around the origin."""
        random = self.random
        yaw, pitch = random.normal(0, 0.45), random.normal(0, 0.25)
        roll = random.normal(0, 0.07) if random.random() < 0.85 else random.uniform(-0.45, 0.45)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
        depth = corners[:, 0] * math.sin(yaw) + corners[:, 1] * math.sin(pitch)
        seen = corners * (math.cos(yaw), math.cos(pitch)) / (1 + depth[:, None] / (6 * width))
        turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
        return np.asarray(seen @ turn.T, np.float64)

    def _blend(self, pixels: Pixels, item: Item, quad: NDArray[np.float64]) -> None:
        """Lay the item into the quad, in the light of what lies there."""
        random = self.random
        side = pixels.shape[0]
        low = np.maximum(np.floor(quad.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(quad.max(0)).astype(int) + 2, side)
        if (high - low < 3).any():
            return
        width_px = float(np.linalg.norm(quad[1] - quad[0]))
        data = item.png if width_px > SMALL_PICTURE_BELOW_PX else item.small_png
        picture = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
        shrink = width_px / picture.shape[1]
        if shrink < 0.7:
            size = tuple(max(1, round(side_px * shrink)) for side_px in (picture.shape[1], picture.shape[0]))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = picture.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, (quad - low).astype(np.float32))
        warped = cv2.warpPerspective(picture, matrix, (int(high[0] - low[0]), int(high[1] - low[1]))).astype(np.float32)
        target = pixels[low[1] : high[1], low[0] : high[0]]
        light = float(target.mean())
        gain = float(np.clip((light + 50) / 150, 0.35, 1.25) * random.uniform(0.75, 1.3))
        colour = warped[..., :3] * gain + random.normal(0, 6, 3).astype(np.float32) + (light - 110) * 0.12
        alpha = warped[..., 3:] / 255 * random.choice([1.0, 1.0, random.uniform(0.85, 1)])
        target[:] = np.clip(colour * alpha + target * (1 - alpha), 0, 255).astype(np.uint8)


def touches(first: list[float], second: list[float]) -> bool:
    """Whether two boxes overlap."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def draw_targets(
    sample: Sample,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Heat [1, h, w], weight [1, h, w], box [4, h, w] and box weight [1, h, w] at stride 4 (see `losses.Targets`)."""
    cells = sample.pixels.shape[0] // STRIDE
    heat, weight = np.zeros((1, cells, cells), np.float32), np.ones((1, cells, cells), np.float32)
    box_map, box_weight = np.zeros((4, cells, cells), np.float32), np.zeros((1, cells, cells), np.float32)
    for left, top, right, bottom in sample.ignored:
        x0, y0 = int(left / STRIDE) - 1, int(top / STRIDE) - 1
        weight[0, max(y0, 0) : int(bottom / STRIDE) + 2, max(x0, 0) : int(right / STRIDE) + 2] = 0
    axis = (np.arange(cells, dtype=np.float32) + 0.5) * STRIDE
    largest_first = sorted(
        zip(sample.plates, sample.trust, strict=True),
        key=lambda item: -(item[0][2] - item[0][0]) * (item[0][3] - item[0][1]),
    )
    for (left, top, right, bottom), trust in largest_first:
        width, height = right - left, bottom - top
        centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
        sigma_x, sigma_y = max(width * 0.11, 2.4), max(height * 0.13, 2.4)
        column, row = min(int(centre_x / STRIDE), cells - 1), min(int(centre_y / STRIDE), cells - 1)
        gaussian = np.exp(
            -((axis[None, :] - axis[column]) ** 2) / (2 * sigma_x**2)
            - ((axis[:, None] - axis[row]) ** 2) / (2 * sigma_y**2)
        )
        heat[0] = np.maximum(heat[0], gaussian)
        heat[0, row, column] = 1.0
        around = gaussian > 0.01
        area_cells = 2 * math.pi * sigma_x * sigma_y / STRIDE**2
        weight[0][around] = min(1.0, GAUSSIAN_CELLS / area_cells)  # else the widest plates drown the others
        weight[0, row, column] = 1.0
        near = gaussian > 0.2
        box_map[:, near] = np.array([left, top, right, bottom], np.float32)[:, None]
        box_weight[0][near] = trust * gaussian[near] / gaussian[near].sum()
    return heat, weight, box_map, box_weight


MakerArguments = tuple[list[Scene], PixelStore, list[int], Path]
"""What a `SampleMaker` is made of, but for the seed."""


class PlateSamples(IterableDataset[tuple[torch.Tensor, ...]]):
    """An endless stream of whole batches: image [B, 3, S, S] uint8 and the fields of `losses.Targets`."""

    def __init__(self, maker_arguments: MakerArguments, shapes: list[tuple[int, int]], seed: int) -> None:
        self._arguments, self._shapes, self._seed = maker_arguments, shapes, seed

    def __iter__(self) -> Any:
        cv2.setNumThreads(1)
        worker = torch.utils.data.get_worker_info()
        seed = self._seed * 1000 + (worker.id if worker else 0)
        maker = SampleMaker(*self._arguments, seed)
        step = 0
        while True:
            batch, side = self._shapes[step % len(self._shapes)]
            samples = [maker.sample(side) for _ in range(batch)]
            targets = [draw_targets(sample) for sample in samples]
            images = np.ascontiguousarray(np.stack([sample.pixels for sample in samples]).transpose(0, 3, 1, 2))
            small = np.array([sample.small_px for sample in samples], np.float32)
            yield (
                torch.from_numpy(images),
                *(torch.from_numpy(np.stack(field)) for field in zip(*targets, strict=True)),
                torch.from_numpy(small),
            )
            step += 1
