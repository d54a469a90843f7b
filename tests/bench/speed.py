"""How long blurd takes beside what else could be done with the same files, in turns in one run.

Usage: python tests/bench/speed.py [--clips NAMES] [--tools NAMES] [--rounds N] [--photos N] [--media DIR] [--work DIR]

Each clip goes through FFmpeg's decoder alone, FFmpeg's encoder with blurd's own default settings (libx264, veryfast,
crf 20), `deface` (faces only; in a virtual environment of its own) and what `blurd blur` does. All are whole processes,
from start to end. Times are medians over the rounds; ratios are to FFmpeg's transcoding in the same run. Quality is the
median over frames and blocks of 16 x 16 pixels of the peak signal-to-noise ratio against the source: masks are the
smaller part of a picture and don't count in it. Clips are made once, below `--work`; real ones are taken from
`--media`.

Needs ffmpeg on the path, and the package index for deface.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from clips import Look, render
from videos import Form, write_clip

ROOT: Final = Path(__file__).resolve().parents[2]
DEFACE: Final = "deface==1.5.0"
REFERENCE: Final = "ffmpeg transcode"
_BLOCK_PX: Final = 16
_STREET = Look(faces=6, plates=6, sizes_px=(24.0, 120.0), speed=0.2)
_CROWD = Look(faces=24, plates=0, sizes_px=(20.0, 60.0), speed=0.05, post=False)
_NIGHT = Look(faces=0, plates=0, shake_px=0.0, noise=2.0, post=False)
_PASSING = Look(faces=1, plates=1, sizes_px=(40.0, 90.0), speed=0.5, shake_px=0.0, noise=2.0, post=False)


@dataclass(frozen=True, slots=True)
class Made:
    """A clip to make: size, what it shows, frames, and distance of key pictures as cameras have it."""

    width: int
    height: int
    frames: int
    looks: tuple[Look, ...]
    rate: int = 25
    key_every: int = 50


CLIPS: Final[Mapping[str, Made]] = {
    "street 720p": Made(1280, 720, 300, (_STREET,)),
    "street 1080p": Made(1920, 1080, 200, (_STREET,)),
    "street 4k": Made(3840, 2160, 60, (_STREET,)),
    "crowd 1080p": Made(1920, 1080, 200, (_CROWD,)),
    "still night 1080p": Made(1920, 1080, 500, (_NIGHT,)),
    "still, then a passer-by 1080p": Made(1920, 1080, 500, (_NIGHT, _NIGHT, _PASSING, _NIGHT, _NIGHT)),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One process: seconds by the clock, of all processors, and the most memory that it had."""

    wall_s: float
    cpu_s: float
    peak_mebibytes: float


