"""Detectors of the owner's own through the whole product: settings, masks, verification, and `blurd models`."""

import json
import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray  # noqa: TC002

from blurd.cli import main
from blurd.config import Policy, Settings, check_settings, installed_models
from blurd.equipment import Detectors, check_detectors
from blurd.errors import EquipmentError, Reason
from blurd.evaluate import evaluate
from blurd.exit_codes import EXIT_CODES
from blurd.records import Category, MediaKind, RgbPicture
from media import astronaut
from networks import network

SCREEN = Category("screen")
PLACE = (50, 60, 80, 84)
"""Where the detector always sees its thing: in a picture of 90 x 90 pixels."""

TOML = """\
file = "model.onnx"
sha256 = "{sha256}"
licence = "MIT"
labels = ["{label}"]
[classes]
{label} = "{category}"
[input]
colour = "RGB"
scale = 255.0
size = [128, 96]
[thresholds.{category}]
floor = 0.3
start = 0.5
[views.thorough]
largest_scale = 1.0
magnified_pixels = 1000000
"""


def detector(
    folder: Path, name: str, category: str = "screen", place: tuple[int, ...] = PLACE, score: float = 0.9
) -> Path:
    """A detector that sees one thing in one place, whatever it is shown."""
    (folder / name).mkdir(parents=True)
    outputs: dict[str, NDArray[Any]] = {
        "boxes": np.array([place, place], np.float32),
        "labels": np.array([0, 0], np.int64),
        "scores": np.array([score, 0.05], np.float32),
    }
    sha256 = network(folder / name / "model.onnx", outputs, still=True)
    text = TOML.format(sha256=sha256, label="thing", category=category)
    (folder / name / "model.toml").write_text(text)
    return folder / name


def settings_of(folder: Path, **policy: Any) -> dict[str, Any]:
    pair = {"name": "a", "inbound": str(folder / "in"), "outbound": str(folder / "out")}
    return {
        "models": {"directory_own": str(folder / "models.d"), "cache": str(folder / "cache")},
        "detection": {"device": "CPU"},
        "defaults": policy,
        "folder": [pair],
    }


