"""The page that `blurd report` writes: a month of processing, ready to be filed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from blurd.activity import MOST_OUTAGES, Activity, meaning
from blurd.adapters.report import Line, day_plot, render, step_plot
from blurd.adapters.store_samples import Outage
from blurd.sampling import DEGRADED, NO_WORKER, NOT_WATCHING

MOST_LINES = 10
"""Folders that the backlog's diagram tells apart; of more, those with the largest backlogs."""
_CAUSES = {
    NO_WORKER: "no worker was running",
    DEGRADED: "inference ran on another device than the wanted one",
    NOT_WATCHING: "blurd was not running",
}
_PROFILES = {"thorough": "images", "balanced": "videos, frame by frame"}
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def report_page(found: Activity) -> str:
    """One self-contained HTML page."""
    figures = found.as_json()
    outages = sorted(found.outages, key=_length, reverse=True)
    shown = sorted(outages[:MOST_OUTAGES], key=lambda outage: outage.began)
    waits = figures["seconds_until_published"]
    return render(
        "activity.html",
        filters={"count": _count, "decimal": _decimal, "percent": _percent, "rate": _rate, "duration": _duration},
        version=figures["version"],
        made_at=_readable(figures["made_at"]),
        month=figures["month"],
        month_name=found.month.begin.strftime("%B %Y"),
        total=found.total,
        folders=_folders(found),
        reasons=[(code, meaning(code), number) for code, number in found.reasons.most_common()],
        frames_per_s=found.frames_per_s,
        images_per_s=found.images_per_s,
        median_s=waits["median"],
        p95_s=waits["p95"],
        days_plot=_days(found),
        backlog_plot=_backlog(found),
        outage_hours=sum(map(_length, (one for one in outages if one.cause != DEGRADED))) / _HOUR_S,
        outages=[_outage(outage) for outage in shown],
        more_outages=len(outages) if len(outages) > MOST_OUTAGES else 0,
        retention=[(one["name"], _rule(one), found.folders[one["name"]].retained) for one in found.policies],
        policies=[_policy(one, _thresholds(found)) for one in found.policies],
        models=found.models,
        profiles=_PROFILES,
        made_with=figures["made_with"],
    )


def _folders(found: Activity) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = sorted(found.folders.items())
    return [*rows, ("all", found.total)] if len(rows) > 1 else rows


def _days(found: Activity) -> Markup:
    layers = {"published": found.published_by_day, "rejected or failed": found.refused_by_day}
    return day_plot("Files done on each day", "files", layers, found.month.days)


def _backlog(found: Activity) -> Markup | None:
    largest = sorted(found.backlog.items(), key=lambda item: -max(number for _, number in item[1]))[:MOST_LINES]
    lines = [Line(name, [x for x, _ in points], [y for _, y in points]) for name, points in sorted(largest)]
    return step_plot("Files waiting or in work", "files", lines, found.month.days) if lines else None


def _outage(outage: Outage) -> Mapping[str, Any]:
    return {
        "began": _clock(outage.began),
        "ended": "lasts" if outage.ended is None else _clock(outage.ended),
        "seconds": _length(outage),
        "where": f"folder {outage.folder}" if outage.folder else "all folders",
        "what": _CAUSES.get(outage.cause) or meaning(outage.cause),
    }


def _length(outage: Outage) -> float:
    until = datetime.now(UTC).timestamp() if outage.ended is None else outage.ended
    return max(0.0, until - outage.began)


def _rule(policy: Mapping[str, Any]) -> str:
    return ", ".join(_rules(policy))


def _rules(policy: Mapping[str, Any]) -> Iterator[str]:
    days = f"after {policy['originals_days']:g} days"
    yield {"keep": "originals kept", "archive": f"originals archived {days}", "delete": f"originals deleted {days}"}[
        policy["originals"]
    ]
    yield f"copies deleted after {policy['outbound_days']:g} days" if policy["outbound_days"] else "copies kept"


def _thresholds(found: Activity) -> dict[str, float]:
    """The models' own, by class."""
    return {name: start for model in found.models for name, start in model["thresholds"].items()}


def _policy(policy: Mapping[str, Any], models: Mapping[str, float]) -> Mapping[str, Any]:
    mask, thresholds = policy["mask"], policy["thresholds"]
    growth = ", ".join(f"{name} +{100 * mask[name]['growth']:.0f} %" for name in policy["classes"])
    zones = f"; {policy['zone']} zones" if policy["zone"] else ""
    return {
        **policy,
        "how": f"{mask['style']} ({growth}){zones}",
        "thresholds": ", ".join(_threshold(name, thresholds[name], models.get(name)) for name in policy["classes"]),
        "damaged": {"reject": "file rejected", "mask": "masked whole"}[policy["damaged"]],
        "audio": {"drop": "dropped", "copy": "copied"}[policy["audio"]],
    }


def _threshold(name: str, value: float | None, of_model: float | None) -> str:
    if value is not None:
        return f"{name} {value:g}"
    return f"{name}: the model's" if of_model is None else f"{name} {of_model:g} (the model's)"


# -- how values are written -------------------------------------------------------------------------------------------


def _count(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _decimal(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{100 * share:.1f} %"


def _rate(value: float | None) -> str:
    return "none" if value is None else _decimal(value)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h" if seconds < 2 * _DAY_S else f"{seconds / _DAY_S:.1f} days"


def _readable(at: str) -> str:
    return at[:16].replace("T", " ")


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %B, %H:%M")
