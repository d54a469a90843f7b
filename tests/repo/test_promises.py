"""Every promise and every scenario names its tests, and the page that lists them is true."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS / "PROMISES.md").read_text(encoding="utf-8")
PROMISES, SCENARIOS = PAGE.split("## Scenarios")
NAMES = {
    str(path.relative_to(TESTS)): re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in TESTS.rglob("test_*.py")
}
NUMBERS = [f"{number:02}" for number in range(1, 46)]


def bear(number: str, names: list[str]) -> bool:
    """Whether one of these tests has the scenario's number in its name."""
    return any(number in re.findall(r"(?<=_s)\d\d(?=_)", name) for name in names)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_scenario_has_a_test(number: str) -> None:
    assert any(bear(number, names) for names in NAMES.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_the_page_says_where_each_scenario_is_tested(number: str) -> None:
    (row,) = (line for line in SCENARIOS.splitlines() if line.startswith(f"| {number} |"))
    files = re.findall(r"`([\w/]+\.py)`", row)
    assert files
    assert [file for file in files if not bear(number, NAMES.get(file, []))] == []


@pytest.mark.parametrize("number", range(1, 8))
def test_the_page_names_tests_of_each_promise_that_are_there(number: int) -> None:
    (row,) = (line for line in PROMISES.splitlines() if line.startswith(f"| {number}. "))
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in NAMES.get(file, [])] == []
