"""Samples of what waits, and outages: what the report draws. See `sampling.py`.

Invariant: both tables are bounded, whatever the number of years: samples of the last days as they were taken, one an
hour of what is older, none that is older still; the newest outages, so many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from blurd.adapters.store_base import QueueFile
from blurd.adapters.store_rows import to_process
from blurd.core.lifecycle import UNFINISHED
from blurd.records import FolderName, JobState, ProcessCondition

MOST_OUTAGES = 20_000
APPLIANCE = ""
"""In the place of a folder's name: the whole appliance."""

_DAY_S = 86_400
_FINE_DAYS, _KEPT_DAYS = 14, 800
_STATES = ", ".join(f"'{state}'" for state in sorted(UNFINISHED))
_WAITING = f"""
    SELECT folder, state, count(*) AS number FROM job WHERE state IN ({_STATES})
        AND folder IN (SELECT name FROM folder) GROUP BY folder, state
"""  # noqa: S608  our own states
_THIN = """
    DELETE FROM sample WHERE at < ? OR (at < ? AND EXISTS
        (SELECT 1 FROM sample AS kept WHERE kept.folder = sample.folder AND kept.at < sample.at
        AND kept.at / 3600 = sample.at / 3600))
"""
_FORGET = """
    DELETE FROM outage WHERE ended IS NOT NULL AND
        began < (SELECT min(began) FROM (SELECT began FROM outage ORDER BY began DESC LIMIT ?))
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """How many files of a folder settled, waited and ran at a time (seconds since 1970)."""

    at: int
    folder: str
    settling: int
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Outage:
    """That something did not run, from when to when (seconds since 1970; None: it lasts), and the code of its cause."""

    folder: str
    cause: str
    began: int
    ended: int | None


class SampleBooks(QueueFile):
    """The part of the queue that keeps samples and outages."""

    def take_sample(self, at: int) -> None:
        """Note what waits in every folder now, and thin what is old out."""
        with self._transaction("take sample"):
            execute = self._connection.execute
            rows = execute("SELECT * FROM folder")
            folders = {row["name"]: row["settling"] + row["awaiting_regions"] for row in rows}
            waiting, running = dict.fromkeys(folders, 0), dict.fromkeys(folders, 0)
            for row in execute(_WAITING):
                counts = running if row["state"] == JobState.CLAIMED else waiting
                counts[row["folder"]] += row["number"]
            for name, settling in folders.items():
                values = (at, name, settling, waiting[name], running[name])
                execute("INSERT OR REPLACE INTO sample VALUES (?, ?, ?, ?, ?)", values)
            execute("INSERT OR REPLACE INTO sample VALUES (?, ?, 0, 0, 0)", (at, APPLIANCE))
            execute(_THIN, (at - _KEPT_DAYS * _DAY_S, at - _FINE_DAYS * _DAY_S))

    def last_sample_at(self) -> int | None:
        """When the last sample was taken."""
        with self._translated("look up sample"):
            row = self._connection.execute("SELECT max(at) AS at FROM sample").fetchone()
        return None if row["at"] is None else int(row["at"])

    def conditions(self) -> tuple[dict[FolderName, str], tuple[ProcessCondition, ...]]:
        """The folders that are paused, with their reasons' codes, and the processes that were noted."""
        with self._translated("look at conditions"):
            execute = self._connection.execute
            paused = {
                FolderName(row["name"]): row["paused"]
                for row in execute("SELECT name, paused FROM folder WHERE paused IS NOT NULL")
            }
            return paused, tuple(map(to_process, execute("SELECT * FROM process")))

    def note_outage(self, outage: Outage) -> None:
        """Note an outage, or its end."""
        with self._transaction("note outage"):
            values = (outage.folder, outage.began, outage.ended, outage.cause)
            self._connection.execute(
                "INSERT OR REPLACE INTO outage (folder, began, ended, cause) VALUES (?, ?, ?, ?)", values
            )
            self._connection.execute(_FORGET, (MOST_OUTAGES,))

    def close_outages(self, at: int) -> None:
        """What an earlier process left open ended with it, as far as is known."""
        with self._transaction("close outages"):
            self._connection.execute("UPDATE outage SET ended = max(began, ?) WHERE ended IS NULL", (at,))

    def samples(self, since: int, until: int) -> Sequence[Sample]:
        """Samples of a time, oldest first."""
        with self._translated("read samples"):
            rows = self._connection.execute("SELECT * FROM sample WHERE at >= ? AND at < ? ORDER BY at", (since, until))
            return [Sample(row["at"], row["folder"], row["settling"], row["waiting"], row["running"]) for row in rows]

    def outages(self, since: int, until: int) -> Sequence[Outage]:
        """Outages that touch a time, oldest first."""
        with self._translated("read outages"):
            rows = self._connection.execute(
                "SELECT * FROM outage WHERE began < ? AND (ended IS NULL OR ended >= ?) ORDER BY began", (until, since)
            )
            return [Outage(row["folder"], row["cause"], row["began"], row["ended"]) for row in rows]

    def jobs_made(self, since: str, until: str) -> dict[tuple[str, str], int]:
        """How many jobs were made in a time, by folder and by the state that they are in now."""
        with self._translated("count jobs"):
            rows = self._connection.execute(
                "SELECT folder, state, count(*) AS number FROM job WHERE created_at >= ? AND created_at < ?"
                " GROUP BY folder, state",
                (since, until),
            )
            return {(row["folder"], row["state"]): row["number"] for row in rows}
