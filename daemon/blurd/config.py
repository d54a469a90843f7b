"""Settings: one TOML file, checked as a whole, every error reported at once with its key and what to write instead.

Invariants
* Unknown keys are refused; a misspelt key never falls back to a default in silence.
* `etc/blurd.toml` shows every key with its default; a test keeps it equal to this module.
* No setting publishes an unmasked or unverified file.

A folder's policy is `[defaults]` with the folder's own keys on top.
"""

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from blurd.config_monitoring import AlertSettings, MetricsSettings, Table
from blurd.config_paths import resolve_all
from blurd.config_upkeep import UpkeepPolicy
from blurd.core.hours import DayRange, parse_hours
from blurd.core.naming import TEMPORARY_NAMES
from blurd.core.polygons import meet
from blurd.errors import EquipmentError, Reason
from blurd.faults import sentence
from blurd.mask_settings import CategoryName, MaskSettings, ThresholdSettings, ZoneSettings
from blurd.profiles import ProfileName
from blurd.records import Category, FolderName

DEFAULT_PATH = Path("/etc/blurd/blurd.toml")
LEAST_MEMORY_MEBIBYTES = 512
"""The models alone take half of it; a photo of 24 megapixels takes some 900."""

BUILT_IN = "builtin"
"""Stands among a folder's detectors for all that blurd brings itself."""

_ADD_A_FOLDER = "add at least one [[folder]] table"
_CHECKOUT_MODELS = Path(__file__).parents[2] / "models"


def installed_models() -> Path:
    """The models of this installation: beside the sources in a checkout, else where the package puts them."""
    if (_CHECKOUT_MODELS / "manifest.toml").is_file():
        return _CHECKOUT_MODELS
    return Path("/usr/share/blurd/models")


DetectorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Seconds = Annotated[float, Field(ge=0.0, le=86_400.0 * 365)]


class StateSettings(Table):
    """`[state]`: where blurd keeps its queue and receipts."""

    directory: Path = Path("/var/lib/blurd")
    names_days: Annotated[float, Field(ge=0.0, le=36_500.0)] = 30.0


class ModelSettings(Table):
    """`[models]`: where the models lie, the owner's own too, and where their compiled form is kept."""

    directory: Path = Field(default_factory=installed_models)
    directory_own: Path = Path("/etc/blurd/models.d")
    cache: Path = Path("/var/cache/blurd")


class DetectionSettings(Table):
    """`[detection]`: what inference runs on."""

    device: Literal["AUTO", "CPU", "GPU"] = "AUTO"
    threads: Annotated[int, Field(ge=0, le=256)] = 0


class WatchSettings(Table):
    """`[watch]`: how new files are found."""

    rescan_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    notify: bool = True
    temporary_names: tuple[str, ...] = TEMPORARY_NAMES


class WorkSettings(Table):
    """`[work]`: workers, attempts and their limits."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    retry_first_s: Seconds = 10.0
    retry_longest_s: Seconds = 3600.0
    jobs_per_process: Annotated[int, Field(ge=1)] = 500
    no_progress_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 600.0
    memory_mebibytes: Annotated[int, Field(ge=0)] = 0

    @field_validator("memory_mebibytes")
    @classmethod
    def _room_for_the_models(cls, value: int) -> int:
        if 0 < value < LEAST_MEMORY_MEBIBYTES:
            raise ValueError(f"write at least {LEAST_MEMORY_MEBIBYTES}, or 0 for a share of the machine's memory")
        return value


class LimitSettings(Table):
    """`[limits]`: how large an input may be before it is rejected."""

    max_megapixels: Annotated[float, Field(gt=0, le=2000)] = 200.0
    max_pages: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_image_mebibytes: Annotated[int, Field(ge=1, le=65_536)] = 1024
    max_frame_megapixels: Annotated[float, Field(gt=0, le=300)] = 40.0
    max_frames: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000_000


_SHAPING = {"audio", "classes", "damaged", "detectors", "encode", "mask", "profile", "thresholds", "zone"}
"""The keys of a policy that shape a copy."""


class EncodeSettings(Table):
    """`encode`: how videos are written. `quality` is the encoder's constant quality factor, less is better."""

    codec: Literal["auto", "h264", "h265", "vp9"] = "auto"
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "veryfast"
    quality: Annotated[int, Field(ge=0, le=63)] | None = None
    untouched: Literal["copy", "encode"] = "copy"