def written(folder: Path, document: dict[str, Any]) -> Path:
    """The settings as a file; JSON's texts, numbers and lists are TOML's."""
    lines: list[str] = []

    def table(name: str, values: dict[str, Any]) -> None:
        lines.extend([f"[{name}]"] if name else [])
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict))
        for key, value in values.items():
            if isinstance(value, dict):
                table(f"{name}.{key}" if name else key, value)

    table("", {key: value for key, value in document.items() if key != "folder"})
    for pair in document["folder"]:
        lines.append("[[folder]]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in pair.items())
    path = folder / "blurd.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def portrait() -> RgbPicture:
    return np.asarray(cv2.resize(astronaut(), (90, 90), interpolation=cv2.INTER_AREA), np.uint8)


def chosen(settings: Settings, policy: Policy) -> Any:
    return Detectors(settings, (policy,)).of(policy)[MediaKind.IMAGE]


def test_a_detector_alone_and_joined_with_the_built_in_ones(tmp_path: Path) -> None:
    """A face that either of them sees is masked; one that both see is one hit."""
    detector(tmp_path / "models.d", "elsewhere", "face")
    detector(tmp_path / "models.d", "there", "face", (31, 11, 48, 31))
    picture = portrait()
    found = {}
    for names in (("builtin",), ("elsewhere",), ("builtin", "elsewhere"), ("builtin", "there"), ("there", "builtin")):
        settings = check_settings(settings_of(tmp_path, detectors=list(names), classes=["face"]))
        port = chosen(settings, settings.defaults)
        hits = port.detect(picture)
        found[names] = [hit for hit in hits if hit.score >= port.start_threshold(Category.FACE)]
    alone, elsewhere, joined, same, _ = found.values()
    assert len(alone) == 1
    assert [(hit.box.left, hit.box.bottom) for hit in elsewhere] == [(50, 84)]
    assert {hit.box for hit in joined} == {hit.box for hit in (*alone, *elsewhere)}
    assert len(same) == 1
    assert same[0].score >= alone[0].score


def test_two_folders_share_the_models_and_see_what_each_names(tmp_path: Path) -> None:
    detector(tmp_path / "models.d", "mine")
    policies = (
        Policy(classes=(Category.FACE,)),
        Policy(detectors=("builtin", "mine"), classes=(Category.FACE, SCREEN)),
    )
    settings = check_settings(settings_of(tmp_path))
    detectors = Detectors(settings, policies)
    first, second = (detectors.of(policy)[MediaKind.IMAGE] for policy in policies)
    assert first.whole is second.whole
    assert {hit.category for hit in first.detect(portrait())} == {Category.FACE}
    assert {hit.category for hit in second.detect(portrait())} == {Category.FACE, SCREEN}
    assert first.model_hash != second.model_hash
    assert first.categories == {Category.FACE}
    assert second.start_threshold(SCREEN) == 0.5


def test_a_class_of_its_own_is_masked_in_its_own_style_shape_and_growth(tmp_path: Path) -> None:
    """And the copy is verified: the detector sees its thing in the copy too, under the mask."""
    detector(tmp_path / "models.d", "mine")
    document = settings_of(
        tmp_path,
        detectors=["builtin", "mine"],
        classes=["face", "screen"],
        mask={"style": "blur", "screen": {"style": "solid", "shape": "rectangle", "growth": 0.1}},
    )
    source = tmp_path / "photo.png"
    cv2.imwrite(str(source), portrait()[:, :, ::-1])
    assert (
        main(["--config", str(written(tmp_path, document)), "blur", "--quiet", str(source), str(tmp_path / "copy.png")])
        == 0
    )
    copy = cv2.imread(str(tmp_path / "copy.png"))
    assert copy is not None
    assert (copy[58:86, 47:83] == 128).all(), "the box grown by a tenth on each side"
    assert not (copy[54:57, 47:83] == 128).all()
    changed = (copy != portrait()[:, :, ::-1]).any(axis=2)
    assert changed[15:28, 33:46].all(), "the face is blurred"
    assert not (copy[15:28, 33:46] == 128).all()


def test_a_threshold_of_a_class_of_its_own_counts(tmp_path: Path) -> None:
    detector(tmp_path / "models.d", "mine", score=0.6)
    source = tmp_path / "photo.png"
    cv2.imwrite(str(source), np.full((90, 90, 3), 90, np.uint8))
    for name, threshold, masked in (("low", 0.5, True), ("high", 0.7, False)):
        document = settings_of(tmp_path, detectors=["mine"], classes=["screen"], thresholds={"screen": threshold})
        target = tmp_path / f"{name}.png"
        document["defaults"]["mask"] = {"screen": {"style": "solid"}}
        assert main(["--config", str(written(tmp_path, document)), "blur", "--quiet", str(source), str(target)]) == 0
        copy = cv2.imread(str(target))
        assert copy is not None
        assert bool((copy == 128).any()) is masked


@pytest.mark.parametrize(
    ("policy", "spoil", "reason", "text"),
    [
        ({"detectors": ["absent"], "classes": ["screen"]}, "", Reason.MODEL_MISSING, "absent: there is no"),
        ({"detectors": ["mine"], "classes": ["face"]}, "", Reason.MODEL_MISSING, "No detector finds the class face"),
        ({"detectors": ["mine"], "classes": ["screen"]}, "hash", Reason.MODEL_HASH, "is not the file that"),
        ({"detectors": ["mine"], "classes": ["screen"]}, "size", Reason.MODEL_INVALID, "mine: input.size"),
        ({"detectors": ["mine"], "classes": ["screen"]}, "family", Reason.MODEL_INVALID, "mine: family"),
        ({"detectors": ["mine"], "classes": ["screen"]}, "class", Reason.MODEL_INVALID, "maps to nothing"),
        ({"detectors": ["builtin"], "classes": ["screen"]}, "", Reason.SETTINGS_INVALID, "name a detector of your own"),
        ({"detectors": [], "classes": ["face"]}, "", Reason.SETTINGS_INVALID, "name at least one detector"),
        (
            {"mask": {"screen": {"growth": 0.1}}},
            "",
            Reason.SETTINGS_INVALID,
            "defaults.mask.screen: there is no such",
        ),
        ({"mask": {"stile": "solid"}}, "", Reason.SETTINGS_INVALID, "stile: there is no such key"),
    ],
)
def test_check_config_refuses_what_the_first_job_would_meet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: dict[str, Any], spoil: str, reason: Reason, text: str
) -> None:
    path = detector(tmp_path / "models.d", "mine") / "model.toml"
    changes = {
        "hash": ("[classes]", "[classes]"),
        "size": ("size = [128, 96]", "size = [320, 320]"),
        "family": ("labels =", 'family = "yolo"\nlabels ='),
        "class": ('thing = "screen"', 'thing = "screen"\nthong = "face"'),
    }
    if spoil:
        path.write_text(path.read_text().replace(*changes[spoil]))
    if spoil == "hash":
        with (path.parent / "model.onnx").open("ab") as file:
            file.write(b"more")
    code = main(["--config", str(written(tmp_path, settings_of(tmp_path, **policy))), "check-config"])
    assert code == EXIT_CODES[reason]
    assert text in capsys.readouterr().err


