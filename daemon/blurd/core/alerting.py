"""When somebody is told of something: once when it begins, once when it is over, and not again and again.

Invariants
* A finding is told of when it has held for its own time, and then not again until it is over.
* What begins anew within `repeat_s` after it was told last waits until that is over, and is not told if it has passed.
* What happened and can't be over (files that were refused) is counted, and told as a sum.
* Time that runs backwards (the wall clock was set) never silences anything for longer than `repeat_s`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from blurd.errors import Reason
from blurd.records import FolderName


class AlertKind(StrEnum):
    """What an alert tells of."""

    FOLDER_SILENT = "folder_silent"
    BACKLOG = "backlog"
    FILES_REFUSED = "files_refused"
    FOLDER_PAUSED = "folder_paused"
    DEVICE_DEGRADED = "device_degraded"
    WORKER_MISSING = "worker_missing"
    WORKER_DYING = "worker_dying"
    STATE_FULL = "state_full"


class AlertState(StrEnum):
    """Whether an alert tells of something that began, that is over, or that is just to be known."""

    RAISED = "raised"
    RESOLVED = "resolved"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Subject:
    """What it is about: a kind of trouble, and the folder that has it, if it is one's."""

    kind: AlertKind
    folder: FolderName | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is the matter now. `after_s` is how long it must hold before it is told."""

    subject: Subject
    value: float = 0.0
    threshold: float = 0.0
    reason: Reason | None = None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be told."""

    state: AlertState
    finding: Finding


class Alarms:
    """What was told and is not over. `standing` and `told` are what an earlier process left: since when, told when."""

    def __init__(self, repeat_s: float, standing: Mapping[Subject, float], told: Mapping[Subject, float]) -> None:
        self._repeat_s = repeat_s
        self.standing, self.told = dict(standing), dict(told)
        self._seen: dict[Subject, float] = {}
        self._counted: dict[FolderName, Finding] = {}

    def update(self, findings: Iterable[Finding], refused: Iterable[Finding], now_s: float) -> tuple[Alert, ...]:
        """What is to be told now: `findings` is all that is the matter, `refused` what was refused since the last."""
        present = {finding.subject: finding for finding in findings}
        for finding in refused:
            self._count(finding)
        self._seen = {subject: min(now_s, self._seen.get(subject, now_s)) for subject in present}
        return (*self._over(present), *self._begun(present, now_s), *self._notices(now_s))

    def _over(self, present: Mapping[Subject, Finding]) -> Iterator[Alert]:
        for subject in [subject for subject in self.standing if subject not in present]:
            del self.standing[subject]
            yield Alert(AlertState.RESOLVED, Finding(subject))

    def _begun(self, present: Mapping[Subject, Finding], now_s: float) -> Iterator[Alert]:
        for subject, finding in present.items():
            held_s = now_s - self._seen[subject]
            if subject not in self.standing and held_s >= finding.after_s and self._may_tell(subject, now_s):
                self.standing[subject] = self.told[subject] = now_s
                yield Alert(AlertState.RAISED, finding)

    def _notices(self, now_s: float) -> Iterator[Alert]:
        for folder, finding in tuple(self._counted.items()):
            if self._may_tell(finding.subject, now_s):
                del self._counted[folder]
                self.told[finding.subject] = now_s
                yield Alert(AlertState.NOTICE, finding)

    def _count(self, finding: Finding) -> None:
        folder = finding.subject.folder
        if folder is None:
            raise ValueError("files are refused in a folder")
        before = self._counted.get(folder)
        total = finding.value + (before.value if before is not None else 0.0)
        self._counted[folder] = Finding(finding.subject, total, reason=finding.reason)

    def _may_tell(self, subject: Subject, now_s: float) -> bool:
        last_s = self.told.get(subject)
        return last_s is None or not 0.0 <= now_s - last_s < self._repeat_s
