"""How closely is looked: what each profile shows to the networks, and which frames of a video it leaves to others."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from blurd.core.change import ChangeRule
from blurd.records import MediaKind

ProfileName = Literal["balanced", "thorough"]


@dataclass(frozen=True, slots=True)
class Profile:
    """`views` names the models' view rules for each kind of medium; `change` says when a frame is looked at."""

    views: Mapping[MediaKind, str]
    change: ChangeRule


def _views(images: str, videos: str) -> Mapping[MediaKind, str]:
    return MappingProxyType({MediaKind.IMAGE: images, MediaKind.VIDEO: videos})


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "balanced": Profile(_views("thorough", "balanced"), ChangeRule()),
        "thorough": Profile(
            _views("thorough", "thorough"), ChangeRule(most_between=1, longest_between_s=0.1, refresh_s=2.0)
        ),
    }
)
