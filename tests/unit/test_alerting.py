"""Alerts: told once, told when over, and not again and again."""

import pytest

from blurd.core.alert_text import sentence
from blurd.core.alerting import Alarms, Alert, AlertKind, AlertState, Finding, Subject
from blurd.errors import Reason
from blurd.records import FolderName

DOOR, YARD = FolderName("door"), FolderName("yard")
HOUR_S = 3600.0


def paused(folder: FolderName = DOOR, after_s: float = 0.0) -> Finding:
    return Finding(Subject(AlertKind.FOLDER_PAUSED, folder), reason=Reason.OUTBOUND_FULL, after_s=after_s)


def refused(number: int, folder: FolderName = DOOR) -> Finding:
    return Finding(Subject(AlertKind.FILES_REFUSED, folder), float(number), reason=Reason.DAMAGED)


def states(alerts: tuple[Alert, ...]) -> list[str]:
    return [str(alert.state) for alert in alerts]


@pytest.fixture
def alarms() -> Alarms:
    return Alarms(6 * HOUR_S, {}, {})


def test_it_is_told_once_and_told_when_it_is_over(alarms: Alarms) -> None:
    assert states(alarms.update([paused()], (), 0.0)) == ["raised"]
    assert alarms.update([paused()], (), 10 * HOUR_S) == ()
    assert states(alarms.update([], (), 11 * HOUR_S)) == ["resolved"]
    assert alarms.update([], (), 12 * HOUR_S) == ()


def test_what_comes_and_goes_is_told_once_in_a_while(alarms: Alarms) -> None:
    told = [
        state for hour in range(12) for state in states(alarms.update([paused()] * ((hour + 1) % 2), (), hour * HOUR_S))
    ]
    assert told == ["raised", "resolved", "raised", "resolved"]


def test_what_lasts_shorter_than_it_must_is_not_told(alarms: Alarms) -> None:
    assert alarms.update([paused(after_s=300)], (), 0.0) == ()
    assert alarms.update([], (), 200.0) == ()
    assert alarms.update([paused(after_s=300)], (), 400.0) == ()
    assert states(alarms.update([paused(after_s=300)], (), 701.0)) == ["raised"]


def test_folders_are_told_apart(alarms: Alarms) -> None:
    alarms.update([paused()], (), 0.0)
    (alert,) = alarms.update([paused(), paused(YARD)], (), 1.0)
    assert alert.finding.subject.folder == YARD


def test_refused_files_are_told_as_a_sum(alarms: Alarms) -> None:
    assert states(alarms.update((), [refused(1)], 0.0)) == ["notice"]
    for minute in range(1, 50):
        assert alarms.update((), [refused(2)], 60.0 * minute) == ()
    (alert,) = alarms.update((), (), 6 * HOUR_S)
    assert alert.finding.value == 98


def test_a_clock_that_is_set_back_silences_nothing(alarms: Alarms) -> None:
    alarms.update([paused()], (), 1e9)
    alarms.update([], (), 1e9)
    assert states(alarms.update([paused()], (), 1000.0)) == ["raised"]


def test_another_process_goes_on_where_the_last_one_ended(alarms: Alarms) -> None:
    alarms.update([paused()], (), 0.0)
    later = Alarms(6 * HOUR_S, alarms.standing, alarms.told)
    assert later.update([paused()], (), 60.0) == ()
    assert states(later.update([], (), 120.0)) == ["resolved"]


@pytest.mark.parametrize("kind", AlertKind)
@pytest.mark.parametrize("state", AlertState)
def test_every_alert_has_a_sentence(kind: AlertKind, state: AlertState) -> None:
    text = sentence(Alert(state, Finding(Subject(kind, DOOR), 5.0, 4.0)))
    assert text.startswith("blurd, folder door: ")
    assert len(text) > 30
