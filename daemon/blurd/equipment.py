"""Building what a process needs from the settings: codec, detector, mask rules. Wiring alone, no work."""

from collections.abc import Sequence

from blurd.adapters.image import ImageCodec, ImageLimits
from blurd.adapters.inference import OpenVinoDetector
from blurd.adapters.models import load_models
from blurd.config import LimitSettings, Policy, Settings
from blurd.core.timeline import CategoryRule, MaskRules
from blurd.errors import EquipmentError, Reason
from blurd.ports import Detector, MediaCodec
from blurd.records import Category

PHOTO_PROFILE = "thorough"


def build_codec(limits: LimitSettings) -> MediaCodec:
    """The reader and writer of images, with the settings' limits."""
    return ImageCodec(
        ImageLimits(
            max_pixels=int(limits.max_megapixels * 1_000_000),
            max_pages=limits.max_pages,
            max_bytes=limits.max_image_mebibytes << 20,
        )
    )


def build_detector(settings: Settings, categories: Sequence[Category]) -> OpenVinoDetector:
    """The detector for these categories. Raises `EquipmentError` where a model is missing, wrong or unusable."""
    return OpenVinoDetector(
        load_models(settings.models.directory),
        categories=frozenset(categories),
        device=settings.detection.device,
        cache_directory=settings.models.cache,
        profile=PHOTO_PROFILE,
        threads=settings.detection.threads,
    )


def mask_rules(policy: Policy, detector: Detector) -> MaskRules:
    """A folder's policy, with the model's own threshold where the folder names none.

    Raises `EquipmentError(MODEL_MISSING)` where the folder wants a category that no model finds.
    """
    rules: dict[Category, CategoryRule] = {}
    for category in policy.classes:
        if category not in detector.categories:
            raise EquipmentError(Reason.MODEL_MISSING, "choose model", f"No model finds the class {category}.")
        wanted = policy.thresholds.of(category)
        mask = policy.mask.of(category)
        threshold = detector.start_threshold(category) if wanted is None else wanted
        rules[category] = CategoryRule(threshold, mask.shape, mask.growth)
    return MaskRules(policy.mask.style, rules)


def wanted_categories(settings: Settings) -> tuple[Category, ...]:
    """Every category that some folder masks."""
    return tuple(category for category in Category if any(category in folder.classes for folder in settings.folder))
