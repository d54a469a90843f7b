"""Samba's shares, as `testparm -s` prints them, and what they would show of blurd's folders. Pure text work.

Invariants
* A share whose path holds a variable (`%U`) is named as such by `Share.is_variable`, and judged by nothing else.
* Only what is surely wrong is a fault: a staging folder that can be walked into, a folder open to guests.
"""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from blurd.core.naming import STAGING_FOLDER

_NO_SHARES = frozenset({"global", "printers", "print$"})
_YES = frozenset({"yes", "true", "1", "on"})


class Exposure(StrEnum):
    """What is wrong with a share."""

    STAGING_VISIBLE = "staging_visible"
    GUESTS = "guests"


@dataclass(frozen=True, slots=True)
class Share:
    """One share: its name, the folder that it shows, and its parameters (names in lower case)."""

    name: str
    path: str
    parameters: Mapping[str, str]

    @property
    def is_variable(self) -> bool:
        """True where Samba puts something else in the path for each client."""
        return "%" in self.path

    def shows(self, folder: str) -> bool:
        """True where the folder, or a part of it, lies in the share."""
        return _lies_in(folder, self.path) or _lies_in(self.path, folder)

    def allows_guests(self) -> bool:
        """True where nobody needs a password."""
        return any(self.parameters.get(name, "no").lower() in _YES for name in ("guest ok", "public"))

    def hides(self, name: str) -> bool:
        """True where files and folders of this name can't be reached through the share."""
        patterns = self.parameters.get("veto files", "").split("/")
        return any(pattern and fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def parse_shares(text: str) -> tuple[Share, ...]:
    """The shares in a configuration as `testparm -s` prints it; parameters of `[global]` are every share's defaults."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], {})
        elif line and line[0] not in "#;" and "=" in line:
            key, _, value = line.partition("=")
            current[" ".join(key.lower().split())] = value.strip()
    common = sections.get("global", {})
    return tuple(
        Share(name, values["path"], {**common, **values})
        for name, values in sections.items()
        if name.lower() not in _NO_SHARES and values.get("path")
    )


def exposures(shares: Sequence[Share], inbound: str, outbound: str) -> Iterator[tuple[Share, Exposure]]:
    """Everything that the shares show of a pair of folders and should not."""
    for share in shares:
        if share.is_variable:
            continue
        if share.shows(outbound) and not share.hides(STAGING_FOLDER):
            yield share, Exposure.STAGING_VISIBLE
        if share.allows_guests() and (share.shows(inbound) or share.shows(outbound)):
            yield share, Exposure.GUESTS


def _lies_in(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
