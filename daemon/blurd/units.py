"""Drop-ins that keep systemd's units in step with the settings: folders, groups, number of workers.

The units themselves (`systemd/`) name no folder. What they need to know of the settings stands in drop-ins below
/etc/systemd/system, written by `blurd setup-units` and by nothing else.

* The watcher links staged copies to their names, which takes one writable mount that holds both, and it marks the
  folders that it knows. The writable place is the folder itself where that is a plain one; where it lies on a share, it
  is the one *above* the share's mount point. A share that is mounted anew then arrives in the watcher's view; a mount
  of the sandbox on it, or in it, would hide the new one behind the old.
* A worker reads. Of each outbound the staging folder alone is bound, writable, to a place of its own (`sandbox.py`).
* No folder is required: a `-` stands before each, and there is no RequiresMountsFor. A share that is missing pauses its
  folder; it must not keep the others from being served.

Invariants
* The same settings on the same machine give the same text, so `out_of_step` can compare.
* A path that a unit file can't hold, or a folder that the sandbox hides, is refused with a sentence.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from blurd.adapters.alert_spool import spool_of
from blurd.adapters.mount_table import mounts, mounts_to_come
from blurd.adapters.sandbox import staging_view
from blurd.config import FolderSettings, ModelSettings, Settings, StateSettings
from blurd.core.naming import STAGING_FOLDER
from blurd.errors import EquipmentError, Reason

UNIT_FOLDER = Path("etc/systemd/system")
WATCH_DROP_IN = Path("blurd-watch.service.d/folders.conf")
WORK_DROP_IN = Path("blurd-work@.service.d/folders.conf")
TARGET_DROP_IN = Path("blurd.target.d/workers.conf")
ALERT_DROP_IN = Path("blurd-alert.service.d/folders.conf")
ALERT_PATH_DROP_IN = Path("blurd-alert.path.d/state.conf")

_HEAD = "# Written by `blurd setup-units` from blurd's settings. What is changed here is overwritten.\n"
_INSTALLED = Path("usr/lib/systemd/system/blurd-watch.service")
_HIDDEN = tuple(map(Path, ("/tmp", "/var/tmp", "/dev", "/proc", "/sys", "/run/blurd", "/run/systemd")))  # noqa: S108
"""Places that the units don't show to their processes, or show other ones."""
_USUAL_STATE: Path = StateSettings.model_fields["directory"].default
_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
"""Empty in the units' view, apart from what is bound there (`ProtectHome=tmpfs`)."""


def units_are_installed(root: Path = Path("/")) -> bool:
    """True where blurd's units lie where a package puts them."""
    return (root / _INSTALLED).is_file()


def drop_ins(settings: Settings, mount_points: Iterable[Path]) -> Mapping[Path, str]:
    """The drop-ins, by their paths below the folder of units. Raises UNITS_UNUSABLE where a folder can't be told."""
    for folder in settings.folder:
        for path in folder_places(folder):
            _need_tellable(folder.name, path)
    own = tuple(_own_places(settings))
    return {
        WATCH_DROP_IN: "".join(f"{line}\n" for line in _watch_lines(settings, own, frozenset(mount_points))),
        WORK_DROP_IN: "".join(f"{line}\n" for line in _work_lines(settings, own)),
        TARGET_DROP_IN: "".join(f"{line}\n" for line in _target_lines(settings.work.workers)),
        ALERT_DROP_IN: "".join(f"{line}\n" for line in _alert_lines(settings)),
        ALERT_PATH_DROP_IN: "".join(f"{line}\n" for line in _alert_path_lines(settings)),
    }


def write_drop_ins(settings: Settings, root: Path = Path("/")) -> tuple[Path, ...]:
    """Write the drop-ins that are not in step; their paths. Raises UNITS_UNUSABLE."""
    wanted = drop_ins(settings, _mount_points(root))
    stale = tuple(_out_of_step(wanted, root))
    try:
        for path in stale:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            aside = path.with_name(f".{path.name}.new")
            aside.write_text(wanted[path.relative_to(root / UNIT_FOLDER)], encoding="utf-8")
            aside.chmod(0o644)
            aside.replace(path)
    except OSError as error:
        detail = f"{error.filename}: {error.strerror}. Run it as root."
        raise EquipmentError(Reason.UNITS_UNUSABLE, "write drop-ins", detail) from error
    return stale


def out_of_step(settings: Settings, root: Path = Path("/")) -> tuple[Path, ...]:
    """Drop-ins that are missing, or not what the settings want. Raises UNITS_UNUSABLE."""
    return tuple(_out_of_step(drop_ins(settings, _mount_points(root)), root))


def _out_of_step(wanted: Mapping[Path, str], root: Path) -> Iterator[Path]:
    for path, text in wanted.items():
        place = root / UNIT_FOLDER / path
        try:
            if place.read_text(encoding="utf-8") == text:
                continue
        except (FileNotFoundError, UnicodeDecodeError):
            pass
        except OSError as error:
            raise EquipmentError(Reason.UNITS_UNUSABLE, "read drop-ins", f"{place}: {error.strerror}.") from error
        yield place


