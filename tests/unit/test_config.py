"""Settings: every error at once, with the key and what to write instead."""

from pathlib import Path
from typing import Any

import pytest

from blurd.config import check_settings, load_settings
from blurd.errors import EquipmentError, Reason
from blurd.exit_codes import EXIT_CODES
from blurd.records import Category, FolderName, MaskShape, MaskStyle

FOLDER = {"name": "photos", "inbound": "/srv/in", "outbound": "/srv/out"}


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(EquipmentError) as caught:
        check_settings(document)
    assert caught.value.reason is Reason.SETTINGS_INVALID
    return caught.value.detail.splitlines()


def test_a_folder_inherits_the_defaults_and_overrides_single_keys() -> None:
    settings = check_settings(
        {
            "defaults": {"settle_s": 7.0, "mask": {"style": "solid", "face": {"shape": "rectangle", "growth": 0.5}}},
            "folder": [FOLDER | {"mask": {"style": "pixelate"}, "output_mode": "0600"}],
        }
    )
    (folder,) = settings.folder
    assert folder.settle_s == 7.0
    assert folder.mask.style is MaskStyle.PIXELATE
    assert folder.mask.of(Category.FACE).shape is MaskShape.RECTANGLE
    assert folder.mask.of(Category.PLATE).shape is MaskShape.RECTANGLE
    assert folder.mode == 0o600
    assert settings.folder_named(FolderName("photos")) is folder
    assert settings.folder_named(FolderName("other")) is None


def test_all_errors_are_reported_at_once_with_their_keys() -> None:
    found = problems(
        {
            "watch": {"rescan_s": "often", "rescn": 3},
            "work": {"workers": 0},
            "folder": [FOLDER | {"mask": {"style": "gauss"}, "outbound": "out"}],
        }
    )
    keys = [line.split(":")[0] for line in found]
    assert keys == ["watch.rescan_s", "watch.rescn", "work.workers", "folder.0.mask.style", "folder.0.outbound"]
    assert "there is no such key" in found[1]
    assert "'blur'" in found[3]
    assert "absolute path" in found[4]


@pytest.mark.parametrize("key", ["defaults", "state", "detection", "limits", "models"])
def test_unknown_keys_are_refused_in_every_table(key: str) -> None:
    assert problems({key: {"surprise": 1}, "folder": [FOLDER]})[0].startswith(f"{key}.surprise: there is no such key")


def test_an_error_in_the_defaults_is_reported_once() -> None:
    assert problems({"defaults": {"settle_s": -1}, "folder": [FOLDER, FOLDER | {"name": "b"}]})[0].startswith(
        "defaults.settle_s:"
    )


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"name": "b", "inbound": "/srv/in", "outbound": "/o"}, "folder.1.inbound: lies in, around or on folder.0.inb"),
        ({"name": "b", "inbound": "/srv/in/x", "outbound": "/o"}, "folder.1.inbound: lies in"),
        ({"name": "b", "inbound": "/i", "outbound": "/srv/out/x"}, "folder.1.outbound: lies in"),
        ({"name": "b", "inbound": "/i", "outbound": "/i/out"}, "folder.1.outbound: lies in, around or on folder.1.inb"),
        ({"name": "photos", "inbound": "/i", "outbound": "/o"}, 'folder.1.name: "photos" stands twice'),
    ],
)
def test_s32_overlapping_folders_are_refused(second: dict[str, str], expected: str) -> None:
    assert any(line.startswith(expected) for line in problems({"folder": [FOLDER, second]}))


def test_s32_overlap_through_a_symbolic_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    folder = {"name": "a", "inbound": str(tmp_path / "in"), "outbound": str(tmp_path / "alias" / "out")}
    assert problems({"folder": [folder]})


@pytest.mark.parametrize(
    "value",
    [{"name": "Bad Name"}, {"output_mode": "640"}, {"classes": []}, {"classes": ["face", "face"]},
     {"classes": ["dog"]}, {"thresholds": {"face": 1.5}}, {"mask": {"face": {"growth": -1, "shape": "ellipse"}}}],
)  # fmt: skip
def test_bad_values_name_their_key(value: dict[str, Any]) -> None:
    (line,) = problems({"folder": [FOLDER | value]})
    assert line.startswith(f"folder.0.{next(iter(value))}")


