"""`etc/blurd.toml` documents every key with its real default."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from blurd.config import FolderSettings, Policy, Settings, check_settings
from blurd.mask_settings import ThresholdSettings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "etc" / "blurd.toml").read_text(encoding="utf-8")
DOCUMENT = tomllib.loads(TEXT)


def keys_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_the_file_is_valid() -> None:
    assert check_settings(DOCUMENT).folder[0].name == "photos"


def test_every_table_and_key_stands_in_the_file() -> None:
    """A key that is added to the settings must be documented, and a documented key must exist."""
    assert set(DOCUMENT) == keys_of(Settings)
    for name, field in Settings.model_fields.items():
        if name in ("folder", "defaults"):
            continue
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        assert set(DOCUMENT[name]) == keys_of(field.annotation), name
    assert set(DOCUMENT["defaults"]) == keys_of(Policy)
    assert set(DOCUMENT["folder"][0]) == keys_of(FolderSettings) - keys_of(Policy)


def test_every_value_in_the_file_is_the_default() -> None:
    """What the file shows is what a missing key means."""
    shown = {key: value for key, value in DOCUMENT.items() if key != "folder"}
    minimal = check_settings({"folder": DOCUMENT["folder"]}).model_dump(mode="json")
    defaults: dict[str, Any] = {key: minimal[key] for key in shown}
    defaults["models"]["directory"] = "/usr/share/blurd/models"  # a checkout's own place, as the file says
    assert defaults["defaults"]["encode"].pop("quality") is None
    assert [defaults["defaults"]["mask"][name].pop("style") for name in ("face", "plate")] == [None, None]
    assert {key: value for key, value in defaults["defaults"].pop("thresholds").items() if value} == {}
    assert shown["defaults"].pop("thresholds") == {}
    assert shown == defaults


def test_every_key_has_a_sentence() -> None:
    """Above each key, or a run of keys, stands a comment."""
    explained = False
    for line in TEXT.splitlines():
        if line.startswith("#"):
            explained = True
        elif not line.strip() or line.startswith("["):
            explained = explained and line.startswith("[")
        elif "=" in line and not line.startswith(" "):
            assert explained, line


def test_the_optional_thresholds_are_shown() -> None:
    for key in keys_of(ThresholdSettings):
        assert f"# {key} = " in TEXT
