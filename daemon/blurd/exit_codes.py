"""What a process ends with: numbers that scripts and systemd's units rely on; none changes once released."""

from types import MappingProxyType

from blurd.errors import REASONS, Disposition, Reason

EXIT_PARTLY = 1
"""Some file was rejected or failed."""
EXIT_USAGE = 2
"""The command line is wrong."""
EXIT_CODES: MappingProxyType[Reason, int] = MappingProxyType(
    {
        Reason.SETTINGS_INVALID: 10,
        Reason.ANNOTATIONS_INVALID: 18,
        Reason.MODEL_MISSING: 11,
        Reason.MODEL_HASH: 12,
        Reason.MODEL_INVALID: 13,
        Reason.DEVICE_UNAVAILABLE: 14,
        Reason.STATE_LOCKED: 15,
        Reason.STATE_UNUSABLE: 16,
        Reason.SCHEMA_NEWER: 17,
        Reason.QUEUE_DAMAGED: 19,
        Reason.INBOUND_MISSING: 20,
        Reason.OUTBOUND_MISSING: 21,
        Reason.OUTBOUND_FULL: 22,
        Reason.OUTBOUND_READ_ONLY: 23,
        Reason.OUTBOUND_NO_LINKS: 24,
        Reason.STATE_FULL: 25,
        Reason.NO_SUCH_JOB: 26,
        Reason.JOB_NOT_SUITABLE: 27,
        Reason.UNITS_UNUSABLE: 28,
        Reason.NAME_ERASED: 29,
        Reason.COPY_DIFFERS: 31,
    }
)
"""A process's exit code for the reason that ended it; 30 for any other."""
EXIT_OTHER = 30
FATAL_EXIT_CODES = frozenset(
    EXIT_CODES[reason] for reason in EXIT_CODES if REASONS[reason].disposition is Disposition.STOP
)
"""Exit codes after which starting again can't help."""