def test_no_folder_is_an_error_that_says_what_to_add() -> None:
    assert problems({}) == ["folder: add at least one [[folder]] table"]
    assert problems({"folder": []}) == ["folder: add at least one [[folder]] table"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a = ", "not valid TOML"),
        (b"a = " + b"[" * 20_000, "nested too deep"),
        (b"a = " + b"{a=" * 20_000, "nested too deep"),
        (b"a = " + b"9" * 5000, "a number is too long"),
        (b"\xff", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_file_that_can_not_be_read_is_a_clear_error(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "blurd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EquipmentError, match=text):
        load_settings(path)


def test_a_folder_that_is_a_circle_of_links_is_missing_and_no_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    settings = check_settings({"folder": [FOLDER | {"inbound": str(tmp_path / "a")}]})
    assert settings.folder[0].inbound == tmp_path / "a"


def test_a_path_holds_no_zero_byte() -> None:
    (problem,) = problems({"folder": [FOLDER | {"inbound": "/srv/\0in"}]})
    assert problem == "folder.0.inbound: no path holds a zero byte"


def test_exit_codes_are_distinct() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert min(EXIT_CODES.values()) >= 10


def test_the_settings_hash_follows_what_shapes_a_copy() -> None:
    def digest(**changes: Any) -> str:
        return check_settings({"folder": [FOLDER | changes]}).folder[0].hash

    assert digest() == digest(settle_s=9.0, name="other")
    assert digest() != digest(mask={"style": "solid"})
    assert digest() != digest(thresholds={"face": 0.5})


# -- zones -------------------------------------------------------------------------------------------------------------

TRIANGLE = [[0.0, 0.0], [0.5, 0], [0.0, 0.5]]
LEAVE = {"polygon": TRIANGLE, "do": "leave", "class": "plate"}


def zone_problem(*zones: dict[str, Any]) -> str:
    (line,) = problems({"folder": [FOLDER | {"zone": list(zones)}]})
    return line


def test_zones_stand_in_the_defaults_or_in_a_folder() -> None:
    zones = [{"polygon": TRIANGLE}, LEAVE]
    settings = check_settings({"defaults": {"zone": zones}, "folder": [FOLDER]})
    masked, clear = settings.folder[0].zone
    assert masked.polygon == ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
    assert (masked.do, masked.category, clear.do, clear.category) == ("mask", None, "leave", Category.PLATE)
    own = check_settings({"defaults": {"zone": zones}, "folder": [FOLDER | {"zone": []}]})
    assert own.folder[0].zone == ()


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ({}, "folder.0.zone.0.polygon: is missing"),
        ({"polygon": TRIANGLE[:2]}, "folder.0.zone.0.polygon: a polygon has 3 to 64 points"),
        ({"polygon": TRIANGLE * 22}, "a polygon has 3 to 64 points"),
        ({"polygon": [[0, 0], [1, 0], [1, 1.01]]}, "folder.0.zone.0.polygon.2.1: input should be less than or equal"),
        ({"polygon": [[0, 0], [0.5, 0.5], [1, 1]]}, "encloses nothing"),
        ({"polygon": [[0, 0], [1, 1], [1, 0], [0, 0.5]]}, "edges cross or touch"),
        ({"polygon": TRIANGLE, "do": "blur"}, "folder.0.zone.0.do: write one of 'mask' or 'leave'"),
        ({"polygon": TRIANGLE, "do": "leave"}, "class names the one class"),
        ({"polygon": TRIANGLE, "class": "face"}, "class names the one class"),
        ({"polygon": TRIANGLE, "do": "leave", "class": "dog"}, "folder.0.zone.0.class: write one of"),
        ({"polygon": TRIANGLE, "category": "face"}, "there is no such key"),
    ],
)
def test_a_faulty_zone_says_what_to_write(zone: dict[str, Any], text: str) -> None:
    assert text in zone_problem(zone)


def test_no_place_is_left_clear_for_both_classes() -> None:
    apart = {"polygon": [[0.6, 0.6], [0.9, 0.6], [0.9, 0.9]], "do": "leave", "class": "face"}
    check_settings({"folder": [FOLDER | {"zone": [LEAVE, apart]}]})
    check_settings({"folder": [FOLDER | {"zone": [LEAVE, LEAVE]}]})
    assert "zones 0 and 1 meet" in zone_problem(LEAVE, LEAVE | {"class": "face"})


def test_there_are_at_most_64_zones() -> None:
    assert zone_problem(*[{"polygon": TRIANGLE}] * 65).startswith("folder.0.zone: ")


def test_zones_shape_a_copy_and_requiring_regions_does_not() -> None:
    def digest(**changes: Any) -> str:
        return check_settings({"folder": [FOLDER | changes]}).folder[0].hash

    assert len({digest(), digest(zone=[{"polygon": TRIANGLE}]), digest(zone=[LEAVE])}) == 3
    assert digest() == digest(regions="required")


def test_a_face_is_not_masked_in_the_shape_of_a_polygon() -> None:
    (line,) = problems({"folder": [FOLDER | {"mask": {"face": {"shape": "polygon", "growth": 0.3}}}]})
    assert line == "folder.0.mask.face.shape: write one of 'ellipse', 'rectangle' or 'outline'"
