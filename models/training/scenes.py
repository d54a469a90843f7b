"""The annotated scenes and their split into training, development and validation.

Invariants
- The split is by scene: frames of one drive stay together in runs without a gap of more than 12 seconds, photos that
  look alike (difference hash of 64 bits, at most 6 bits apart) stay together.
- A group's part depends on the hash of its name alone, so a grown data set keeps its split.
- Nothing is tuned on the validation part; thresholds are chosen on the development part.
- `corrections.json` beside this file says, by a photo's name, which boxes it has after all: many labels of the Open
  Images photos are loose or shifted, and many plates have none. What nobody can tell is `ignored`: neither plate nor
  background.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Part = Literal["train", "dev", "validation"]
CORRECTIONS: Final = Path(__file__).with_name("corrections.json")
TRUST: Final = {"openimages": 0.1, "romania": 0.2}
CORRECTED_TRUST: Final = 0.5
RUN_GAP_S: Final = 12
NEAR_DUPLICATE_BITS: Final = 6
FRAME_NAME: Final = re.compile(r"(?P<drive>romania_.*)_t(?P<second>\d+)\.jpg")


@dataclass(frozen=True)
class Scene:
    """One image with its plates: boxes [n, 4], left, top, right, bottom in px.

    `ignored` [m, 4] are places where nobody can tell; `hard` [k, 4] look like plates and are none. `trust` says how
    much the boxes teach about edges, beside a synthetic plate's 1.
    """

    path: Path
    source: str
    boxes: NDArray[np.float32]
    ignored: NDArray[np.float32]
    hard: NDArray[np.float32]
    trust: float


def difference_hash(image: NDArray[np.uint8]) -> int:
    """64 bits: whether each pixel of the grey 9x8 thumbnail is darker than its right neighbour."""
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int(sum(1 << position for position, bit in enumerate(bits) if bit))


def read_scenes(folder: Path, *, corrected: bool = True) -> list[Scene]:
    """The scenes of a folder with `annotations.json` (COCO) and `images/`, labels corrected or as they came."""
    document = json.loads((folder / "annotations.json").read_text())
    corrections = json.loads(CORRECTIONS.read_text()) if corrected else {}
    boxes: dict[int, list[list[float]]] = {}
    for annotation in document["annotations"]:
        left, top, width, height = annotation["bbox"]
        boxes.setdefault(annotation["image_id"], []).append([left, top, left + width, top + height])
    scenes: list[Scene] = []
    for entry in sorted(document["images"], key=lambda entry: str(entry["file_name"])):
        name = str(entry["file_name"])
        source, correction = name.split("_", maxsplit=1)[0], corrections.get(name, {})
        found = correction.get("boxes", boxes.get(entry["id"], []))
        scenes.append(
            Scene(
                folder / "images" / name,
                source,
                *(
                    np.asarray(part, np.float32).reshape(-1, 4)
                    for part in (found, correction.get("ignored", []), correction.get("hard", []))
                ),
                CORRECTED_TRUST if "boxes" in correction else TRUST[source],
            )
        )
    return scenes


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


def split_scenes(folder: Path, cache: Path, *, corrected: bool = True) -> dict[Part, list[Scene]]:
    """The scenes by part; the grouping is kept in `cache` (JSON), for hashing reads every image."""
    scenes = read_scenes(folder, corrected=corrected)
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


def write_coco(scenes: list[Scene], target: Path) -> None:
    """The scenes' plates as COCO annotations for `blurd evaluate`; what nobody can tell is `iscrowd`."""
    images, annotations = [], []
    for number, scene in enumerate(scenes, start=1):
        height, width = np.asarray(cv2.imread(str(scene.path))).shape[:2]
        images.append({"id": number, "file_name": scene.path.name, "width": width, "height": height})
        for boxes, crowd in ((scene.boxes, 0), (scene.ignored, 1)):
            for left, top, right, bottom in boxes.tolist():
                box = [round(value, 1) for value in (left, top, right - left, bottom - top)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": 1,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": crowd,
                    }
                )
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "plate"}]}
    target.write_text(json.dumps(document))


def main() -> None:
    parser = argparse.ArgumentParser(description="write one part's plates as COCO annotations, for blurd evaluate")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=["train", "dev", "validation"], default="validation")
    parser.add_argument("--original", action="store_true", help="the labels as they came, without corrections")
    parser.add_argument("--coco", type=Path, required=True, help="where the annotations go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = split_scenes(arguments.data, Path(folder) / "groups.json", corrected=not arguments.original)
    write_coco(parts[arguments.part], arguments.coco)


if __name__ == "__main__":
    main()
