"""Annotations of videos: what is read, and what a wrong file is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from blurd.adapters.mot import LEAST_VISIBLE, AnnotatedVideo, read_video_annotations
from blurd.core.exposure import Sighting
from blurd.errors import EquipmentError, Reason
from blurd.records import Box, Category

FACE, PLATE = Category.FACE, Category.PLATE


def mot(folder: Path, text: str, *wanted: Category) -> AnnotatedVideo:
    file = folder / "gt.txt"
    file.write_text(text)
    return read_video_annotations(file, "film.mp4", wanted)


def coco(folder: Path, document: dict[str, Any], video: str = "film.mp4") -> AnnotatedVideo:
    file = folder / "set.json"
    file.write_text(json.dumps(document))
    return read_video_annotations(file, video)


def complaint(error: pytest.ExceptionInfo[EquipmentError]) -> str:
    assert error.value.reason is Reason.ANNOTATIONS_INVALID
    return str(error.value)


def test_mot_text(tmp_path: Path) -> None:
    """Frames count from 1 in the file; blank lines, spaces and a byte-order mark don't matter."""
    found = mot(
        tmp_path,
        "\ufeff1,7,10,20,30,40,1,face,1.0\n\n2, 7, 10.5, 20, 30, 40, 1, Face, 0.5\n2,7,1,2,3,4,1,License Plate,1\n",
    )
    assert found.categories == {FACE, PLATE}
    assert found.frames == {
        0: (Sighting("7", FACE, Box(10, 20, 40, 60)),),
        1: (Sighting("7", FACE, Box(10.5, 20, 40.5, 60)), Sighting("7", PLATE, Box(1, 2, 4, 6))),
    }
    assert found.sightings(3, (FACE,)) == (found.frames[0], found.frames[1][:1], ())


def test_mot_text_without_classes_takes_the_class_that_is_wanted(tmp_path: Path) -> None:
    assert mot(tmp_path, "1,1,0,0,5,5\n2,1,0,0,5,5,1,-1,1\n", PLATE).categories == {PLATE}
    with pytest.raises(EquipmentError) as error:
        mot(tmp_path, "1,1,0,0,5,5,1,1,1\n")
    assert "line 1" in complaint(error)
    assert "--classes" in complaint(error)
    assert mot(tmp_path, "", FACE).categories == {FACE}


def test_class_numbers_are_lines_of_the_list_beside(tmp_path: Path) -> None:
    """As annotation tools export it; what is neither face nor plate is left out."""
    (tmp_path / "labels.txt").write_text("person\nface\nlicense plate\n")
    found = mot(tmp_path, "1,1,0,0,5,5,1,2,1\n1,2,0,0,5,5,1,1,1\n")
    assert found.categories == {FACE, PLATE}
    assert [item.track for item in found.frames[0]] == ["1"]
    with pytest.raises(EquipmentError, match=r"line 1: class 4 is no line of labels\.txt"):
        mot(tmp_path, "1,1,0,0,5,5,1,4,1\n")


def test_what_is_hidden_or_not_considered_is_ignored(tmp_path: Path) -> None:
    lines = ["1,face,1.0", "0,face,1.0", f"1,face,{LEAST_VISIBLE}", f"1,face,{LEAST_VISIBLE - 0.01}", "1,face,-1"]
    found = mot(tmp_path, "".join(f"1,{number},0,0,5,5,{line}\n" for number, line in enumerate(lines)))
    assert [item.ignored for item in found.frames[0]] == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1,1,0,0,5", "line 2: has 5 values; write frame, id, left"),
        ("1,1,0,0,5,x", 'line 2: height is "x"; write a number'),
        ("1,1,0,0,5,nan", "line 2: height is nan; write a finite number"),
        ("0,1,0,0,5,5", "line 2: frame is 0; the first frame is 1"),
        ("1.5,1,0,0,5,5", "line 2: frame is 1.5; write a whole number"),
        ("1,1,0,0,0,5", "line 2: width and height must be positive"),
        ("1,1,0,0,5,5,1,dog", 'line 2: class is "dog"; write face or plate'),
        ("frame,id,left,top,width,height", 'line 2: frame is "frame"; write a number'),
        ("9,9,0,0,5,5,1,face", "line 2: face 9 is already in this frame"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, text: str) -> None:
    with pytest.raises(EquipmentError) as error:
        mot(tmp_path, f"9,9,0,0,5,5,1,face,1\n{line}\n", FACE)
    assert text in complaint(error)