def timed(command: Sequence[str]) -> Run:
    """Run a command to its end. Raises where it fails."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {said.decode(errors='replace')[-1500:]}")
    return Run(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def make_clip(path: Path, made: Made) -> None:
    """Write one clip, as a camera would have written it."""
    share = made.frames // len(made.looks)

    def pictures() -> object:
        for look in made.looks:
            for picture, _ in render(7, made.width, made.height, share, float(made.rate), look):
                yield picture

    options = {"g": str(made.key_every), "sc_threshold": "0", "crf": "23", "preset": "veryfast"}
    part = path.with_suffix(".part")
    write_clip(part, pictures(), Form(rate=Fraction(made.rate), options=options))  # type: ignore[arg-type]
    part.replace(path)


def tools(work: Path, source: Path, target: Path) -> dict[str, Sequence[str]]:
    """The commands, by name, each from the same source; what writes a copy writes `target`."""
    ffmpeg = ("ffmpeg", "-v", "error", "-y", "-i", str(source))
    deface = (str(work / "deface" / "bin" / "deface"), "-o", str(target), str(source))
    transcode = ("-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", str(target))
    return {
        "ffmpeg decode": (*ffmpeg, "-f", "null", "-"),
        REFERENCE: (*ffmpeg, *transcode),
        "deface": deface,
        "blurd": (sys.executable, __file__, "--child", str(source), str(target)),
    }


def child(source: Path, target: Path) -> None:
    """What `blurd blur` does with one file; beside the copy, how long each stage took."""
    from blurd.config import ModelSettings, Policy, Settings
    from blurd.equipment import Detectors, build_codec, mask_rules
    from blurd.pipeline import treat

    settings, policy = Settings.model_construct(models=ModelSettings(directory=ROOT / "models")), Policy()
    detectors = Detectors(settings, (policy,)).of(policy)
    with source.open("rb") as read, target.open("w+b") as written:
        done = treat(
            read,
            written,
            build_codec(settings.limits, policy),
            detectors,
            mask_rules(policy, detectors),
            lambda _: None,
        )
    target.with_suffix(".json").write_text(json.dumps(dict(done.stage_seconds)))


def quality_db(source: Path, copy: Path) -> float:
    """The median of blocks' and frames' ratios, of luma."""
    found = []
    with av.open(str(source)) as one, av.open(str(copy)) as other:
        pairs = zip(one.decode(video=0), other.decode(video=0), strict=True)
        for index, (before, after) in enumerate(pairs):
            if index % 10:
                continue
            ours, theirs = (frame.to_ndarray(format="gray").astype(np.float32) for frame in (before, after))
            rows, columns = ours.shape[0] // _BLOCK_PX * _BLOCK_PX, ours.shape[1] // _BLOCK_PX * _BLOCK_PX
            error = np.square(ours - theirs)[:rows, :columns]
            blocks = error.reshape(rows // _BLOCK_PX, _BLOCK_PX, columns // _BLOCK_PX, _BLOCK_PX).mean(axis=(1, 3))
            found.append(float(np.median(blocks)))
    error = statistics.median(found)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def measure(name: str, source: Path, options: argparse.Namespace, console: Console) -> None:
    """One clip through everything."""
    target = options.work / "copy.mp4"
    asked = [*options.tools.split(","), REFERENCE]
    commands = {
        name: command
        for name, command in tools(options.work, source, target).items()
        if any(part in name for part in asked)
    }
    runs: dict[str, list[Run]] = {tool: [] for tool in commands}
    marks: dict[str, tuple[float, float]] = {}
    stages: dict[str, float] = {}
    for _ in range(options.rounds):
        for tool, command in commands.items():
            target.unlink(missing_ok=True)
            runs[tool].append(timed(command))
            if target.exists() and tool not in marks and tool != "deface":
                marks[tool] = target.stat().st_size / 2**20, quality_db(source, target)
            if tool == "blurd":
                stages = json.loads(target.with_suffix(".json").read_text())
    with av.open(str(source)) as container:
        frames = sum(1 for packet in container.demux(video=0) if packet.size)
    reference = statistics.median(run.wall_s for run in runs[REFERENCE])
    table = Table(title=f"{name}: {frames} frames", title_justify="left", box=None, pad_edge=False)
    for title in ("", "seconds", "times", "frames/s", "CPU s", "MiB memory", "MiB file", "dB"):
        table.add_column(title, justify="right" if title else "left")
    for tool, found in runs.items():
        wall = statistics.median(run.wall_s for run in found)
        size, quality = marks.get(tool, (math.nan, math.nan))
        cells = (wall, wall / reference, frames / wall, statistics.median(run.cpu_s for run in found))
        peak = max(run.peak_mebibytes for run in found)
        table.add_row(tool, *(f"{cell:.2f}" for cell in cells), f"{peak:.0f}", _cell(size), _cell(quality))
    console.print(table)
    console.print("   stages: " + ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items()) + "\n")


def _cell(value: float) -> str:
    return "" if math.isnan(value) else "same" if math.isinf(value) else f"{value:.1f}"


def measure_photos(options: argparse.Namespace, console: Console) -> None:
    """A folder of photos through deface and blurd."""
    photos = options.work / "photos"
    photos.mkdir(exist_ok=True)
    for number in range(options.photos):
        path = photos / f"{number}.jpg"
        if not path.exists():
            picture, _ = next(render(100 + number, 1600, 1200, 1, look=Look(faces=4, plates=2, sizes_px=(40.0, 200.0))))
            Image.fromarray(picture).save(path, quality=92)
    files = [str(path) for path in sorted(photos.glob("*.jpg"))][: options.photos]
    copies = options.work / "photo-copies"
    commands: dict[str, Sequence[str]] = {
        "deface": (str(options.work / "deface" / "bin" / "deface"), *files),
        "blurd": (sys.executable, "-m", "blurd", "blur", "--quiet", str(photos), str(copies)),
    }
    for tool, command in commands.items():
        found = []
        for _ in range(options.rounds):
            shutil.rmtree(copies, ignore_errors=True)
            copies.mkdir()
            found.append(timed(command).wall_s)
            for path in photos.glob("*_anonymized*"):
                path.unlink()
        wall = statistics.median(found)
        console.print(f"{options.photos} photos of 1600 x 1200, {tool}: {options.photos / wall:.2f} images/s")


def set_up(work: Path) -> None:
    """deface, in an environment of its own."""
    work.mkdir(parents=True, exist_ok=True)
    home = work / "deface"
    if not (home / "bin" / "deface").exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", DEFACE, "onnxruntime"], check=True)
    if shutil.which("ffmpeg") is None:
        raise SystemExit("Install ffmpeg: it is what blurd is measured against.")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Speed beside FFmpeg and deface.")
    parser.add_argument("--clips", default="", help="parts of names, separated by commas (default: all)")
    parser.add_argument(
        "--tools", default="", help="parts of names of what is timed beside the reference (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--media", type=Path, default=ROOT.parent / "shared" / "media")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--child", nargs=2, type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    set_up(options.work)
    wanted: Callable[[str], bool] = lambda name: any(part in name for part in options.clips.split(","))  # noqa: E731
    sources = {path.stem: path for path in sorted(options.media.glob("*.mp4")) if wanted(path.stem)}
    for name, made in CLIPS.items():
        if wanted(name):
            sources[name] = options.work / f"{name.replace(' ', '-').replace(',', '')}.mp4"
            if not sources[name].exists():
                make_clip(sources[name], made)
    console = Console(width=110)
    for name, source in sources.items():
        measure(name, source, options, console)
    if options.photos:
        measure_photos(options, console)


if __name__ == "__main__":
    main()
