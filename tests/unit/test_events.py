"""The closed list of events: nothing personal can pass."""

import dataclasses
import enum
import io
import json
import logging
import typing
import warnings

import pytest

from blurd import events, fault_events, monitor_events, upkeep_events
from blurd.adapters.log import LIBRARY_LIMIT, EventLog
from blurd.errors import Reason
from blurd.events import EVENTS, Event, JobPublished, JobRejected, Part
from blurd.records import FolderName


def test_the_list_is_closed_and_whole() -> None:
    there = (item for module in (events, fault_events, monitor_events, upkeep_events) for item in vars(module).values())
    declared = {item for item in there if isinstance(item, type) and issubclass(item, Event)} - {Event}
    assert declared == set(EVENTS)


def test_names_and_message_ids_are_unique() -> None:
    assert len({event.name for event in EVENTS}) == len(EVENTS)
    assert len({event.message_id() for event in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_no_field_is_declared_as_text(event: type[Event]) -> None:
    """Numbers, truth values, enumerations and folder names only."""
    hints = typing.get_type_hints(event)
    for item in dataclasses.fields(event):
        kind = hints[item.name]
        assert kind in (int, float, bool, FolderName) or issubclass(kind, enum.Enum), item.name
        assert kind is not str


def test_text_in_a_field_is_refused_when_made() -> None:
    with pytest.raises(TypeError):
        JobPublished("B-AB 1234.jpg", FolderName("photos"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        JobPublished(1, "Erika Mustermann")  # type: ignore[arg-type]


def test_a_folder_name_is_short_and_plain() -> None:
    for text in ("B-AB 1234", "Photos", "a/b", "", "x" * 40, "a\n"):
        with pytest.raises(ValueError, match="folder's name"):
            FolderName(text)


def test_a_line_is_one_json_object() -> None:
    stream = io.StringIO()
    EventLog(Part.WORK, stream).emit(JobRejected(7, FolderName("photos"), Reason.DAMAGED))
    line = json.loads(stream.getvalue())
    assert line["event"] == "job_rejected"
    assert (line["job"], line["folder"], line["reason"], line["level"]) == (7, "photos", "damaged", "warning")
    assert line["message_id"] == JobRejected.message_id()


def test_what_libraries_say_is_reduced_to_a_severity() -> None:
    stream = io.StringIO()
    log = EventLog(Part.WORK, stream)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        log.capture_libraries()
        for _ in range(100):
            logging.getLogger("PIL").error("can't read Erika Mustermann.jpg")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("Erika Mustermann", stacklevel=1)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "Mustermann" not in stream.getvalue()
    assert {line["event"] for line in lines} == {"library_spoke"}
    assert 1 <= len(lines) <= LIBRARY_LIMIT


def test_an_internal_error_shows_a_line_and_no_text() -> None:
    stream = io.StringIO()
    log = EventLog(Part.WORK, stream)
    try:
        FolderName("Erika Mustermann")
    except ValueError as error:
        log.internal_error(error)
    line = json.loads(stream.getvalue())
    assert line["line"] > 0
    assert line["module"] > 0
    assert "Mustermann" not in stream.getvalue()
