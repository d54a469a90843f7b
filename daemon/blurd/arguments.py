"""What the commands on the queue share: the settings of a queue, and types of arguments. Part of the command line."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from blurd.config import DEFAULT_PATH, Settings, load_settings
from blurd.errors import EquipmentError, Reason
from blurd.records import FolderName, JobState


def settings_of_queue(config: Path | None) -> Settings:
    """The settings of a blurd that has run before. Raises STATE_UNUSABLE where it has not."""
    settings = load_settings(config or DEFAULT_PATH)
    if not settings.queue_path.exists():
        raise EquipmentError(Reason.STATE_UNUSABLE, "open queue", "blurd has not run here yet.")
    return settings


def folder_name(text: str) -> FolderName:
    """A folder's name in the settings."""
    try:
        return FolderName(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def need_folder(settings: Settings, name: FolderName | None) -> None:
    """Raises SETTINGS_INVALID where the settings have no such folder."""
    if name is not None and settings.folder_named(name) is None:
        raise EquipmentError(Reason.SETTINGS_INVALID, "choose folder", f"There is no folder {name}.")


def reason(text: str) -> Reason:
    """A reason's code."""
    try:
        return Reason(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("there is no such reason; see: blurd status") from error


def states(text: str) -> tuple[JobState, ...]:
    """States of jobs, separated by commas."""
    try:
        return tuple(JobState(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(JobState)}, separated by commas") from error


def moment(text: str) -> str:
    """A date, or date and time, of this machine's clock unless it names a zone; as the queue writes times."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError("write a date such as 2026-03-31, or 2026-03-31T14:30") from error


def count(text: str) -> int:
    """A number of at least 1."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1 or number > 2**31:
        raise argparse.ArgumentTypeError("write a number of at least 1")
    return number
