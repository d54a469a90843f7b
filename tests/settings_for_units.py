"""Settings whose folders have odd paths, for the tests of units."""

from typing import Any

from blurd.config import Settings, check_settings

ODD_PATHS = {
    "plain": "/srv/blurd/photos",
    "blank": "/srv/My Photos/day 1",
    "percent": "/srv/100%n/%h",
    "quote": "/srv/\"quoted\" and 'single'",
    "backslash": "/srv/back\\slash\\t",
    "unicode": "/srv/Straße/写真",
    "colon": "/srv/a:b",
    "dash": "/srv/-dash/ end ",
    "dollar": "/srv/$HOME ${x} #no; yes",
    "home": "/home/erika/blurd photos",
}


def settings_of(paths: dict[str, str], **tables: Any) -> Settings:
    """Settings with these folders, each a pair below its path."""
    folders = [
        {"name": name, "inbound": f"{path}/inbound", "outbound": f"{path}/outbound"} for name, path in paths.items()
    ]
    return check_settings({"folder": folders, **tables})


def odd_settings() -> Settings:
    """All odd paths at once, three workers, places of its own for state and cache."""
    return settings_of(
        ODD_PATHS,
        work={"workers": 3},
        state={"directory": "/data/state 1"},
        models={"cache": "/data/cache"},
        defaults={"output_group": "photo-desk"},
    )
