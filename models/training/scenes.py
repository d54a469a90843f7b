"""The annotated scenes and their split into training, development and validation.

Invariants
- The split is by scene: frames of one drive stay together in runs without a gap of more than 12 seconds, photos that
  look alike (difference hash of 64 bits, at most 6 bits apart) stay together.
- A group's part depends on the hash of its name alone, so a grown data set keeps its split.
- Nothing is tuned on the validation part; thresholds are chosen on the development part.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Part = Literal["train", "dev", "validation"]
RUN_GAP_S: Final = 12
NEAR_DUPLICATE_BITS: Final = 6
FRAME_NAME: Final = re.compile(r"(?P<drive>romania_.*)_t(?P<second>\d+)\.jpg")


@dataclass(frozen=True)
class Scene:
    """One image with its plates: boxes [n, 4], left, top, right, bottom in px."""

    path: Path
    source: str
    boxes: NDArray[np.float32]


def difference_hash(image: NDArray[np.uint8]) -> int:
    """64 bits: whether each pixel of the grey 9x8 thumbnail is darker than its right neighbour."""
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int(sum(1 << position for position, bit in enumerate(bits) if bit))


def read_scenes(folder: Path) -> list[Scene]:
    """The scenes of a folder with `annotations.json` (COCO) and `images/`."""
    document = json.loads((folder / "annotations.json").read_text())
    boxes: dict[int, list[list[float]]] = {}
    for annotation in document["annotations"]:
        left, top, width, height = annotation["bbox"]
        boxes.setdefault(annotation["image_id"], []).append([left, top, left + width, top + height])
    return [
        Scene(
            folder / "images" / entry["file_name"],
            entry["file_name"].split("_", maxsplit=1)[0],
            np.asarray(boxes.get(entry["id"], []), np.float32).reshape(-1, 4),
        )
        for entry in sorted(document["images"], key=lambda entry: str(entry["file_name"]))
    ]


def group_names(scenes: list[Scene]) -> list[str]:
    """For every scene the name of the group that must stay in one part."""
    names: list[str] = []
    drives: dict[str, list[tuple[int, str]]] = {}
    for scene in scenes:
        match = FRAME_NAME.fullmatch(scene.path.name)
        if match:
            drives.setdefault(match["drive"], []).append((int(match["second"]), scene.path.name))
    run_of: dict[str, str] = {}
    for drive, frames in drives.items():
        previous, run = -RUN_GAP_S - 1, ""
        for second, name in sorted(frames):
            if second - previous > RUN_GAP_S:
                run = f"{drive}_from_{second}"
            run_of[name], previous = run, second
    known: list[tuple[int, str]] = []
    for scene in scenes:
        name = run_of.get(scene.path.name, "")
        if not name:
            fingerprint = difference_hash(np.asarray(cv2.imread(str(scene.path)), np.uint8))
            near = (group for other, group in known if (other ^ fingerprint).bit_count() <= NEAR_DUPLICATE_BITS)
            name = next(near, scene.path.name)
            known.append((fingerprint, name))
        names.append(name)
    return names


def part_of(group: str) -> Part:
    """13 % of the groups validate, 5 % are for development, the rest trains."""
    share = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "validation" if share < 0.13 else "dev" if share < 0.18 else "train"


def split_scenes(folder: Path, cache: Path) -> dict[Part, list[Scene]]:
    """The scenes by part; the grouping is kept in `cache` (JSON), for hashing reads every image."""
    scenes = read_scenes(folder)
    if not cache.exists():
        names = group_names(scenes)
        cache.write_text(
            json.dumps({scene.path.name: name for scene, name in zip(scenes, names, strict=True)}, indent=0)
        )
    groups = json.loads(cache.read_text())
    parts: dict[Part, list[Scene]] = {"train": [], "dev": [], "validation": []}
    for scene in scenes:
        parts[part_of(groups[scene.path.name])].append(scene)
    return parts


class PixelStore:
    """Decoded images in one memory-mapped file, so that training does not decode JPEG."""

    def __init__(self, scenes: list[Scene], target: Path) -> None:
        index_path = target.with_suffix(".json")
        if not index_path.exists():
            entries: list[tuple[int, int, int]] = []
            position = 0
            with target.open("wb") as sink:
                for scene in scenes:
                    image = cv2.imread(str(scene.path))
                    if image is None:
                        raise SystemExit(f"cannot read {scene.path}")
                    entries.append((position, image.shape[0], image.shape[1]))
                    position += sink.write(image.tobytes())
            index_path.write_text(json.dumps(entries))
        self._index: list[list[int]] = json.loads(index_path.read_text())
        if len(self._index) != len(scenes):
            raise SystemExit(f"{target} belongs to another data set; delete it and its .json")
        self._pixels = np.memmap(target, np.uint8, mode="r")

    def image(self, number: int) -> NDArray[np.uint8]:
        """The pixels [H, W, 3] BGR of the scene with this number."""
        position, height, width = self._index[number]
        return self._pixels[position : position + height * width * 3].reshape(height, width, 3)
