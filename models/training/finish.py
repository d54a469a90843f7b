"""The last steps of a training run: export, calibrate, measure, and lay the shipped files down."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from evaluate import Detector, average_precision, choose_threshold, figures_at, images_per_second, look
from export import to_int8, to_openvino, write
from train import load_weights, save_weights

if TYPE_CHECKING:
    from pathlib import Path

    from scenes import Part, Scene

FILES: Final = {"fp16": "plate.xml", "int8": "plate-int8.xml"}
ALLOWED_FALSE_BOXES: Final = 0.25
"""Per image of the development part; the goal on validation is 0.3."""


def finish(parts: dict[Part, list[Scene]], work: Path, ship: Path) -> None:
    """Export the averaged weights of the work folder's checkpoint into `ship`, with `measured.json` beside them."""
    ship.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint.pt"
    floating = ship / "plate-float.pt"
    network = load_weights(checkpoint if checkpoint.exists() else floating)
    save_weights(network, floating)
    model = to_openvino(network)
    write(model, ship / FILES["fp16"])
    write(to_int8(model, parts["train"]), ship / FILES["int8"])
    measured = {name: measure(ship / file, parts) for name, file in FILES.items()}
    (ship / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured, indent=1))


def measure(path: Path, parts: dict[Part, list[Scene]]) -> dict[str, Any]:
    """Threshold from the development part, figures from the validation part, speed."""
    detector = Detector(path)
    threshold = choose_threshold(look(detector, parts["dev"]), ALLOWED_FALSE_BOXES)
    seen = look(detector, parts["validation"])
    sweep = sorted({threshold, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5})
    return {
        "sha256": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, path.with_suffix(".bin"))
        },
        "threshold_chosen_on_dev": threshold,
        "ap50": round(average_precision(seen), 4),
        "validation": [figures_at(seen, value) for value in sweep],
        "speed_1280x736_two_threads": images_per_second(path),
    }
