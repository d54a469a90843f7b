"""What an error's class promises holds wherever one is raised."""

import ast
from pathlib import Path

import pytest

from blurd.errors import REASONS, Disposition, Reason

DAEMON = Path(__file__).parents[2] / "daemon"


def raised(name: str) -> set[Reason]:
    """The reasons that are written out where errors of this class are made."""
    calls = (
        node
        for path in DAEMON.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    )
    written = (node.args[0] for node in calls if node.args)
    names = {ast.unparse(reason).removeprefix("Reason.") for reason in written}
    return {reason for reason in Reason if reason.name in names}


def test_trouble_with_equipment_never_rejects_a_file() -> None:
    reasons = raised("EquipmentError")
    assert len(reasons) > 10
    assert {reason for reason in reasons if REASONS[reason].disposition is Disposition.REJECT} == set()


def test_trouble_with_a_file_never_pauses_a_folder_or_stops_a_process() -> None:
    reasons = raised("InputError")
    assert len(reasons) > 10
    assert {
        reason for reason in reasons if REASONS[reason].disposition in (Disposition.PAUSE, Disposition.STOP)
    } == set()


@pytest.mark.parametrize(
    "reason",
    [Reason.WORKER_DIED, Reason.NO_PROGRESS, Reason.OUT_OF_MEMORY, Reason.DETECTOR_FAILED, Reason.INTERNAL_ERROR],
)
def test_what_may_pass_is_tried_again(reason: Reason) -> None:
    assert REASONS[reason].disposition is Disposition.RETRY
