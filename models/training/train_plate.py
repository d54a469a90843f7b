"""One command from annotated photos to the files that `models/plate/` ships. See README.md.

    python models/training/train_plate.py --data ../shared/data/plates --work DIR

Steps, each skipped when its result is there: split by scene, decode, render synthetic plates, train one slice of
`--minutes` (run again for more), export FP16, calibrate INT8 on training images, choose the threshold on the
development part, measure on the validation part, copy the shipped files. PyTorch is needed here and nowhere else.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve each other on a shared machine

from scenes import split_scenes
from synth import render_bank
from train import PEAK_RATE, Slice, train

MODELS = Path(__file__).resolve().parent.parent


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="train, export and measure the plate detector")
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json (COCO) and images/")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches, checkpoints and logs")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="where the system keeps its fonts")
    parser.add_argument("--minutes", type=float, default=240.0, help="length of this training slice; 0 only exports")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="peak learning rate of this slice")
    parser.add_argument("--cool", type=float, default=0.3, help="share of the slice in which the rate falls; 0: not")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--workers", type=int, default=1, help="processes that make samples")
    parser.add_argument("--start", type=Path, help="weights to begin from, e.g. models/plate/plate-float.pt")
    parser.add_argument("--ship", type=Path, help="where the shipped files go, e.g. models/plate")
    return parser.parse_args()


def keep_memory() -> None:
    """Tell glibc not to hand large buffers back after every step: mapping them anew cost a sixth of the time."""
    trim_threshold, most_mapped = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    library = ctypes.CDLL(None)
    library.mallopt(most_mapped, 0)
    library.mallopt(trim_threshold, 2**31 - 1)


def main() -> None:
    arguments = parse()
    keep_memory()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    parts = split_scenes(arguments.data, work / "groups.json")
    print({part: len(scenes) for part, scenes in parts.items()}, flush=True)
    bank = work / "bank.pickle"
    render_bank(arguments.fonts, bank, plates=6000, look_alikes=2000)
    if arguments.minutes > 0:
        plan = Slice(arguments.minutes, arguments.threads, arguments.workers, arguments.rate, arguments.cool)
        train(parts["train"], work, bank, plan, arguments.start)
    if arguments.ship:
        from finish import finish  # noqa: PLC0415  # needs OpenVINO, training alone does not

        finish(parts, work, arguments.ship)


if __name__ == "__main__":
    main()