# -- lines ------------------------------------------------------------------------------------------------------------


def _watch_lines(settings: Settings, own: Iterable[Path], mount_points: frozenset[Path]) -> Iterator[str]:
    yield _HEAD + "[Service]"
    folders = (path for folder in settings.folder for path in folder_places(folder))
    for path in sorted({_writable_place(path, mount_points) for path in folders} | {*own, *_metrics_places(settings)}):
        yield _bound(path) if _in_home(path) else f"ReadWritePaths={_quoted(path)}"
    groups = sorted({folder.output_group for folder in settings.folder if folder.output_group})
    if groups:
        yield f"SupplementaryGroups={' '.join(groups)}"


def folder_places(folder: FolderSettings) -> tuple[Path, ...]:
    """What the watcher writes for a folder: markers in inbound and what retention does there, copies, the archive."""
    archive = folder.archive_elsewhere
    return (folder.inbound, folder.outbound) if archive is None else (folder.inbound, folder.outbound, archive)


def _work_lines(settings: Settings, own: Iterable[Path]) -> Iterator[str]:
    yield _HEAD + "[Service]"
    for path in sorted(own):
        yield _bound(path) if _in_home(path) else f"ReadWritePaths={_quoted(path)}"
    for folder in settings.folder:
        for path in (folder.inbound, folder.outbound):
            if _in_home(path):
                yield _bound(path, read_only=True)
        yield _staging(folder)


def _target_lines(workers: int) -> Iterator[str]:
    yield _HEAD + "[Unit]"
    if workers > 1:
        yield "Wants=" + " ".join(f"blurd-work@{number}.service" for number in range(2, workers + 1))


def _alert_lines(settings: Settings) -> Iterator[str]:
    """Who delivers alerts sees no folder, and of a state directory elsewhere the spool alone."""
    yield _HEAD + "[Service]"
    for folder in settings.folder:
        for path in (folder.inbound, folder.outbound):
            yield f"InaccessiblePaths={_quoted(path)}"
    state = settings.state.directory
    if state != _USUAL_STATE:
        spool = spool_of(state)
        yield f"TemporaryFileSystem={_quoted(state, optional=False)}:mode=0755"
        yield _bound(spool)


def _alert_path_lines(settings: Settings) -> Iterator[str]:
    yield _HEAD + "[Path]"
    if settings.state.directory != _USUAL_STATE:
        yield "PathExistsGlob="
        yield "PathExistsGlob=" + _percent(spool_of(settings.state.directory) / "*.json")


def _percent(path: Path) -> str:
    return str(path).replace("%", "%%")


def _staging(folder: FolderSettings) -> str:
    source, target = folder.outbound / STAGING_FOLDER, staging_view(folder.key)
    return f"BindPaths={_quoted(source)}:{target}:norbind"


def _bound(path: Path, *, read_only: bool = False) -> str:
    return f"Bind{'ReadOnly' if read_only else ''}Paths={_quoted(path)}:{_quoted(path, optional=False)}"


def _quoted(path: Path, *, optional: bool = True) -> str:
    """A path as a word of a unit file: blanks, quotes and percent signs are its own. Optional: it need not be there."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{"-" if optional else ""}{text}"'


# -- places -----------------------------------------------------------------------------------------------------------


def _own_places(settings: Settings) -> Iterator[Path]:
    """State and cache, where they are not those that the units have anyway."""
    for path, usual in (
        (settings.state.directory, StateSettings.model_fields["directory"].default),
        (settings.models.cache, ModelSettings.model_fields["cache"].default),
    ):
        if path != usual:
            yield path


def _metrics_places(settings: Settings) -> Iterator[Path]:
    """Where the watcher writes the file of metrics."""
    if settings.metrics.place is not None:
        yield settings.metrics.place


def _writable_place(folder: Path, mount_points: frozenset[Path]) -> Path:
    """What the watcher may write, so that the folder lies on one mount and a share that comes back is seen."""
    place = Path(os.path.realpath(folder))
    root = Path("/")
    holder = next(path for path in (place, *place.parents) if path in mount_points or path == root)
    return place if root in (holder, holder.parent) else holder.parent


def _mount_points(root: Path) -> frozenset[Path]:
    """What is mounted, and what the fstab names; while a system is being made there may be no /proc to tell."""
    with suppress(OSError):
        return frozenset(mount.point for mount in mounts()) | mounts_to_come(root / "etc/fstab")
    return mounts_to_come(root / "etc/fstab")


def _in_home(path: Path) -> bool:
    place = Path(os.path.realpath(path))
    return any(place.is_relative_to(home) for home in _HOMES)


def _need_tellable(name: str, path: Path) -> None:
    place = Path(os.path.realpath(path))
    hidden = next((hidden for hidden in _HIDDEN if place.is_relative_to(hidden)), None)
    if hidden is not None:
        detail = f"Folder {name}: {path} lies in {hidden}, which a service can't see. Use another place."
    elif not str(path).isprintable():
        detail = f"Folder {name}: its path has a character that a unit file can't hold. Rename it."
    else:
        return
    raise EquipmentError(Reason.UNITS_UNUSABLE, "write drop-ins", detail)
