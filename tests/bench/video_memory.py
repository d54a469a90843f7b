"""Peak memory and time of `blurd blur` on a short and a long video: memory must not grow with the length.

Usage: python tests/bench/video_memory.py [--minutes 1 60] [--width 1920] [--config FILE]

The long video is the short one's packets, repeated, so that making it costs nothing. A face moves through it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from clips import Look, render
from videos import Form, write_clip

RATE = 25
BASE_FRAMES = 250


def base_clip(path: Path, width: int) -> None:
    """Ten seconds of a scene, seen by a still camera."""
    height = round(width * 9 / 32) * 2
    look = Look(faces=2, plates=1, sizes_px=(60.0, 160.0), shake_px=0.0, noise=1.0)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        return (picture for picture, _ in render(3, width, height, BASE_FRAMES, float(RATE), look))

    write_clip(path, pictures(), Form(rate=Fraction(RATE), options={"crf": "26", "preset": "veryfast", "bf": "0"}))


def repeated(base: Path, target: Path, times: int) -> None:
    """The same packets again and again, each time later."""
    with av.open(str(base)) as source, av.open(str(target), "w") as output:
        template = source.streams.video[0]
        packets = [(bytes(packet), packet) for packet in source.demux(template) if packet.size]
        stream = output.add_stream_from_template(template)
        span = BASE_FRAMES * int(packets[0][1].duration or 0)
        for turn in range(times):
            for data, model in packets:
                packet = av.Packet(data)
                shift = turn * span
                packet.pts, packet.dts = (model.pts or 0) + shift, (model.dts or 0) + shift
                packet.duration, packet.time_base, packet.stream = model.duration, model.time_base, stream
                packet.is_keyframe = model.is_keyframe
                output.mux(packet)


def run(video: Path, folder: Path, config: Path | None) -> tuple[float, float]:
    """Peak resident memory in MiB and wall time in seconds of one run."""
    command = [sys.executable, "-m", "blurd", *(["--config", str(config)] if config else [])]
    command += ["blur", "--quiet", str(video), str(folder / f"out-{video.name}")]
    started_s = time.monotonic()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"blurd ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024, time.monotonic() - started_s


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Memory over the length of a video.")
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 60])
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--config", type=Path)
    options = parser.parse_args()
    first: float | None = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base_clip(folder / "base.mp4", options.width)
        for minutes in options.minutes:
            video = folder / f"{minutes}min.mp4"
            repeated(folder / "base.mp4", video, minutes * 60 * RATE // BASE_FRAMES)
            peak, seconds = run(video, folder, options.config)
            first = first or peak
            frames = minutes * 60 * RATE
            print(f"{minutes} min: {peak:.0f} MiB, {peak / first:.3f} of the first, {seconds:.0f} s", end=", ")
            print(f"{frames / seconds:.1f} frames/s", flush=True)


if __name__ == "__main__":
    main()
