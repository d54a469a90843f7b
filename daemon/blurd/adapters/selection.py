"""Which of the loaded models look at a folder's pictures, and a detector that is made of these.

Folders may name different detectors; all share one set of networks, so that a model is loaded once however many folders
use it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blurd.adapters.models import LoadedModel
from blurd.config import BUILT_IN
from blurd.errors import EquipmentError, Reason
from blurd.records import Box, Category, Detection, RgbPicture

if TYPE_CHECKING:
    from blurd.adapters.inference import OpenVinoDetector


@dataclass(frozen=True, slots=True)
class Selection:
    """The names of detectors in order, and what they look for; None is all."""

    names: tuple[str, ...] | None = None
    categories: frozenset[Category] | None = None

    def takes(self, model: LoadedModel) -> bool:
        """True where this model looks."""
        named = self.names is None or _name(model) in self.names
        return named and (self.categories is None or not self.categories.isdisjoint(model.entry.categories))

    def wants(self, category: Category) -> bool:
        """True where hits of this class count."""
        return self.categories is None or category in self.categories

    def rank(self, model: LoadedModel) -> int:
        """The model's place among the names: the first one's scale of scores is everybody's."""
        return 0 if self.names is None else self.names.index(_name(model))

    def ordered(self, models: tuple[LoadedModel, ...]) -> tuple[LoadedModel, ...]:
        """Those of the models that look, in the order of the names."""
        return tuple(sorted((model for model in models if self.takes(model)), key=self.rank))


ALL: Final = Selection()


def _name(model: LoadedModel) -> str:
    return model.entry.name if model.is_own else BUILT_IN


def start_threshold(category: Category, models: tuple[LoadedModel, ...]) -> float:
    """The score from which a single hit is masked: the one of the first model that finds the class.

    Raises `EquipmentError(MODEL_MISSING)` where none does.
    """
    for model in models:
        if category in model.entry.thresholds:
            return model.entry.thresholds[category].start
    raise EquipmentError(Reason.MODEL_MISSING, "choose model", f"No detector finds the class {category}.")


@dataclass(frozen=True, slots=True)
class ChosenDetector:
    """The `Detector` port over some of a detector's models."""

    whole: "OpenVinoDetector"
    selection: Selection
    categories: frozenset[Category]

    @property
    def model_hash(self) -> str:
        """SHA-256 over the models that look, their entries and view rules."""
        return self.whole.hash_of(self.selection)

    @property
    def device(self) -> str:
        """What inference runs on now."""
        return self.whole.device

    @property
    def degraded(self) -> bool:
        """True where a GPU was to be used and the CPU does the work instead."""
        return self.whole.degraded

    def start_threshold(self, category: Category) -> float:
        """The score from which a single hit is masked, where the settings name no other."""
        return start_threshold(category, self.selection.ordered(self.whole.models))

    def detect(self, picture: RgbPicture, part: Box | None = None) -> tuple[Detection, ...]:
        """As the whole detector does, with some of its models."""
        return self.whole.detect(picture, part, self.selection)

    def rest(self) -> None:
        """Give back what only inference needs."""
        self.whole.rest()
