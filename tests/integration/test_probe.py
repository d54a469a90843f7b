"""A look at folders that may hang, waited for only so long."""

import threading
import time

import pytest

from blurd.adapters.probe import FolderProbe
from blurd.errors import EquipmentError, Reason


def test_s27_a_look_that_hangs_is_waited_for_once() -> None:
    gate, looks = threading.Event(), []

    def look() -> int:
        looks.append(1)
        gate.wait()
        return 7

    probe = FolderProbe("test", look)
    assert probe.room(0.05) is None
    started_s = time.monotonic()
    assert probe.room(30.0) is None  # the first look is still under way
    assert time.monotonic() - started_s < 5.0
    gate.set()
    deadline_s = time.monotonic() + 10.0
    while probe.room(5.0) != 7:
        assert time.monotonic() < deadline_s
    assert len(looks) >= 2  # an answer is never an old one


def test_what_is_wrong_with_a_folder_is_no_room_and_a_fault_of_ours_is_raised() -> None:
    faults: list[Exception] = [EquipmentError(Reason.INBOUND_STRANGE, "test"), ZeroDivisionError()]

    def look() -> int:
        if faults:
            raise faults.pop(0)
        return -3

    probe = FolderProbe("test", look)
    assert probe.room(5.0) is None
    with pytest.raises(ZeroDivisionError):
        probe.room(5.0)
    assert probe.room(5.0) == -3
