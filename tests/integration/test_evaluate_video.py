"""`blurd evaluate --video`: the figures of videos whose objects the test put there."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blurd import evaluate_video as module
from blurd.config import Policy, Settings
from blurd.errors import EquipmentError, Reason
from blurd.evaluate_video import VideoEvaluation, evaluate_video
from blurd.evaluation_page import video_page
from blurd.records import Box, Category, Detection, RgbPicture
from clips import Look, Truth, mot_lines, render
from media import Pixels
from videos import Form, write_clip

RED, BLUE = (220, 30, 30), (30, 30, 220)
FRAMES, SIDE = 40, 24


class RedDetector:
    """Finds what is red, and nothing else: no face is needed to count frames."""

    categories = frozenset({Category.FACE})
    model_hash = "red"
    device = "test"

    def start_threshold(self, category: Category) -> float:
        assert category in self.categories
        return 0.5

    def rest(self) -> None:
        pass

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:  # noqa: ARG002
        red = (picture[:, :, 0] > 150) & (picture[:, :, 2] < 100)
        if red.sum() < SIDE * SIDE // 2:
            return ()
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        box = Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        return (Detection(Category.FACE, box, 0.9),)


def squares(number: int) -> dict[str, Box]:
    """A red square that moves and a blue one that stands still and comes late."""
    left = 10.0 + 3 * number
    found = {"red": Box(left, 20, left + SIDE, 20 + SIDE)}
    if number >= 10:
        found["blue"] = Box(150, 90, 150 + SIDE, 90 + SIDE)
    return found


def drawn(number: int) -> Pixels:
    picture = np.full((128, 192, 3), 110, np.uint8)
    for name, box in squares(number).items():
        place = slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right))
        picture[place] = RED if name == "red" else BLUE
    return picture


def truths(number: int) -> tuple[Truth, ...]:
    return tuple(Truth(1 + (name == "blue"), Category.FACE, box, 1.0) for name, box in squares(number).items())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_clip(tmp_path / "film.mp4", (drawn(number) for number in range(FRAMES)), Form())
    (tmp_path / "gt.txt").write_text("".join(mot_lines(number, truths(number)) for number in range(FRAMES)))
    return tmp_path


@pytest.fixture
def red_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "build_detector", lambda *_: RedDetector())


def measured(folder: Path, video: str = "film.mp4", wanted: Sequence[Category] | None = None) -> VideoEvaluation:
    settings = Settings.model_construct()
    return evaluate_video(settings, Policy(), folder / "gt.txt", folder / video, wanted, lambda *_: None)


@pytest.mark.usefixtures("red_detector")
def test_what_is_found_is_covered_and_what_is_not_is_exposed(film: Path) -> None:
    """The red square is masked throughout, the blue one never: thirty frames, 1.2 seconds."""
    figures = measured(film).as_json()
    face = figures["classes"]["face"]
    assert face["objects"] == 2
    assert face["object_frames"] == 40 + 30
    assert face["coverage"] == pytest.approx(40 / 70)
    assert face["track_coverage"] == pytest.approx(0.5)
    assert face["tracks_ever_uncovered"] == face["objects_never_covered"] == 1
    assert face["longest_exposure_frames"] == 30
    assert face["longest_exposure_s"] == pytest.approx(1.2)
    assert face["flicker_per_s"] == 0
    assert [(track["track"], track["first_exposed_frame"]) for track in face["tracks"]] == [("1", None), ("2", 10)]
    assert figures["frames"] == FRAMES
    assert figures["duration_s"] == pytest.approx(1.6)
    assert figures["masks"] >= FRAMES
    assert 0 < figures["over_blur"] < 0.2
    json.dumps(figures, allow_nan=False)


@pytest.mark.usefixtures("red_detector")
def test_seconds_follow_the_times_in_the_file(film: Path) -> None:
    """The same pictures, each shown four times as long."""
    slow = [Fraction(number * 160, 1000) for number in range(FRAMES)]
    write_clip(film / "film.mp4", (drawn(number) for number in range(FRAMES)), Form(times=slow))
    figures = measured(film).as_json()["classes"]["face"]
    assert figures["longest_exposure_frames"] == 30
    assert figures["longest_exposure_s"] == pytest.approx(4.8)


@pytest.mark.usefixtures("red_detector")
def test_coco_gives_the_same_figures(film: Path) -> None:
    text = measured(film).as_json()
    document: dict[str, Any] = {
        "images": [{"id": number, "file_name": "film.mp4", "frame_index": number} for number in range(FRAMES)],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [
            {"image_id": number, "category_id": 1, "track_id": truth.track,
             "bbox": [truth.box.left, truth.box.top, truth.box.width, truth.box.height]}
            for number in range(FRAMES) for truth in truths(number)
        ],
    }  # fmt: skip
    (film / "gt.txt").write_text(json.dumps(document))
    assert measured(film).as_json()["classes"] == text["classes"]


@pytest.mark.usefixtures("red_detector")
def test_the_page_lists_what_is_exposed(film: Path) -> None:
    page = video_page(measured(film))
    assert "57.1 %" in page
    assert "30 frames" in page
    assert "(1.20 s)" in page
    assert page.count("<svg") == 1
    assert page.count("<tr><td>2</td>") == 1
    assert "<tr><td>1</td>" not in page
    for reference in ("<script", "<link", "src=", 'href="http'):
        assert reference not in page


@pytest.mark.usefixtures("red_detector")
@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (mot_lines(FRAMES, truths(0)), f"the video has {FRAMES} frames"),
        ("1,1,0,0,9\n", "line 1"),
        ("", "does not annotate anything"),
    ],
)
def test_wrong_annotations_are_explained(film: Path, lines: str, text: str) -> None:
    (film / "gt.txt").write_text(lines)
    with pytest.raises(EquipmentError, match=text) as error:
        measured(film)
    assert error.value.reason is Reason.ANNOTATIONS_INVALID


@pytest.mark.usefixtures("red_detector")
def test_a_class_that_is_not_annotated_is_explained(film: Path) -> None:
    with pytest.raises(EquipmentError, match="does not annotate plate"):
        measured(film, wanted=[Category.PLATE])


def blurd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blurd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def annotated(frames: Iterable[tuple[Pixels, tuple[Truth, ...]]], lines: list[str]) -> Iterable[Pixels]:
    """The pictures; the truth of what is in them goes into `lines`."""
    for number, (picture, present) in enumerate(frames):
        lines.append(mot_lines(number, present))
        yield picture


def test_the_command_with_the_products_own_detector(tmp_path: Path) -> None:
    lines: list[str] = []
    look = Look(faces=2, plates=0, sizes_px=(30, 50), speed=0.1)
    write_clip(tmp_path / "clip.mp4", annotated(render(1, 320, 180, 12, look=look), lines))
    (tmp_path / "gt.txt").write_text("".join(lines))
    result = blurd(
        "evaluate", "--annotations", tmp_path / "gt.txt", "--video", tmp_path / "clip.mp4",
        "--json", tmp_path / "out.json", "--report", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "out.json").read_text())
    face = figures["classes"]["face"]
    assert list(face)[:2] == ["coverage", "track_coverage"]
    assert face["coverage"] >= 0.95
    assert face["objects_never_covered"] == 0
    assert figures["data_sha256"] in (tmp_path / "evaluation.html").read_text()


@pytest.mark.parametrize("name", ["picture.png", "broken.mp4", "absent.mp4"])
def test_what_is_no_video_is_explained(film: Path, name: str) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(film / "picture.png")
    (film / "broken.mp4").write_bytes((film / "film.mp4").read_bytes()[:900])
    result = blurd("evaluate", "--annotations", film / "gt.txt", "--video", film / name)
    assert result.returncode == 18, result.stderr
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_pictures_or_a_video_but_not_both(film: Path) -> None:
    result = blurd("evaluate", "--annotations", film / "gt.txt", "--video", film / "film.mp4", "--images", film)
    assert result.returncode == 2
