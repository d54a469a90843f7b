"""HTML pages for the file of an assessment: one self-contained page, plots as inline SVG, no script, no link out.

matplotlib draws, Jinja fills the template in; text is escaped.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_COLOURS = ("#0b5fa5", "#c2410c", "#15803d")
_CYCLE = (*_COLOURS, "#7c3aed", "#b45309", "#0e7490", "#be185d", "#4d7c0f", "#475569", "#a16207")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: what it shows, and its points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Plot:
    """A diagram with named axes; `marker_x` draws a vertical line, `percent` shows y as shares of 1."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marker_x: float | None = None
    percent: bool = True


def line_plot(plot: Plot) -> Markup:
    """The diagram as inline SVG."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for line, colour in zip(plot.lines, _COLOURS, strict=False):
        axes.plot(line.x, line.y, label=line.label, color=colour, linewidth=1.8)
    if plot.marker_x is not None:
        axes.axvline(plot.marker_x, color="#555555", linestyle=":", linewidth=1.2, label="threshold in force")
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_ylim(bottom=0.0, top=1.02 if plot.percent else None)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return _svg(figure)


def bar_plot(title: str, y_label: str, bars: Mapping[str, float]) -> Markup:
    """Bars of shares 0..1, each with its value."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.bar(list(bars), list(bars.values()), color=_COLOURS[0], width=0.6)
    axes.bar_label(drawn, fmt="%.3f", fontsize=8)
    axes.set(title=title, ylabel=y_label)
    axes.set_ylim(0.0, 1.1)
    return _svg(figure)


def step_plot(title: str, y_label: str, lines: Sequence[Line], days: int) -> Markup:
    """Numbers over the days of a month, as areas: x is the day with its fraction, from 1 on."""
    figure, axes = _month(title, y_label, days)
    for line, colour in zip(lines, _CYCLE, strict=False):
        axes.fill_between(line.x, line.y, step="post", alpha=0.18, color=colour, linewidth=0)
        axes.step(line.x, line.y, where="post", label=line.label, color=colour, linewidth=1.4)
    axes.set_ylim(bottom=0.0)
    if len(lines) > 1:
        _legend(axes, len(lines))
    return _svg(figure)


def day_plot(title: str, y_label: str, layers: Mapping[str, Mapping[int, int]], days: int) -> Markup:
    """Counts on each day of a month, what belongs to several layers stacked."""
    figure, axes = _month(title, y_label, days)
    below = [0] * days
    for (label, counts), colour in zip(layers.items(), _CYCLE, strict=False):
        heights = [counts.get(day, 0) for day in range(1, days + 1)]
        axes.bar([day + 0.5 for day in range(1, days + 1)], heights, bottom=below, width=0.8, color=colour, label=label)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    _legend(axes, len(layers))
    return _svg(figure)


def _month(title: str, y_label: str, days: int) -> tuple[Figure, Any]:
    """An empty diagram over the days of a month."""
    figure = Figure(figsize=(9.6, 2.7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel(y_label)
    axes.set_xlim(1, days + 1)
    odd = range(1, days + 1, 2)
    axes.set_xticks([day + 0.5 for day in odd], [str(day) for day in odd], fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(axes: Any, entries: int) -> None:
    """Above the diagram, where it hides nothing."""
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=min(entries, 6))


def render(template: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """Fill in one of the package's templates; `filters` format values in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blurd"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**values)


def _svg(figure: Figure) -> Markup:
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "blurd", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  drawn here, from numbers and our own labels