def test_check_config_accepts_a_detector_that_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector(tmp_path / "models.d", "mine")
    path = written(tmp_path, settings_of(tmp_path, detectors=["builtin", "mine"], classes=["face", "screen"]))
    assert main(["--config", str(path), "check-config"]) == 0
    assert "no errors" in capsys.readouterr().out


def test_faults_of_several_detectors_are_told_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = detector(tmp_path / "models.d", name) / "model.toml"
        path.write_text(path.read_text().replace('licence = "MIT"\n', ""))
    with pytest.raises(EquipmentError) as caught:
        check_detectors(check_settings(settings_of(tmp_path, detectors=["one", "two"], classes=["screen"])))
    assert [line.split(":")[0] for line in caught.value.detail.splitlines()] == ["one", "two"]


def test_models_list_check_and_add(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder somewhere to a detector that a folder may name; nothing is replaced."""
    place = detector(tmp_path / "elsewhere", "mine")
    config = ["--config", str(written(tmp_path, settings_of(tmp_path)))]
    picture, drawn = tmp_path / "photo.png", tmp_path / "drawn.png"
    cv2.imwrite(str(picture), portrait()[:, :, ::-1])
    assert main([*config, "models", "check", str(place), "--picture", str(picture), "--out", str(drawn)]) == 0
    out = capsys.readouterr().out
    assert "mine: family boxes, finds screen, licence MIT" in out
    assert "input: 128 x 96 pixels, RGB, letterbox" in out
    assert "output: boxes, [2,4]" in out
    assert "s on the CPU" in out
    assert "screen 0.900 at 50, 60, 80, 84" in out
    image = cv2.imread(str(drawn))
    assert image is not None
    assert image.shape == (90, 90, 3)
    assert (image[60, 55:75] == (0, 0, 255)).all(), "a red line along the top edge"
    assert main([*config, "models", "add", str(place / "model.toml")]) == 0
    assert 'detectors = ["builtin", "mine"]' in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "models.d" / "mine").iterdir()) == ["model.onnx", "model.toml"]
    assert main([*config, "models", "add", str(place)]) == EXIT_CODES[Reason.MODEL_INVALID]
    assert "is in" in capsys.readouterr().err
    assert main([*config, "models", "list"]) == 0
    out = capsys.readouterr().out
    assert "builtin/centerface: face; MIT; used by a" in out
    assert "mine: screen (boxes); MIT" in out
    shutil.copytree(place, place.with_name("Bad Name"))
    (place / "model.toml").write_text("licence = 1")
    for wrong, text in (
        (place, "licence"),
        (place.with_name("Bad Name"), "the folder's name is the detector's"),
        (tmp_path, "there is no"),
    ):
        renamed = wrong if wrong != tmp_path else tmp_path / "nothing"
        assert main([*config, "models", "check", str(renamed)]) in {EXIT_CODES[Reason.MODEL_INVALID], 11}
        assert text in capsys.readouterr().err


def test_a_class_of_its_own_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`blurd models evaluate`, on a set that annotates it by its name."""
    detector(tmp_path / "models.d", "mine")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), portrait()[:, :, ::-1])
    left, top, right, bottom = PLACE
    annotations = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 7, "name": "Screen"}, {"id": 8, "name": "tree"}],
        "annotations": [{"image_id": 1, "category_id": 7, "bbox": [left, top, right - left, bottom - top]}],
    }
    (tmp_path / "set.json").write_text(json.dumps(annotations))
    config = ["--config", str(written(tmp_path, settings_of(tmp_path)))]
    data = ["--annotations", str(tmp_path / "set.json"), "--images", str(tmp_path / "images")]
    assert main([*config, "models", "evaluate", "mine", *data]) == 0
    found = json.loads(capsys.readouterr().out)["classes"]["screen"]
    assert (found["recall"], found["precision"]) == (1.0, 1.0)
    policy = Policy(detectors=("builtin",), classes=(Category.FACE,))
    with pytest.raises(EquipmentError, match="no category is called"):
        evaluate(check_settings(settings_of(tmp_path)), policy, tmp_path / "set.json", tmp_path / "images", None, print)


def test_the_built_in_models_are_where_they_were() -> None:
    """No own detector is asked for by default."""
    assert Policy().detectors == ("builtin",)
    assert (installed_models() / "manifest.toml").is_file()


