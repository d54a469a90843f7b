"""The repository keeps its shape."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    if name and (ROOT / name).is_file()
]
ALLOWED_TOP = {
    "pyproject.toml",
    "daemon",
    "models",
    "etc",
    "systemd",
    "tests",
    "packaging",
    "README.md",
    "CHANGELOG.md",
}


def test_the_top_level_is_the_agreed_one() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in TRACKED}
    assert {name for name in top if not name.startswith(".")} <= ALLOWED_TOP | {"LICENSE"}


@pytest.mark.parametrize("folder", ["daemon", "models", "etc", "systemd", "tests", "packaging"])
def test_no_top_level_folder_is_a_package(folder: str) -> None:
    """`daemon`, `systemd` and `packaging` are also import names of installed packages."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_modules_stay_readable() -> None:
    """A module has at most 400 lines."""
    long = {str(path): lines for path in TRACKED if path.suffix == ".py" and (lines := _lines(path)) > 400}
    assert not {path: lines for path, lines in long.items() if "/daemon/" in path or "/models/" in path}


def test_no_registry_is_named() -> None:
    """Where packages come from is the machine's business."""
    hosts = re.compile(r"py[p]i\.org|pythonh[o]sted|np[m]js\.|d[e]b\.debian")  # written so as not to find itself
    named = [str(path) for path in TRACKED if hosts.search(path.read_bytes().decode("utf-8", "replace"))]
    assert named == []


def test_every_module_opens_with_its_purpose() -> None:
    modules = [path for path in TRACKED if path.suffix == ".py" and "daemon" in path.parts]
    assert modules
    assert [str(path) for path in modules if not path.read_text(encoding="utf-8").startswith('"""')] == []


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
