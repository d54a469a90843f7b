"""The command line, as a person meets it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurd import __version__
from media import astronaut


def blurd(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blurd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def photo() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(astronaut()).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blur")
    (root / "in" / "sub").mkdir(parents=True)
    (root / "in" / "sub" / "face.png").write_bytes(photo())
    (root / "in" / "plain.png").write_bytes(_plain())
    (root / "in" / "x.part").write_bytes(b"half")
    return root


def _plain() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20), "green").save(stream, "PNG")
    return stream.getvalue()


def test_version() -> None:
    result = blurd("--version")
    assert (result.returncode, result.stdout.strip()) == (0, f"blurd {__version__}")


def test_help_names_every_command_and_what_it_is_for() -> None:
    text = blurd("--help").stdout
    for command in ("run", "watch", "work", "blur", "check-config", "status", "reconcile", "retry", "forget"):
        assert f"\n    {command}" in text
    assert "originals are never changed" in text


def test_a_wrong_command_line_is_code_2() -> None:
    assert blurd().returncode == 2
    assert blurd("frobnicate").returncode == 2


def test_blur_treats_a_tree_and_mirrors_it(tree: Path) -> None:
    result = blurd("blur", "--classes", "face", tree / "in", tree / "out")
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.splitlines()) == {"plain.png", "sub/face.png"}
    assert sorted(path.name for path in (tree / "out").rglob("*")) == ["face.png", "plain.png", "sub"]
    before, after = astronaut(), np.asarray(Image.open(tree / "out" / "sub" / "face.png"))
    changed = (before != after).any(axis=2)
    assert changed[100:140, 210:240].mean() > 0.9  # the face
    assert not changed[300:, :].any()  # bit-exact elsewhere
    assert (tree / "in" / "sub" / "face.png").read_bytes() == photo()


def test_blur_again_leaves_what_is_there(tree: Path) -> None:
    blurd("blur", tree / "in", tree / "twice")
    before = {path: path.stat().st_mtime_ns for path in (tree / "twice").rglob("*")}
    result = blurd("blur", tree / "in", tree / "twice")
    assert result.returncode == 0
    assert "0 written, 2 already there, 0 refused" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in (tree / "twice").rglob("*")} == before


def test_blur_treats_one_file_to_a_name_or_a_folder(tree: Path, tmp_path: Path) -> None:
    assert blurd("blur", tree / "in" / "plain.png", tmp_path / "copy.png").returncode == 0
    assert blurd("blur", tree / "in" / "plain.png", tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.png", "plain.png"]


def test_blur_ignores_what_came_along_and_refuses_it_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").write_bytes(_plain())
    (tmp_path / "in" / "index.xml").write_bytes(b"<index/>")
    (tmp_path / "in" / "done").write_bytes(b"")
    result = blurd("blur", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "1 written" in result.stderr
    assert "2 ignored" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    assert blurd("blur", tmp_path / "in" / "index.xml", tmp_path / "out").returncode == 1


def test_blur_names_what_it_refuses_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"no picture at all")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "b.png").write_bytes(_plain())
    result = blurd("blur", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 1
    assert "a.jpg: unknown_format." in result.stderr
    assert "empty.jpg: empty_file." in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]
    assert "Traceback" not in result.stderr


def test_blur_chooses_a_style(tree: Path, tmp_path: Path) -> None:
    assert blurd("blur", "--style", "solid", tree / "in" / "sub", tmp_path / "out").returncode == 0
    face = np.asarray(Image.open(tmp_path / "out" / "face.png"))[100:140, 210:240]
    assert len(np.unique(face.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [("absent", "out", "is not there"), ("in", "in/out", "OUT lies inside IN"), ("in", "in", "OUT lies inside IN")],
)
def test_blur_explains_a_wrong_place(tree: Path, source: str, target: str, text: str) -> None:
    result = blurd("blur", tree / source, tree / target)
    assert result.returncode not in (0, 1)
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = blurd("blur", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 0
    assert "0 written" in result.stderr


def test_check_config_lists_every_error(tmp_path: Path) -> None:
    config = tmp_path / "blurd.toml"
    config.write_text('[work]\nworkers = 0\n[[folder]]\nname = "A"\ninbound = "in"\noutbound = "/out"\n')
    result = blurd("--config", config, "check-config")
    assert result.returncode == 10
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "work.workers", "folder.0.name", "folder.0.inbound",
    ]  # fmt: skip


def test_check_config_accepts_the_shipped_file() -> None:
    result = blurd("--config", Path(__file__).parents[2] / "etc" / "blurd.toml", "check-config")
    assert result.returncode == 0
    assert "1 folders, no errors" in result.stdout


def test_status_before_the_first_run_says_so(tmp_path: Path) -> None:
    config = tmp_path / "blurd.toml"
    config.write_text(
        f'[state]\ndirectory = "{tmp_path}/state"\n'
        f'[[folder]]\nname = "a"\ninbound = "{tmp_path}/in"\noutbound = "{tmp_path}/out"\n'
    )
    result = blurd("--config", config, "status")
    assert result.returncode == 16
    assert "has not run here yet" in result.stderr
    assert not (tmp_path / "state").exists()


def test_status_as_json_is_for_scripts(tmp_path: Path) -> None:
    from blurd.adapters.store import SqliteJobStore

    SqliteJobStore(tmp_path / "state" / "queue.sqlite").close()
    config = tmp_path / "blurd.toml"
    config.write_text(
        f'[state]\ndirectory = "{tmp_path}/state"\n'
        f'[[folder]]\nname = "a"\ninbound = "{tmp_path}/in"\noutbound = "{tmp_path}/out"\n'
    )
    result = blurd("--config", config, "status", "--json")
    status = json.loads(result.stdout)
    assert status["healthy"] is False
    assert status["folders"]["a"]["published"] == 0
    assert result.returncode == 1
    shown = blurd("--config", config, "status").stdout
    assert "not running" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_blur_masks_zones_and_regions(tmp_path: Path) -> None:
    """A file's regions lie beside it, are no picture themselves, and are never ignored."""
    config = tmp_path / "blurd.toml"
    zone = "[[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]"
    config.write_text(
        f'[defaults]\nclasses = ["face"]\n[[defaults.zone]]\npolygon = {zone}\n'
        f'[[folder]]\nname = "a"\ninbound = "{tmp_path}/x"\noutbound = "{tmp_path}/y"\n'
    )
    (tmp_path / "in").mkdir()
    ramp = np.tile((np.arange(80) % 4 * 60).astype(np.uint8), (60, 1))
    for name in ("a", "b", "c"):
        Image.fromarray(ramp).save(tmp_path / "in" / f"{name}.png")
    region = {"class": "region", "polygon": [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]}
    (tmp_path / "in" / "b.png.regions.json").write_text(json.dumps({"regions": [region]}))
    (tmp_path / "in" / "c.png.regions.json").write_text(json.dumps({"regions": [region], "unit": "cm"}))
    result = blurd("--config", config, "blur", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 1
    assert "c.png: regions_invalid." in result.stderr
    assert "regions.json:" not in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    for name, masked in (("a", False), ("b", True)):
        copy = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        parts = {"zone": np.s_[:30, :40], "region": np.s_[30:, 40:], "rest": np.s_[30:, :40]}
        changed = {part: bool((copy[place] != ramp[place]).mean() > 0.9) for part, place in parts.items()}
        assert changed == {"zone": True, "region": masked, "rest": False}
