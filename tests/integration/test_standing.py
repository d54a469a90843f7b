"""What is told of a folder: each change once, through a queue that is begun anew and a process that is started anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blurd.adapters.store import SqliteJobStore
from blurd.errors import Reason
from blurd.event import Event
from blurd.events import FolderPaused, FolderResumed, PlacesUnreadable
from blurd.records import FolderCondition, FolderName
from blurd.standing import Standing

FOLDER = FolderName("photos")
PAUSED = FolderPaused(FOLDER, Reason.INBOUND_MISSING)
RESUMED = FolderResumed(FOLDER)


def condition(paused: Reason | None = None, unreadable: int = 0) -> FolderCondition:
    return FolderCondition(FOLDER, 0, paused, rescan_only=False, unreadable=unreadable)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteJobStore]:
    made = SqliteJobStore(tmp_path / "queue.sqlite")
    yield made
    made.close()


@pytest.fixture
def told() -> list[Event]:
    return []


def test_what_stays_is_one_line_and_is_in_the_status(store: SqliteJobStore, told: list[Event]) -> None:
    standing = Standing(FOLDER, told.append, None)
    standing.begin(store)
    for paused in (None, Reason.INBOUND_MISSING, Reason.INBOUND_MISSING, None, None):
        standing.tell(store, condition(paused))
        assert store.overview().folders == (condition(paused),)
    assert told == [PAUSED, RESUMED]


def test_a_folder_that_stays_as_it_is_writes_nothing(store: SqliteJobStore, told: list[Event]) -> None:
    """A pause of weeks is looked at every few seconds."""
    standing = Standing(FOLDER, told.append, None)
    for _ in range(3):
        standing.begin(store)
        standing.tell(store, condition(Reason.INBOUND_MISSING))
    assert store._connection.total_changes == 1


def test_a_queue_begun_anew_in_mid_run_hides_no_resumption(
    store: SqliteJobStore, told: list[Event], tmp_path: Path
) -> None:
    standing = Standing(FOLDER, told.append, None)
    standing.begin(store)
    standing.tell(store, condition(Reason.INBOUND_MISSING))
    another = SqliteJobStore(tmp_path / "another.sqlite")
    standing.forget_note()
    standing.begin(another)
    standing.tell(another, condition(Reason.INBOUND_MISSING))
    assert told == [PAUSED]
    assert another.overview().folders == (condition(Reason.INBOUND_MISSING),)
    standing.tell(another, condition())
    another.close()
    assert told == [PAUSED, RESUMED]


def test_a_process_tells_how_it_stands_and_that_what_its_predecessor_paused_has_resumed(
    store: SqliteJobStore, told: list[Event]
) -> None:
    for paused in (Reason.INBOUND_MISSING, Reason.INBOUND_MISSING, None, None):
        standing = Standing(FOLDER, told.append, None)
        standing.begin(store)
        standing.tell(store, condition(paused))
    assert told == [PAUSED, PAUSED, RESUMED]


def test_unreadable_places_are_told_when_their_number_changes(store: SqliteJobStore, told: list[Event]) -> None:
    for _ in range(2):
        standing = Standing(FOLDER, told.append, None)
        standing.begin(store)
        for number in (2, 2, 0):
            standing.tell(store, condition(unreadable=number))
    assert told == [PlacesUnreadable(FOLDER, number) for number in (2, 0, 2, 0)]
