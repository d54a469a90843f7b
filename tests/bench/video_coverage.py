"""How well faces and plates in moving pictures are covered, on generated clips with exact ground truth.

Usage: python tests/bench/video_coverage.py [--clips N] [--frames N] [--width PX] [--classes face,plate]
       [--profile NAME] [--models DIR]

Each clip has faces and plates that move over photographs, shake, blur, hide behind a post and leave over the edges, and
is compressed before it is read. The product's own analysis and plan run over it; the definitions of the figures stand
in blurd/core/exposure.py. Clips vary in size of the objects, speed, noise and compression.
"""

import argparse
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from blurd.config import ModelSettings, Policy, Settings
from blurd.core.exposure import Exposure
from blurd.evaluate_video import evaluate_video
from blurd.profiles import PROFILES
from blurd.records import Category
from clips import Look, mot_lines, render
from videos import Form, write_clip

ROOT = Path(__file__).resolve().parents[2]
SCENES = (
    ("usual", Look(), "24", 25),
    ("small", Look(sizes_px=(16.0, 40.0)), "24", 25),
    ("large", Look(sizes_px=(60.0, 200.0)), "24", 25),
    ("quick", Look(speed=0.6), "24", 25),
    ("coarse", Look(noise=6.0), "32", 25),
    ("slow camera", Look(), "24", 10),
    ("still camera", Look(shake_px=0.0, noise=1.5), "24", 15),
)
"""Name, what is shown, quality factor of the source, frames a second."""


def measure(number: int, options: argparse.Namespace, settings: Settings) -> dict[Category, Exposure]:
    """Make a clip and measure it."""
    _, look, quality, rate = SCENES[number % len(SCENES)]
    height = round(options.width * 9 / 32) * 2
    with tempfile.TemporaryDirectory() as folder:
        video, annotations = Path(folder) / "clip.mp4", Path(folder) / "gt.txt"
        lines: list[str] = []

        def pictures() -> object:
            for index, (picture, truths) in enumerate(
                render(number, options.width, height, options.frames, float(rate), look)
            ):
                wanted = [truth for truth in truths if truth.category in options.classes]
                lines.append(mot_lines(index, wanted))
                yield picture

        write_clip(video, pictures(), Form(rate=Fraction(rate), options={"crf": quality}))  # type: ignore[arg-type]
        annotations.write_text("".join(lines))
        policy = Policy(profile=options.profile)
        result = evaluate_video(settings, policy, annotations, video, options.classes, lambda *_: None)
    print(f"{SCENES[number % len(SCENES)][0]:12} seed {number}: over-blur {result.over_blur:.3f},", end=" ")
    print(f"{1000 * result.seconds / options.frames:.0f} ms a frame; ", end="")
    for category, exposure in result.exposures.items():
        print(_sentence(category, [exposure]), end="; ")
    print(flush=True)
    return dict(result.exposures)


def _sentence(category: Category, found: Sequence[Exposure]) -> str:
    frames = sum(exposure.object_frames for exposure in found)
    covered = sum((exposure.coverage or 0.0) * exposure.object_frames for exposure in found)
    return (
        f"{category}: coverage {covered / max(frames, 1):.4f} of {frames}, "
        f"longest exposure {max(exposure.longest_exposure_frames for exposure in found)} frames, "
        f"never covered {sum(exposure.objects_never_covered for exposure in found)} "
        f"of {sum(len(exposure.tracks) for exposure in found)}, "
        f"flicker {max(exposure.flicker_per_s or 0.0 for exposure in found):.2f}/s"
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Coverage in videos.")
    parser.add_argument("--clips", type=int, default=7)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--profile", default="balanced", choices=list(PROFILES))
    parser.add_argument(
        "--classes", type=lambda text: tuple(Category(part) for part in text.split(",")), default=(Category.FACE,)
    )
    options = parser.parse_args()
    settings = Settings.model_construct(models=ModelSettings(directory=options.models))
    found = [measure(number, options, settings) for number in range(options.clips)]
    for category in options.classes:
        print("all", _sentence(category, [exposures[category] for exposures in found]))


if __name__ == "__main__":
    main()
