"""The pages that `blurd evaluate --report` writes: an evaluation, ready to be filed with an assessment."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from blurd.adapters.host import wall_clock
from blurd.adapters.report import Line, Plot, bar_plot, line_plot, render
from blurd.core.accuracy import RECALL_POINTS, OperatingPoint
from blurd.core.exposure import Exposure
from blurd.evaluate import ClassResult, Evaluation
from blurd.evaluate_video import VideoEvaluation

_NAMES = {"face": "Faces", "plate": "Licence plates"}
MOST_TRACKS = 30
"""Rows of the list of uncovered tracks."""


def evaluation_page(evaluation: Evaluation) -> str:
    """One self-contained HTML page."""
    return render(
        "evaluation.html",
        filters=_FILTERS,
        version=evaluation.as_json()["version"],
        date=wall_clock(),
        images=evaluation.images,
        images_per_second=evaluation.images / evaluation.seconds if evaluation.seconds else 0.0,
        map=evaluation.mean_average_precision,
        device=evaluation.device,
        data_sha256=evaluation.data_sha256,
        settings_sha256=evaluation.settings_sha256,
        classes=[_class(result) for result in evaluation.results],
    )


def video_page(evaluation: VideoEvaluation) -> str:
    """One self-contained HTML page on a video."""
    figures = evaluation.as_json()
    classes = [
        _video_class(figures["classes"][category], exposure) for category, exposure in evaluation.exposures.items()
    ]
    return render("evaluation_video.html", filters=_FILTERS, date=wall_clock(), **{**figures, "classes": classes})


def _video_class(figures: Mapping[str, Any], exposure: Exposure) -> dict[str, Any]:
    uncovered = [track for track in figures["tracks"] if track["first_exposed_frame"] is not None]
    uncovered.sort(key=lambda track: (-track["longest_exposure_s"], track["first_exposed_frame"]))
    return {
        **figures,
        "name": _NAMES[exposure.category],
        "worst": uncovered[:MOST_TRACKS],
        "plot": bar_plot(
            "Tracks by coverage", "share of tracks", _shares([track.coverage for track in exposure.tracks])
        ),
    }


def _shares(coverages: Sequence[float]) -> dict[str, float]:
    """The share of tracks in each class of coverage."""
    classes = {"never": 0, "< 90 %": 0, "90-99 %": 0, "> 99 %": 0, "always": 0}
    for coverage in coverages:
        name = "never" if coverage == 0 else "< 90 %" if coverage < 0.9 else "90-99 %" if coverage <= 0.99 else "> 99 %"  # noqa: PLR2004
        classes["always" if coverage == 1 else name] += 1
    return {name: count / max(len(coverages), 1) for name, count in classes.items()}


def _class(result: ClassResult) -> dict[str, Any]:
    return {
        **result.as_json(),
        "name": _NAMES[result.category],
        "coverage": result.coverage,
        "plots": _plots(result),
    }


def _plots(result: ClassResult) -> Sequence[Markup]:
    thresholds = [point.threshold for point in result.sweep]

    def over_threshold(label: str, values: Sequence[float]) -> Line:
        return Line(label, thresholds, values)

    def values(name: str) -> list[float]:
        return [getattr(point, name) for point in result.sweep]

    shares = (
        over_threshold("coverage", values("coverage")),
        over_threshold("recall", values("recall")),
        over_threshold("precision", values("precision")),
    )
    false = (over_threshold("false boxes", values("false_boxes_per_image")),)
    curve = (Line("IoU 0.5", RECALL_POINTS.tolist(), result.precision_at_recall),)
    in_force: OperatingPoint = result.point
    widths = {f"{name} px": share for name, share in result.coverage.items() if name != "overall"}
    return (
        line_plot(Plot("Coverage over the threshold", "threshold", "share", shares, in_force.threshold)),
        line_plot(
            Plot("False boxes over the threshold", "threshold", "a picture", false, in_force.threshold, percent=False)
        ),
        line_plot(Plot("Precision over recall", "recall", "precision", curve)),
        bar_plot("Coverage by width", "share", {name: 0.0 if math.isnan(x) else x for name, x in widths.items()}),
    )


def _percent(share: float | None) -> str:
    return "not defined" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def _figure(value: float | None) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.3f}"


_FILTERS = {"percent": _percent, "figure": _figure}
