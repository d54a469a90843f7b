"""Building what a process needs from the settings: codec, detector, mask rules. Wiring alone, no work."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.media import AnyCodec
from blurd.adapters.models import ModelSet, load_models
from blurd.adapters.video import VideoCodec, VideoLimits, VideoPolicy
from blurd.config import LimitSettings, Policy, Settings
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.core.zones import ClearZone, Region, Zones
from blurd.errors import EquipmentError, Reason
from blurd.ports import MediaCodec, Thresholds
from blurd.records import Category, MediaKind

PROFILES = MappingProxyType({MediaKind.IMAGE: "thorough", MediaKind.VIDEO: "balanced"})
"""Which of a model's view rules each kind is shown by."""


def build_codec(limits: LimitSettings, policy: Policy) -> MediaCodec:
    """The reader and writer of images and videos, with the settings' limits and a folder's policy."""
    images = ImageLimits(
        max_pixels=int(limits.max_megapixels * 1_000_000),
        max_pages=limits.max_pages,
        max_bytes=limits.max_image_mebibytes << 20,
    )
    videos = VideoLimits(max_pixels=int(limits.max_frame_megapixels * 1_000_000), max_frames=limits.max_frames)
    encode = policy.encode
    return AnyCodec(
        ImageCodec(images),
        VideoCodec(videos, VideoPolicy(policy.damaged, policy.audio, encode.codec, encode.quality, encode.preset)),
    )


class Detectors(Mapping[MediaKind, OpenVinoDetector]):
    """The detectors for images and videos, each built when it is first asked for. Asking raises as building does."""

    def __init__(self, settings: Settings, categories: Sequence[Category]) -> None:
        self._settings, self._models = settings, load_models(settings.models.directory)
        self.categories = frozenset(categories) & self._models.categories
        self._wanted = frozenset(categories)
        self._built: dict[MediaKind, OpenVinoDetector] = {}

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, where the settings name no other."""
        return self._models.start_threshold(category)

    def __getitem__(self, kind: MediaKind) -> OpenVinoDetector:
        if kind not in self._built:
            self._built[kind] = _detector(self._settings, self._models, self._wanted, kind)
        return self._built[kind]

    def __iter__(self) -> Iterator[MediaKind]:
        return iter(MediaKind)

    def __len__(self) -> int:
        return len(MediaKind)


def build_detector(
    settings: Settings, categories: Sequence[Category], kind: MediaKind = MediaKind.IMAGE
) -> OpenVinoDetector:
    """The detector for these categories in images or in videos.

    Raises `EquipmentError` where a model is missing, wrong or unusable.
    """
    return _detector(settings, load_models(settings.models.directory), frozenset(categories), kind)


def _detector(
    settings: Settings, models: ModelSet, categories: frozenset[Category], kind: MediaKind
) -> OpenVinoDetector:
    return OpenVinoDetector(
        models,
        categories=categories,
        device=settings.detection.device,
        cache_directory=settings.models.cache,
        profile=PROFILES[kind],
        threads=settings.detection.threads,
    )


def mask_rules(policy: Policy, thresholds: Thresholds) -> MaskRules:
    """A folder's policy, with the model's own threshold where the folder names none.

    Raises `EquipmentError(MODEL_MISSING)` where the folder wants a category that no model finds.
    """
    rules: dict[Category, CategoryRule] = {}
    for category in policy.classes:
        if category not in thresholds.categories:
            raise EquipmentError(Reason.MODEL_MISSING, "choose model", f"No model finds the class {category}.")
        wanted = policy.thresholds.of(category)
        mask = policy.mask.of(category)
        threshold = thresholds.start_threshold(category) if wanted is None else wanted
        rules[category] = CategoryRule(threshold, mask.mask_shape, mask.growth, mask.style)
    return MaskRules(policy.mask.style, rules)


def fixed_zones(policy: Policy) -> Zones:
    """A folder's zones."""
    return Zones(
        regions=tuple(Region(zone.polygon) for zone in policy.zone if zone.category is None),
        clear=tuple(ClearZone(zone.polygon, zone.category) for zone in policy.zone if zone.category is not None),
    )


def wanted_categories(settings: Settings) -> tuple[Category, ...]:
    """Every category that some folder masks."""
    return tuple(category for category in Category if any(category in folder.classes for folder in settings.folder))
