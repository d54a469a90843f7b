"""Building what a process needs from the settings: codec, detector, mask rules. Wiring alone, no work."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.media import AnyCodec
from blurd.adapters.models import LoadedModel, ModelSet, load_models
from blurd.adapters.own_models import load_own
from blurd.adapters.selection import ChosenDetector, Selection, start_threshold
from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.config import BUILT_IN, LimitSettings, Policy, Settings
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.core.zones import ClearZone, Region, Zones
from blurd.errors import EquipmentError, InputError, Reason
from blurd.ports import MediaCodec, Thresholds
from blurd.profiles import PROFILES
from blurd.records import Category, MediaKind, RgbPicture


def build_codec(limits: LimitSettings, policy: Policy) -> MediaCodec:
    """The reader and writer of images and videos, with the settings' limits and a folder's policy."""
    images = ImageLimits(
        max_pixels=int(limits.max_megapixels * 1_000_000),
        max_pages=limits.max_pages,
        max_bytes=limits.max_image_mebibytes << 20,
    )
    videos = VideoLimits(max_pixels=int(limits.max_frame_megapixels * 1_000_000), max_frames=limits.max_frames)
    encode = policy.encode
    wanted = VideoPolicy(
        policy.damaged, policy.audio, encode.codec, encode.quality, encode.preset, untouched=encode.untouched
    )
    return AnyCodec(ImageCodec(images), VideoCodec(videos, wanted))


class ChosenDetectors(Mapping[MediaKind, ChosenDetector]):
    """The detectors that a folder names, for images and videos. Asking for one builds it, and raises as that does."""

    def __init__(self, whole: "Detectors", policy: Policy) -> None:
        self._whole, self._views = whole, PROFILES[policy.profile].views
        named = Selection(policy.detectors, None)
        self._models = named.ordered(whole.models)
        found = frozenset(category for model in self._models for category in model.entry.categories)
        self.categories = frozenset(policy.classes) & found
        self._selection = Selection(policy.detectors, self.categories)

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, where the settings name no other."""
        return start_threshold(category, self._models)

    def __getitem__(self, kind: MediaKind) -> ChosenDetector:
        return ChosenDetector(self._whole[self._views[kind]], self._selection, self.categories)

    def __iter__(self) -> Iterator[MediaKind]:
        return iter(MediaKind)

    def __len__(self) -> int:
        return len(MediaKind)


class Detectors(Mapping[str, OpenVinoDetector]):
    """The detectors with all models that some folder uses, by the view rules that profiles name.

    The first is the one that the first folder's images are looked at with. Each is built when first asked for.

    Asking raises as building does; making one raises where a model is missing or wrong, or a folder's class is found by
    none of its detectors.
    """

    def __init__(self, settings: Settings, policies: Sequence[Policy]) -> None:
        self._settings = settings
        self.models = load_detectors(settings, tuple(dict.fromkeys(name for one in policies for name in one.detectors)))
        self._wanted = frozenset(category for policy in policies for category in policy.classes)
        self._names = tuple(dict.fromkeys(PROFILES[one.profile].views[kind] for one in policies for kind in MediaKind))
        self._built: dict[str, OpenVinoDetector] = {}
        for policy in policies:
            mask_rules(policy, self.of(policy))

    def of(self, policy: Policy) -> ChosenDetectors:
        """Those that a folder names."""
        return ChosenDetectors(self, policy)

    @property
    def first(self) -> OpenVinoDetector:
        """The one that stands for all of them in what is told."""
        return self[self._names[0]]

    @property
    def label(self) -> str:
        """The models in use by name, and the first digits of the hash that receipts name for photos."""
        names = (model.entry.name for model in self.models if self._wanted & set(model.entry.categories))
        return f"{', '.join(names)} ({self.first.model_hash[:8]})"

    def __getitem__(self, views: str) -> OpenVinoDetector:
        if views not in self._built:
            self._built[views] = OpenVinoDetector(
                ModelSet(self.models),
                categories=self._wanted,
                device=self._settings.detection.device,
                cache_directory=self._settings.models.cache,
                profile=views,
                threads=self._settings.detection.threads,
            )
        return self._built[views]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_detectors(settings: Settings, names: Sequence[str]) -> tuple[LoadedModel, ...]:
    """The models of these detectors, proven, the built-in ones first.

    Raises `EquipmentError` whose detail has every fault of every detector of the owner's own.
    """
    found = load_models(settings.models.directory).models if BUILT_IN in names else ()
    faults: list[EquipmentError] = []
    for name in names:
        if name != BUILT_IN:
            try:
                found += (load_own(settings.models.directory_own, name),)
            except EquipmentError as fault:
                faults.append(fault)
    if faults:
        raise EquipmentError(faults[0].reason, "load model", "\n".join(fault.detail for fault in faults))
    return found