def test_more_frames_than_the_video_has(tmp_path: Path) -> None:
    found = mot(tmp_path, "10,1,0,0,5,5,1,face,1\n")
    assert len(found.sightings(10, (FACE,))) == 10
    with pytest.raises(EquipmentError, match=r"up to frame 9 \(from 0\), but the video has 9 frames"):
        found.sightings(9, (FACE,))


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(EquipmentError, match="can't be read"):
        read_video_annotations(tmp_path / "absent.txt", "film.mp4")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EquipmentError, match="no text"):
        read_video_annotations(tmp_path / "binary.txt", "film.mp4")


def document() -> dict[str, Any]:
    """Two videos of two frames; the second's objects must not be taken."""
    return {
        "videos": [{"id": 1, "name": "a/film.mp4"}, {"id": 2, "name": "b.mp4"}],
        "images": [
            {"id": 10 * video + frame, "file_name": f"{video}/{frame}.jpg", "video_id": video, "frame_id": frame}
            for video in (1, 2)
            for frame in (0, 1)
        ],
        "categories": [{"id": 3, "name": "face"}, {"id": 4, "name": "dog"}],
        "annotations": [
            {"image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4], "track_id": 5},
            {"image_id": 11, "category_id": 3, "bbox": [1, 2, 3, 4], "instance_id": 5, "iscrowd": 1},
            {"image_id": 11, "category_id": 4, "bbox": [1, 2, 3, 4], "track_id": 6},
            {"image_id": 20, "category_id": 3, "bbox": [9, 9, 9, 9], "track_id": 7},
        ],
    }


def test_coco_with_videos(tmp_path: Path) -> None:
    found = coco(tmp_path, document())
    box = Box(1, 2, 4, 6)
    assert found.categories == {FACE}
    assert found.frames == {0: (Sighting("5", FACE, box),), 1: (Sighting("5", FACE, box, ignored=True),)}


def test_coco_with_the_videos_name_on_each_image(tmp_path: Path) -> None:
    plain = document()
    del plain["videos"]
    for image in plain["images"]:
        image["frame_index"] = image.pop("frame_id")
        image["file_name"] = "film.mp4" if image["video_id"] == 1 else "b.mp4"
    assert coco(tmp_path, plain).frames == coco(tmp_path, document()).frames


@pytest.mark.parametrize("change", [{"iscrowd": 1}, {"ignore": True}, {"visibility": LEAST_VISIBLE - 0.01}, {}])
def test_coco_objects_that_count_neither_way(tmp_path: Path, change: dict[str, Any]) -> None:
    changed = document()
    changed["annotations"][0].update(change)
    assert coco(tmp_path, changed).frames[0][0].ignored == bool(change)


def test_a_file_of_one_video_is_of_that_video(tmp_path: Path) -> None:
    """A copy of a video goes by many names."""
    single = document()
    del single["videos"][1]
    assert coco(tmp_path, single, "renamed.mp4").frames == coco(tmp_path, document()).frames


def test_every_frame_is_listed(tmp_path: Path) -> None:
    found = coco(tmp_path, document())
    assert len(found.sightings(2, (FACE,))) == 2
    with pytest.raises(EquipmentError, match=r"1 of the video's 3 frames have no image.*the first is 2"):
        found.sightings(3, (FACE,))


@pytest.mark.parametrize(
    ("where", "change", "text"),
    [
        ("annotations", {"image_id": 99}, "annotations.0.image_id: there is no image 99"),
        ("annotations", {"track_id": None}, "annotations.0.track_id"),
        ("annotations", {"bbox": [0, 0, 0, 1]}, "annotations.0.bbox: width and height must be positive"),
        ("images", {"frame_id": 1}, "frame_index is there twice"),
        ("images", {"frame_id": -1}, "images.0.frame"),
        ("categories", {"name": "cat"}, 'no category is called "face" or "plate"; the file has: cat, dog'),
        ("videos", {"name": "other.mp4"}, "no images are of the video film.mp4; the file has: b.mp4, other.mp4"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, where: str, change: dict[str, Any], text: str) -> None:
    wrong = document()
    wrong[where][0].update(change)
    with pytest.raises(EquipmentError) as error:
        coco(tmp_path, wrong)
    assert text in complaint(error)


def test_a_missing_track_is_named(tmp_path: Path) -> None:
    wrong = document()
    del wrong["annotations"][0]["track_id"]
    with pytest.raises(EquipmentError, match=r"annotations\.0\.track_id: Field required"):
        coco(tmp_path, wrong)
