"""systemd's units, as `systemctl show` tells of them. Only asks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blurd.adapters import tools

_PATIENCE_S = 10.0
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,NRestarts,NeedDaemonReload"


@dataclass(frozen=True, slots=True)
class UnitState:
    """One loaded unit."""

    name: str
    load: str
    active: str
    enabled: str
    restarts: int
    needs_reload: bool


def is_systemd_there() -> bool:
    """True where systemd runs this machine."""
    return Path("/run/systemd/system").is_dir() and tools.find("systemctl") is not None


def unit_states(*names: str) -> tuple[UnitState, ...] | None:
    """The state of units by name or pattern; a pattern gives those that are loaded. None where systemd says nothing."""
    systemctl = tools.find("systemctl")
    if systemctl is None:
        return None
    answer = tools.ask([systemctl, "show", f"--property={_PROPERTIES}", "--", *names], _PATIENCE_S)
    return tuple(_parse(answer.output)) if answer.status == 0 else None


def _parse(text: str) -> Iterator[UnitState]:
    for block in text.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if values.get("Id"):
            restarts = values.get("NRestarts", "")
            yield UnitState(
                values["Id"],
                values.get("LoadState", ""),
                values.get("ActiveState", ""),
                values.get("UnitFileState", ""),
                int(restarts) if restarts.isdigit() else 0,
                values.get("NeedDaemonReload") == "yes",
            )