def test_in_a_video_a_class_of_its_own_is_followed_masked_and_verified(tmp_path: Path) -> None:
    """In every frame, in its own style; the copy is searched again with the owner's detector."""
    detector(tmp_path / "models.d", "mine")
    source, target = tmp_path / "film.mp4", tmp_path / "copy.mp4"
    with av.open(str(source), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 90, 90, "yuv420p"
        for shift in range(30):
            picture = np.roll(portrait(), shift, axis=1)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        film.mux(stream.encode(None))
    mask = {"style": "blur", "screen": {"style": "solid", "shape": "rectangle", "growth": 0.1}}
    document = settings_of(tmp_path, detectors=["mine"], classes=["screen"], mask=mask)
    assert main(["--config", str(written(tmp_path, document)), "blur", "--quiet", str(source), str(target)]) == 0
    with av.open(str(target)) as copy:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in copy.decode(video=0)]
    assert len(frames) == 30
    for index, frame in enumerate(frames):
        assert np.abs(frame[62:82, 52:78] - 128).mean() < 4, index
        assert np.abs(frame[5:40, 5:85] - 128).max() > 40


def test_a_zone_leaves_a_class_of_its_own_clear(tmp_path: Path) -> None:
    detector(tmp_path / "models.d", "mine")
    source, target = tmp_path / "photo.png", tmp_path / "copy.png"
    cv2.imwrite(str(source), np.full((90, 90, 3), 90, np.uint8))
    document = settings_of(tmp_path, detectors=["mine"], classes=["screen"], mask={"screen": {"style": "solid"}})
    path = written(tmp_path, document)
    zone = 'polygon = [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0], [0.5, 1.0]]\ndo = "leave"\nclass = "screen"\n'
    path.write_text(path.read_text() + "[[folder.zone]]\n" + zone)
    assert main(["--config", str(path), "check-config"]) == 0
    path.write_text(path.read_text().replace("[[folder.zone]]", "[[defaults.zone]]"))
    assert main(["--config", str(path), "blur", "--quiet", str(source), str(target)]) == 0
    copy = cv2.imread(str(target))
    assert copy is not None
    assert (copy == 90).all()


def test_an_outline_is_masked_and_no_more_of_the_box(tmp_path: Path) -> None:
    """Instance segmentation through the whole product: most of the box's other half stays as it was."""
    folder = tmp_path / "models.d" / "mine"
    folder.mkdir(parents=True)
    grid = np.tril(np.ones((1, 28, 28), np.float32)).repeat(2, axis=0)
    outputs: dict[str, NDArray[Any]] = {
        "boxes": np.array([PLACE, PLACE], np.float32),
        "labels": np.array([0, 0], np.int64),
        "scores": np.array([0.9, 0.05], np.float32),
        "masks": grid[:, np.newaxis],
    }
    sha256 = network(folder / "model.onnx", outputs, still=True)
    (folder / "model.toml").write_text(TOML.format(sha256=sha256, label="thing", category="screen"))
    source, target = tmp_path / "photo.png", tmp_path / "copy.png"
    cv2.imwrite(str(source), np.full((90, 90, 3), 90, np.uint8))
    mask = {"screen": {"style": "solid", "growth": 0.0}}
    document = settings_of(tmp_path, detectors=["mine"], classes=["screen"], mask=mask)
    assert main(["--config", str(written(tmp_path, document)), "blur", "--quiet", str(source), str(target)]) == 0
    copy = cv2.imread(str(target))
    assert copy is not None
    masked = (copy == 128).all(axis=2)
    assert masked[83, 51]
    assert masked[72, 58]
    assert masked[83, 78]
    assert not masked[62, 75]
    assert 0.5 < masked[60:84, 50:80].mean() < 0.75
    assert not masked[:60].any()


def test_each_folder_s_first_detector_sets_the_scale(tmp_path: Path) -> None:
    """Two folders name the same two in another order: 0.9 means more to the one that masks from 0.5 on."""
    detector(tmp_path / "models.d", "loose")
    strict = detector(tmp_path / "models.d", "strict", place=(5, 5, 25, 25)) / "model.toml"
    strict.write_text(strict.read_text().replace("start = 0.5", "start = 0.8"))
    policies = [Policy(detectors=names, classes=(SCREEN,)) for names in (("loose", "strict"), ("strict", "loose"))]
    detectors = Detectors(check_settings(settings_of(tmp_path)), policies)
    found = []
    for policy, start in zip(policies, (0.5, 0.8), strict=True):
        port = detectors.of(policy)[MediaKind.IMAGE]
        assert port.start_threshold(SCREEN) == start
        found.append({hit.box.left: round(hit.score, 3) for hit in port.detect(portrait())})
    assert found == [{50: 0.9, 5: 0.75}, {50: 0.96, 5: 0.9}]
