"""The settings that each class has, its mask and its threshold; how a class is named in settings; and zones.

Faces and plates have defaults of their own. A class that an owner's detector adds is masked by a rectangle, or by its
outline where the detector tells one, until `mask.NAME` says otherwise.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, field_validator, model_validator

from blurd.core.polygons import fault
from blurd.records import Category, MaskShape, MaskStyle

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def category_of(value: object) -> Category:
    """The class of this name. Raises `ValueError` where it is no name."""
    if not isinstance(value, str):
        raise ValueError('write the name of a class in quotes, such as "face"')  # noqa: TRY004  pydantic's own way
    return Category(value)


CategoryName = Annotated[Category, PlainValidator(category_of), PlainSerializer(str, return_type=str)]
"""A class, as settings and models write it."""


class ClassTable(BaseModel):
    """A table whose keys beyond the fields are classes of the owner's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _classes_are_named_well(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wrong = [key for key in value if key not in cls.model_fields and not _is_class(key, value[key])]
            if wrong:
                raise ValueError("; ".join(f"{key}: there is no such key, see etc/blurd.toml for all" for key in wrong))
        return value

    def own_classes(self) -> Iterator[Category]:
        """The classes beyond those that blurd brings."""
        return (Category(key) for key in self.__pydantic_extra__ or {})


def _is_class(key: object, value: object) -> bool:
    try:
        category_of(key)
    except ValueError:
        return False
    return isinstance(value, dict | BaseModel | float | int) and not isinstance(value, bool)


class CategoryMask(BaseModel):
    """`mask.face`, `mask.plate`, `mask.NAME`: how a class is covered.

    `growth` is how far a box is grown on each side, as a share of its size; `outline` is the thing's own, where a
    detector tells it, and the box where none does; without `style` the folder's own holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Literal[MaskShape.ELLIPSE, MaskShape.RECTANGLE, "outline"]
    growth: Annotated[float, Field(ge=0.0, le=3.0)]
    style: MaskStyle | None = None

    @property
    def mask_shape(self) -> MaskShape:
        """The shape, as masks know it."""
        return MaskShape.POLYGON if self.shape == "outline" else self.shape


class OwnClassMask(CategoryMask):
    """The mask of a class of the owner's own, where a key is left out."""

    shape: Literal[MaskShape.ELLIPSE, MaskShape.RECTANGLE, "outline"] = "outline"
    growth: Annotated[float, Field(ge=0.0, le=3.0)] = 0.2


class MaskSettings(ClassTable):
    """`mask`: how each class is covered."""

    __pydantic_extra__: dict[str, OwnClassMask] = Field(init=False)

    style: MaskStyle = MaskStyle.BLUR
    face: CategoryMask = CategoryMask(shape=MaskShape.ELLIPSE, growth=0.3)
    plate: CategoryMask = CategoryMask(shape=MaskShape.RECTANGLE, growth=0.2)

    def of(self, category: Category) -> CategoryMask:
        """The mask of one class."""
        if category is Category.FACE:
            return self.face
        if category is Category.PLATE:
            return self.plate
        return (self.__pydantic_extra__ or {}).get(category, OwnClassMask())


class ThresholdSettings(ClassTable):
    """`thresholds`: the score from which a single hit is masked; the model's own where a key is left out."""

    __pydantic_extra__: dict[str, Fraction] = Field(init=False)

    face: Fraction | None = None
    plate: Fraction | None = None

    def of(self, category: Category) -> float | None:
        """The threshold of one class, if set."""
        if category is Category.FACE:
            return self.face
        if category is Category.PLATE:
            return self.plate
        return (self.__pydantic_extra__ or {}).get(category)


class ZoneSettings(BaseModel):
    """`zone`: a polygon in every picture, in shares of its width and height, that is masked or left clear."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    polygon: tuple[tuple[Fraction, Fraction], ...]
    do: Literal["mask", "leave"] = "mask"
    category: Annotated[CategoryName | None, Field(alias="class")] = None

    @field_validator("polygon")
    @classmethod
    def _sound(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        wrong = fault(value)
        if wrong is not None:
            raise ValueError(wrong)
        return value

    @model_validator(mode="after")
    def _one_class_to_leave(self) -> Self:
        if (self.do == "leave") != (self.category is not None):
            raise ValueError('class names the one class whose false alarms do = "leave" leaves clear, and only there')
        return self
