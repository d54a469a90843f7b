"""What is wrong with a TOML file, in words that say what to write."""

import re
from collections.abc import Callable

from pydantic_core import ErrorDetails

_ENUM_MEMBER = re.compile(r"<[\w.]+: ('[^']*')>")


def sentence(item: ErrorDetails, see: str, special: Callable[[str, ErrorDetails], str | None]) -> str:
    """One fault as lines that begin with the key; `special` may know better words, `see` is where all keys stand."""
    key = ".".join(str(part) for part in item["loc"])
    text = special(key, item) or _advice(item, see)
    return "\n".join(f"{key}: {part}" if key else part for part in text.split("; "))


def _advice(item: ErrorDetails, see: str) -> str:
    context = item.get("ctx", {})
    fixed = {
        "extra_forbidden": f"there is no such key, see {see} for all of them",
        "missing": "is missing",
        "enum": f"write one of {context.get('expected', '')}",
        "literal_error": "write one of " + _ENUM_MEMBER.sub(r"\1", str(context.get("expected", ""))),
        "value_error": str(context.get("error", item["msg"])),
    }
    message = item["msg"]
    return fixed.get(item["type"], message[:1].lower() + message[1:])
