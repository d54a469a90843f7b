"""`blurd blur IN OUT`: one file or a tree, through the same stages, without queue and daemon.

Invariants
* Never overwrites: a copy that is there already is left alone and counted, so a run that was cut off can be repeated.
* A file that can't be treated does not stop the others; its name and reason are told to the person at the terminal.
* Staged files are removed whatever happens; nothing half-made is visible.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blurd.adapters.folders import InboundFolder, OutboundFolder
from blurd.adapters.regions import read_regions
from blurd.config import Policy, Settings
from blurd.core.naming import TEMPORARY_NAMES, copy_path, is_regions, is_temporary, promises_medium
from blurd.core.zones import Region
from blurd.equipment import Detectors, build_codec, fixed_zones, mask_rules
from blurd.errors import BlurdError, Disposition, EquipmentError, InputError, Reason
from blurd.pipeline import Report, Treatment, treat

_NOTHING_KNOWN = (Reason.UNKNOWN_FORMAT, Reason.EMPTY_FILE)


@dataclass
class Tally:
    """What became of the files."""

    written: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: list[tuple[str, Reason]] = field(default_factory=list)
    ignored: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, treatment: Treatment, path: str, *, written: bool) -> None:
        """Count a treated file; not written where its name was taken meanwhile."""
        for stage, seconds in treatment.stage_seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        (self.written if written else self.present).append(path)


@dataclass(frozen=True, slots=True)
class Order:
    """One file to treat: `path` below the source folder, `target` below the target folder, without final suffix.

    `asked_for` says that the file itself was named and not its folder.
    """

    path: str
    target: str
    asked_for: bool = True


Began = Callable[[str, int, int], Report]
"""Called before each file with its path, its number from 1 and the number of all; returns the file's progress."""


def blur(settings: Settings, policy: Policy, source: Path, target: Path, began: Began) -> Tally:
    """Write masked copies of `source` (a file or a folder) to `target`.

    Raises `EquipmentError` where a model, the source as a whole or the target can't be used.
    """
    source_folder, target_folder, orders = _orders(source, target)
    codec = build_codec(settings.limits, policy)
    detectors = Detectors(settings, (policy,)).of(policy)
    rules = mask_rules(policy, detectors)
    tally = Tally()
    with InboundFolder(source_folder) as inbound, OutboundFolder(target_folder) as outbound:
        try:
            for number, order in enumerate(orders, start=1):
                report = began(order.path, number, len(orders))
                name = f"once-{os.getpid()}-{number}.staged"
                try:
                    with inbound.open(order.path, allow_hard_links=True) as file:
                        target_path = copy_path(order.target, codec.open(file).output_facts.suffix)
                        if outbound.is_taken(target_path):
                            tally.present.append(target_path)
                            continue
                        zones = fixed_zones(policy).with_regions(_regions(inbound, order.path, policy))
                        with outbound.staged(name, policy.mode) as staged:
                            treatment = treat(file, staged, codec, detectors, rules, report, zones)
                    tally.add(treatment, target_path, written=outbound.publish(name, target_path))
                except BlurdError as error:
                    if error.disposition in (Disposition.PAUSE, Disposition.STOP):
                        raise
                    if error.reason in _NOTHING_KNOWN and _is_other(inbound, order, policy):
                        tally.ignored += 1
                    else:
                        tally.refused.append((order.path, error.reason))
                except MemoryError:
                    tally.refused.append((order.path, Reason.OUT_OF_MEMORY))
                finally:
                    outbound.remove_staged(name)
        finally:
            outbound.remove_staging()
    return tally


def _regions(inbound: InboundFolder, path: str, policy: Policy) -> tuple[Region, ...]:
    """The file's own regions. Raises `InputError(REGIONS_MISSING)` where the policy requires some."""
    stamp = inbound.regions_stamp(path)
    if stamp is None and policy.regions == "required":
        raise InputError(Reason.REGIONS_MISSING, "open regions")
    return read_regions(inbound, path, stamp, allow_hard_links=True).regions


def _is_other(inbound: InboundFolder, order: Order, policy: Policy) -> bool:
    """True for a file of unknown content that came along with its folder and doesn't look like a medium."""
    if policy.other_files == "report" or order.asked_for or promises_medium(order.path):
        return False
    return inbound.regions_stamp(order.path) is None


def _orders(source: Path, target: Path) -> tuple[Path, Path, Sequence[Order]]:
    """The source folder, the target folder, and what to treat. Makes the target folder where it is missing."""
    if source.is_dir():
        inside = target.resolve()
        if inside == source.resolve() or inside.is_relative_to(source.resolve()):
            raise EquipmentError(Reason.SETTINGS_INVALID, "blur", "OUT lies inside IN: choose a folder beside it.")
        _make(target)
        with InboundFolder(source) as inbound:
            orders = [Order(path, path, asked_for=False) for path in sorted(_files(inbound, ""))]
        return source, target, orders
    if not source.exists():
        raise InputError(Reason.SOURCE_VANISHED, "blur", f"{source} is not there.")
    if target.is_dir():
        return source.parent, target, [Order(source.name, source.name)]
    _make(target.parent)
    return source.parent, target.parent, [Order(source.name, target.name)]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EquipmentError(Reason.OUTBOUND_MISSING, "blur", f"{folder} can't be made.") from error


def _files(inbound: InboundFolder, path: str) -> Iterator[str]:
    for name, status in inbound.entries(path):
        if is_temporary(name, TEMPORARY_NAMES):
            continue
        below = f"{path}/{name}" if path else name
        if stat.S_ISDIR(status.st_mode):
            yield from _files(inbound, below)
        elif not is_regions(name):
            yield below