def check_detectors(settings: Settings) -> None:
    """Refuse what a worker would refuse at its start: faulty detectors of the owner's own, classes that none finds.

    Each of the owner's own is compiled, and looks at an empty picture. Raises `EquipmentError`.
    """
    for model in Detectors(settings, settings.folder).models:
        if model.is_own:
            detector_of(settings, model, MediaKind.IMAGE).detect(np.zeros((64, 64, 3), np.uint8))


def detector_of(settings: Settings, model: LoadedModel, kind: MediaKind) -> OpenVinoDetector:
    """One model alone, compiled anew: to try it."""
    return OpenVinoDetector(
        ModelSet((model,)),
        categories=frozenset(model.entry.categories),
        device=settings.detection.device,
        cache_directory=None,
        profile=PROFILES["balanced"].views[kind],
        threads=settings.detection.threads,
    )


def read_picture(settings: Settings, path: Path) -> RgbPicture:
    """The first picture of a file, upright. Raises `EquipmentError` or `InputError` as opening it does."""
    codec = build_codec(settings.limits, Policy())
    try:
        with path.open("rb") as file:
            picture: RgbPicture = next(codec.open(file).frames()).rgb()
            return picture
    except OSError as error:
        detail = f"{path} can't be read ({error.strerror})."
        raise InputError(Reason.SOURCE_VANISHED, "open picture", detail) from None


def build_detector(
    settings: Settings, policy: Policy, categories: Sequence[Category], kind: MediaKind = MediaKind.IMAGE
) -> ChosenDetector:
    """The detector that a policy names, for these categories in images or in videos.

    Raises `EquipmentError` where a model is missing, wrong or unusable.
    """
    wanted = policy.model_copy(update={"classes": tuple(categories)})
    return Detectors(settings, (wanted,)).of(wanted)[kind]


def mask_rules(policy: Policy, thresholds: Thresholds) -> MaskRules:
    """A folder's policy, with the model's own threshold where the folder names none.

    Raises `EquipmentError(MODEL_MISSING)` where the folder wants a category that no model finds.
    """
    rules: dict[Category, CategoryRule] = {}
    for category in policy.classes:
        if category not in thresholds.categories:
            raise EquipmentError(Reason.MODEL_MISSING, "choose model", _unfound(category, policy))
        wanted = policy.thresholds.of(category)
        mask = policy.mask.of(category)
        threshold = thresholds.start_threshold(category) if wanted is None else wanted
        rules[category] = CategoryRule(threshold, mask.mask_shape, mask.growth, mask.style)
    return MaskRules(policy.mask.style, rules, PROFILES[policy.profile].change)


def made_with(policy: Policy, rules: MaskRules) -> dict[str, str | float | Mapping[str, float]]:
    """What a receipt says of the policy under which a copy is made."""
    return {
        "thresholds": {str(category): rules.start_threshold(category) for category in rules.categories},
        "growth": {str(category): policy.mask.of(category).growth for category in rules.categories},
        "mask_style": str(rules.style),
        "zones": len(policy.zone),
        "audio": policy.audio,
        "damaged": policy.damaged,
        "metadata": "allow_list",
    }


def fixed_zones(policy: Policy) -> Zones:
    """A folder's zones."""
    return Zones(
        regions=tuple(Region(zone.polygon) for zone in policy.zone if zone.category is None),
        clear=tuple(ClearZone(zone.polygon, zone.category) for zone in policy.zone if zone.category is not None),
    )


def _unfound(category: Category, policy: Policy) -> str:
    return f"No detector finds the class {category}; looked for in: {', '.join(policy.detectors)}."
