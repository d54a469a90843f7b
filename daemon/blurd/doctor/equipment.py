"""The doctor's look at the models and the device, made as the user who works with them."""

import time
from collections.abc import Iterator

import numpy as np

from blurd.config import BUILT_IN, Settings
from blurd.doctor.finding import Finding, Health
from blurd.equipment import Detectors
from blurd.errors import REASONS, EquipmentError, Reason

TEST_HEIGHT_PX, TEST_WIDTH_PX = 360, 640
SLOW_S = 5.0
_REINSTALL = "apt-get install --reinstall blurd (in a checkout: packaging/fetch-models)"
_MENDS = {
    Reason.MODEL_MISSING: _REINSTALL,
    Reason.MODEL_HASH: _REINSTALL,
    Reason.MODEL_INVALID: _REINSTALL,
}


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Every model by its hash, and one picture through each detector."""
    wanted = {category for folder in settings.folder for category in folder.classes}
    try:
        detectors = Detectors(settings, settings.folder)
        for name, detector in detectors.items():
            detector.detect(_picture())  # compiles what this size needs
            began_s = time.monotonic()
            detector.detect(_picture())
            took_s = time.monotonic() - began_s
            text = f"{name} detector: {', '.join(sorted(wanted))}; a picture of {TEST_WIDTH_PX} x {TEST_HEIGHT_PX}"
            health = Health.NOTE if took_s > SLOW_S else Health.WELL
            mend = "give the machine more cores, or a GPU that OpenVINO can use" if took_s > SLOW_S else ""
            yield Finding("models", health, f"{text} in {took_s:.2f} s on the {detector.device}.", mend)
            if detector.degraded:
                text = f"detection.device = {settings.detection.device}, but the CPU does the work."
                yield Finding("device", Health.NOTE, text, "ls -l /dev/dri; see the README on GPUs")
    except EquipmentError as error:
        has_own = any(folder.detectors != (BUILT_IN,) for folder in settings.folder)
        mend = REASONS[error.reason].remedy if has_own else _MENDS.get(error.reason, REASONS[error.reason].remedy)
        detail = f" {error.detail}" if error.detail else ""
        yield Finding("models", Health.WRONG, REASONS[error.reason].meaning + detail, mend)


def _picture() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The same noise every time: nothing in it, and no part like another."""
    return np.random.default_rng(7).integers(0, 256, (TEST_HEIGHT_PX, TEST_WIDTH_PX, 3), np.uint8)
