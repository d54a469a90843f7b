"""Half an hour of coverage-guided search over our own parsers: they name what is wrong, in bounded time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

MINUTES = 30


@pytest.mark.campaign
@pytest.mark.parametrize("name", TARGETS)
def test_the_search_finds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="not installed: there are wheels for x86-64 only")
    seconds = round(MINUTES * 60 * TARGETS[name].share)
    command = [
        sys.executable,
        "-m",
        "fuzz.search",
        name,
        str(seconds),
        str(tmp_path / "corpus"),
        str(tmp_path / "found"),
    ]
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=tests, env={**os.environ, "PYTHONPATH": str(tests)}, capture_output=True, text=True, check=False
    )
    found = {path.name: path.read_bytes() for path in (tmp_path / "found").iterdir()}
    assert done.returncode == 0, f"{found}\n{done.stderr[-3000:]}"
    assert not found
    print(name, [line for line in done.stderr.splitlines() if line.startswith(("Done", "stat::"))])  # noqa: T201


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_search_starts_from_is_read(name: str) -> None:
    """Each target takes its own seeds, and documents built of choices."""
    target = TARGETS[name]
    for seed in target.seeds():
        target.check(seed)
    for number in range(40):
        target.check(bytes([0, *(number * step % 256 for step in range(1, 200))]))


def test_the_check_of_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that raises something of its own is a finding."""

    def confused(_: bytes) -> None:
        raise KeyError

    monkeypatch.setattr("fuzz.targets.parse_regions", confused)
    with pytest.raises(KeyError):
        TARGETS["sidecars"].check(b"{}")