class Policy(UpkeepPolicy):
    """What a folder does: `[defaults]`, and each `[[folder]]` on top of it."""

    detectors: tuple[DetectorName, ...] = (BUILT_IN,)
    profile: ProfileName = "balanced"
    classes: tuple[CategoryName, ...] = (Category.FACE, Category.PLATE)
    mask: MaskSettings = MaskSettings()
    thresholds: ThresholdSettings = ThresholdSettings()
    settle_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 5.0
    incomplete_after_s: Seconds = 3600.0
    hard_links: bool = False
    output_mode: Annotated[str, Field(pattern=r"^0[0-7]{3}$")] = "0640"
    output_group: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_.-]{0,31})?$")] = ""
    reserve_mebibytes: Annotated[int, Field(ge=0)] = 100
    audio: Literal["drop", "copy"] = "drop"
    damaged: Literal["reject", "mask"] = "reject"
    encode: EncodeSettings = EncodeSettings()
    zone: Annotated[tuple[ZoneSettings, ...], Field(max_length=64)] = ()
    regions: Literal["optional", "required"] = "optional"
    other_files: Literal["ignore", "report"] = "ignore"
    rejected_notes: bool = True
    hours: str = ""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    silent_hours: Annotated[float, Field(ge=0.0, le=8760.0)] = 0.0
    backlog_files: Annotated[int, Field(ge=0)] = 0

    @field_validator("hours")
    @classmethod
    def _sound_hours(cls, value: str) -> str:
        parse_hours(value)
        return value

    @field_validator("zone")
    @classmethod
    def _nothing_left_to_both(cls, value: tuple[ZoneSettings, ...]) -> tuple[ZoneSettings, ...]:
        clear = [(number, zone) for number, zone in enumerate(value) if zone.do == "leave"]
        for (number, zone), (other_number, other) in itertools.combinations(clear, 2):
            if zone.category is not other.category and meet(zone.polygon, other.polygon):
                raise ValueError(f"zones {number} and {other_number} meet: no place may be left clear for both classes")
        return value

    @field_validator("classes")
    @classmethod
    def _some_class_once(cls, value: tuple[Category, ...], info: ValidationInfo) -> tuple[Category, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError('name at least one class, each once, for example ["face"]')
        own = [category for category in value if category not in tuple(Category)]
        if own and info.data.get("detectors") == (BUILT_IN,):
            raise ValueError(f"write face or plate, or name a detector of your own that finds {own[0]} in detectors")
        return value

    @field_validator("detectors")
    @classmethod
    def _some_detector_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError('name at least one detector, each once, for example ["builtin"]')
        return value

    @property
    def mode(self) -> int:
        """`output_mode` as a number."""
        return int(self.output_mode, 8)

    @property
    def reserve_bytes(self) -> int:
        """`reserve_mebibytes` in bytes."""
        return self.reserve_mebibytes << 20

    @property
    def open_hours(self) -> tuple[DayRange, ...]:
        """`hours` as ranges of the day; none are all hours."""
        return parse_hours(self.hours)

    @property
    def hash(self) -> str:
        """SHA-256 of everything in the policy that shapes a copy."""
        value = self.model_dump(mode="json", include=_SHAPING)
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class FolderSettings(Policy):
    """`[[folder]]`: a pair of folders and its policy."""

    name: str
    inbound: Path
    outbound: Path

    @field_validator("name")
    @classmethod
    def _short_name(cls, value: str) -> str:
        return FolderName(value)

    @field_validator("inbound", "outbound")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("write an absolute path, beginning with /")
        if "\0" in str(value):
            raise ValueError("no path holds a zero byte")
        return value

    @property
    def key(self) -> FolderName:
        """The name as the queue and the log know it."""
        return FolderName(self.name)


class Settings(Table):
    """The whole file."""

    state: StateSettings = StateSettings()
    models: ModelSettings = ModelSettings()
    detection: DetectionSettings = DetectionSettings()
    watch: WatchSettings = WatchSettings()
    work: WorkSettings = WorkSettings()
    limits: LimitSettings = LimitSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    defaults: Policy = Policy()
    folder: tuple[FolderSettings, ...]

    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _folders_apart(self) -> Self:
        problems = [*_overlaps(self.folder), *_unknown_classes((("defaults", self.defaults), *_named(self.folder)))]
        if not self.folder:
            problems.append(f"folder: {_ADD_A_FOLDER}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def queue_path(self) -> Path:
        """The queue's database."""
        return self.state.directory / "queue.sqlite"

    @property
    def receipts_path(self) -> Path:
        """The ledger of receipts."""
        return self.state.directory / "receipts.jsonl"

    def folder_named(self, name: FolderName) -> FolderSettings | None:
        """The folder of this name, if it is still in the settings."""
        return next((folder for folder in self.folder if folder.name == name), None)


def _named(folders: Sequence[FolderSettings]) -> Iterator[tuple[str, Policy]]:
    return ((f"folder.{index}", folder) for index, folder in enumerate(folders))


def _unknown_classes(policies: Sequence[tuple[str, Policy]]) -> Iterator[str]:
    """Tables and keys of classes that nobody masks: a name that was mistyped."""
    masked = {category for _, policy in policies for category in policy.classes}
    for label, policy in policies:
        for number, zone in enumerate(policy.zone):
            if zone.category is not None and zone.category not in {*Category, *policy.classes}:
                yield f"{label}.zone.{number}.class: write one of {', '.join(policy.classes)}"
        for table, classes in (("mask", policy.mask.own_classes()), ("thresholds", policy.thresholds.own_classes())):
            for category in classes:
                if category not in masked:
                    yield f"{label}.{table}.{category}: there is no such key, and no folder's classes name {category}"


def _overlaps(folders: Sequence[FolderSettings]) -> Iterator[str]:
    """Every pair of folders that may not stand as it is: same name, same folder, or one inside another."""
    seen: list[tuple[str, Path]] = []
    names: set[str] = set()
    archives = {index: folder.archive_elsewhere for index, folder in enumerate(folders) if folder.archive_elsewhere}
    places = [path for folder in folders for path in (folder.inbound, folder.outbound)]
    resolved = resolve_all([*places, *archives.values()])
    for index, folder in enumerate(folders):
        if folder.name in names:
            yield f'folder.{index}.name: "{folder.name}" stands twice; give each folder its own name'
        names.add(folder.name)
        for key in ("inbound", "outbound"):
            label, path = f"folder.{index}.{key}", resolved[getattr(folder, key)]
            for other_label, other in seen:
                if path == other or path.is_relative_to(other) or other.is_relative_to(path):
                    yield f"{label}: lies in, around or on {other_label}; use folders that are apart"
            seen.append((label, path))
    for index, archive in archives.items():
        path = resolved[archive]
        for other_label, other in seen:
            if path == other or path.is_relative_to(other) or other.is_relative_to(path):
                yield f"folder.{index}.archive: lies in, around or on {other_label}; use a folder that is apart"


def load_settings(path: Path) -> Settings:
    """Read and check a settings file. Raises `EquipmentError(SETTINGS_INVALID)` whose detail lists every error."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _invalid([f"{path}: no such file; copy etc/blurd.toml there"]) from None
    except OSError as error:
        raise _invalid([f"{path}: can't be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise _invalid([f"{path}: is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise _invalid([f"{path}: is not valid TOML: {error}"]) from None
    except (ValueError, RecursionError):  # the library's own limits: digits of a number, depth
        raise _invalid([f"{path}: is not valid TOML: a number is too long, or values are nested too deep"]) from None
    return check_settings(document)


def check_settings(document: Mapping[str, Any]) -> Settings:
    """Check a parsed settings document. Raises as `load_settings` does."""
    merged = dict(document)
    folders, defaults = document.get("folder"), document.get("defaults", {})
    if isinstance(folders, list) and isinstance(defaults, dict):
        try:
            Policy.model_validate(defaults)
        except ValidationError:
            pass  # reported once, under `defaults`, by the whole check below
        else:
            merged["folder"] = [_merge(defaults, item) if isinstance(item, dict) else item for item in folders]
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise _invalid([sentence(item, "etc/blurd.toml", _advice) for item in error.errors()]) from None


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _invalid(problems: Sequence[str]) -> EquipmentError:
    return EquipmentError(Reason.SETTINGS_INVALID, "read settings", "\n".join(problems))


def _advice(key: str, item: ErrorDetails) -> str | None:
    if key == "folder" and item["type"] == "missing":
        return _ADD_A_FOLDER
    if key.endswith("output_mode"):
        return 'write four octal digits in quotes, such as "0640"'
    if key.endswith("output_group"):
        return "write a group's name, or \"\" for the outbound folder's own group"
    return None
