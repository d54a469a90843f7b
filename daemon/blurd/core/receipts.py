"""Receipts: what a line of the ledger says, and what can be told from it. Pure.

Invariants
* A receipt holds hashes, sizes, counts of frames, times and settings: no name, no position, no count of persons.
* A key keeps its meaning for ever; a line of an older version has fewer keys, and every reader lives with that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blurd.records import FolderName, StagedCopy

PUBLISHED = "published"
WITHDRAWN = "withdrawn"
"""A copy that another version took the place of."""
REJECTED = "rejected"
FAILED = "failed"
ORIGINAL_ARCHIVED = "original_archived"
ORIGINAL_DELETED = "original_deleted"
COPY_DELETED = "copy_deleted"
"""What retention took away: an original, after its copy was published; or a copy, once its days were over."""

RETAINED = (ORIGINAL_ARCHIVED, ORIGINAL_DELETED, COPY_DELETED)
OUTCOMES = (REJECTED, FAILED)
"""What may happen to a job more than once: it is tried again when somebody asks."""

ReceiptValue = str | int | float | bool | Mapping[str, float] | None

_TIMES = ("published_at", "withdrawn_at", "finished_at", "retained_at")
"""When it happened, by the kind of line; `published_at` before `finished_at`, which a published job has too."""


@dataclass(frozen=True, slots=True)
class LedgerEnd:
    """Where the ledger ended, in bytes, and the SHA-256 of the line before that."""

    offset: int
    sha256: str


def published_receipt(folder: FolderName, staged: StagedCopy, published_at: str) -> dict[str, ReceiptValue]:
    """What the ledger says of a copy. `verified` is no opinion: what is not verified has no receipt of this kind."""
    facts = staged.facts
    return {
        "folder": folder,
        "source_sha256": staged.source_sha256,
        "source_id": staged.source_id,
        "regions_sha256": staged.regions_sha256,
        "output_sha256": staged.sha256,
        "output_bytes": staged.size,
        "kind": facts.kind,
        "format": facts.format,
        "suffix": facts.suffix,
        "frames": facts.frames,
        "duration_s": round(facts.duration_s, 3),
        "verified": True,
        "renders": staged.verdict.renders,
        "model_hash": staged.model_hash,
        "settings_hash": staged.settings_hash,
        "stage_seconds": dict(staged.stage_seconds),
        "published_at": published_at,
        **staged.made_with,
    }


def is_same_receipt(receipt: Mapping[str, Any], job: int, event: str, values: Mapping[str, Any]) -> bool:
    """True where a line tells already what is to be told: each kind once a job, an outcome once each time it came."""
    if receipt["job"] != job or receipt["event"] != event:
        return False
    if event in OUTCOMES:
        return receipt.get("finished_at") == values.get("finished_at")
    return event not in RETAINED or receipt.get("retirement") == values.get("retirement")


def time_of(receipt: Mapping[str, Any]) -> str:
    """When it happened: ISO 8601, UTC; empty where a line does not say."""
    return next((str(receipt[key]) for key in _TIMES if receipt.get(key)), "")


def line_of(receipt: Mapping[str, Any]) -> bytes:
    """A receipt as the ledger writes it, without the line's end."""
    return json.dumps(receipt, sort_keys=True).encode()


def digest(line: bytes) -> str:
    """What the next line calls `previous`: SHA-256 of the line without its end, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()


def sidecar_text(receipt: Mapping[str, Any]) -> bytes:
    """The receipt that lies beside a copy; the same bytes every time."""
    return json.dumps(receipt, sort_keys=True, indent=2).encode() + b"\n"
