"""Results as pictures: each function makes a figure, `save_png` and `svg` put it on a page."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from ...core.tracker import TrackState
from ...drawing import STATE_COLOURS
from ..metrics import (
    NORMALISED_THRESHOLDS,
    PRECISION_THRESHOLDS_PX,
    SUCCESS_THRESHOLDS,
    Curve,
)
from ..runs import Times, TrackedSequence
from .findings import overlaps, stretches

# On a page each of these is a CSS variable, so that a figure follows the light or the dark theme.
INK, MUTED, GRID = "#1d2733", "#66727f", "#e2e7ec"
BASELINE = "#7b8794"  # the run that the others are compared with: grey, and dashed in curves
SERIES = ("#2f6fdb", "#d9731a", "#0f9a86", "#8b5ad1", "#cf3f86", "#8a8420", "#a8562f", "#2a97c4")
THEME = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BASELINE: "baseline",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}
PART_COLOURS = {"before": SERIES[2], "engine": SERIES[0], "after": SERIES[1]}  # of a step

_WIDTH = 11.0  # inches, of a figure that is as wide as the page
_NAMED_BARS = 60  # more have no room for their names
_CELLS = 20  # of a side of the histogram of confidence and IoU
_LONGEST_NAME = 34  # characters; what is longer gets dots in the middle


def hex_colour(state: TrackState) -> str:
    """The colour of a state, the same as that of its boxes."""
    blue, green, red = STATE_COLOURS[state]
    return f"#{red:02x}{green:02x}{blue:02x}"


def run_colours(labels: Sequence[str], baseline: str = "") -> dict[str, str]:
    """A colour for each run; the baseline is grey."""
    others = [label for label in labels if label != baseline]
    colours = {label: SERIES[number % len(SERIES)] for number, label in enumerate(others)}
    return {label: colours.get(label, BASELINE) for label in labels}


@dataclass(frozen=True)
class CurveKind:
    """One of the curves of one-pass evaluation, and the number that it is known by."""

    title: str
    x_label: str
    thresholds: Curve
    curve: str  # its key among the curves of a `summary.summary`
    score: str  # the key of its number there
    legend_at: str


SUCCESS = CurveKind(
    "Success [AUC]", "least overlap (IoU)", SUCCESS_THRESHOLDS, "success", "success_auc", "lower left"
)
PRECISION = CurveKind(
    "Precision [at 20 px]",
    "largest centre error (px)",
    PRECISION_THRESHOLDS_PX,
    "precision",
    "precision_20px",
    "lower right",
)
NORMALISED_PRECISION = CurveKind(
    "Normalised precision [at 0.20]",
    "largest centre error (sides of the true box)",
    NORMALISED_THRESHOLDS,
    "norm_precision",
    "norm_precision",
    "lower right",
)


def curve_figure(
    kind: CurveKind, summaries: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]
) -> Figure:
    """Share of frames over a threshold, a line for each run, the best first in the legend.

    Args:
        summaries: label of a run -> what `summary.summary` gives.
    """
    figure = Figure(figsize=(3.9, 3.6), layout="constrained")
    axes = _axes(figure.add_subplot(), kind.title, kind.x_label, "share of frames")
    axes.set(xlim=(kind.thresholds[0], kind.thresholds[-1]), ylim=(0, 1.0))
    for label, found in sorted(summaries.items(), key=lambda item: -item[1][kind.score]):
        axes.plot(
            kind.thresholds,
            found["curves"][kind.curve],
            label=f"{_name(label)}  {found[kind.score]:.3f}",
            color=colours[label],
            linewidth=2,
            linestyle=(0, (4, 2)) if colours[label] == BASELINE else "solid",
        )
    _legend(axes, kind.legend_at)
    return figure


def comparison_figure(
    baseline: str,
    differences: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
) -> Figure:
    """Difference of success AUC to the baseline: a bar a sequence, a column a run, the greatest loss on top.

    Args:
        differences: label of a run -> name of a sequence -> success AUC minus that of the baseline.
    """
    found: dict[str, list[float]] = {}
    for of_run in differences.values():
        for name, difference in of_run.items():
            found.setdefault(name, []).append(difference)
    order = sorted(found, key=lambda name: (min(found[name]), name))
    named = len(order) <= _NAMED_BARS
    size = (7.5 if len(differences) == 1 else _WIDTH, 1.0 + (0.2 * len(order) if named else 10))
    figure = Figure(figsize=size, layout="constrained")
    columns = figure.subplots(1, len(differences), sharex=True, sharey=True, squeeze=False)[0]
    limit = 1.08 * max([0.05, *(abs(d) for each in found.values() for d in each)])
    for axes, (label, of_run) in zip(columns, differences.items(), strict=True):
        _axes(axes, _name(label), f"success AUC minus that of {_name(baseline)}")
        axes.grid(False, axis="y")
        rows = [row for row, name in enumerate(order) if name in of_run]
        values = [of_run[order[row]] for row in rows]
        axes.barh(rows, values, height=0.68 if named else 1.0, color=colours[label], linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set(xlim=(-limit, limit), ylim=(len(order) - 0.4, -0.6))
        axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.2f}" if value else "0"))
    columns[0].set_yticks(range(len(order)) if named else [], map(_name, order) if named else [])
    return figure


def reliability_figure(
    label: str, bins: Sequence[Mapping[str, Any]], confidence: ArrayLike, overlap: ArrayLike, colour: str
) -> Figure:
    """How often confidence and IoU go together (shade), and the share of right boxes at each confidence.

    Args:
        bins: those of the calibration in a `summary.summary`.
        confidence, overlap: (N,) of the frames; nan is left out.
    """
    figure = Figure(figsize=(3.7, 3.8), layout="constrained")
    axes = _axes(figure.add_subplot(), _name(label), "confidence", "IoU; share of right boxes")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    cells, _, _ = np.histogram2d(np.asarray(confidence), np.asarray(overlap), _CELLS, [[0, 1], [0, 1]])
    filled = np.argwhere(cells)
    corners = (filled[:, None] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)])) / _CELLS
    shades = [to_rgba(colour, 0.12 + 0.78 * (frames / cells.max()) ** 0.5) for frames in cells[cells > 0]]
    axes.add_collection(PolyCollection(list(corners), facecolors=shades, linewidths=0))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    known = [b for b in bins if b["frames"]]
    axes.plot(
        [b["confidence"] for b in known],
        [b["right"] for b in known],
        color=INK,
        linewidth=1.4,
        marker="o",
        markersize=3.5,
        clip_on=False,
    )
    return figure


def latency_figure(times: Mapping[str, Times]) -> Figure:
    """How long a frame takes, a row a run: before, in and after the engine, and in all.

    A tracker that does not tell the parts has its total alone.

    Args:
        times: label of a run -> the milliseconds of its frames, at least one.
    """
    figure = Figure(figsize=(_WIDTH, 0.85 * len(times) + 0.6), layout="constrained")
    rows = figure.subplots(len(times), 1, sharex=True, squeeze=False)[:, 0]
    steps = np.concatenate([part for t in times.values() for part in (*_parts(t).values(), t.step_ms)])
    steps = steps[steps > 0] if (steps > 0).any() else np.ones(1)
    edges = np.geomspace(0.8 * steps.min(), 1.25 * steps.max(), 141)
    for axes, (label, of_run) in zip(rows, times.items(), strict=True):
        _axes(axes, _name(label))
        axes.set(xscale="log", xlim=(edges[0], edges[-1]), ylim=(0, 1.1), yticks=[])
        axes.grid(False, axis="y")
        for name, milliseconds in _parts(of_run).items():
            colour = PART_COLOURS[name]
            axes.stairs(_shape(milliseconds, edges), edges, fill=True, color=colour, alpha=0.45)
            axes.axvline(float(np.median(milliseconds)), color=colour, linewidth=1.2)
        if not tells_parts(of_run):
            axes.stairs(_shape(of_run.step_ms, edges), edges, fill=True, color=MUTED, alpha=0.25)
        axes.stairs(_shape(of_run.step_ms, edges), edges, color=INK, linewidth=1)
        axes.axvline(float(np.median(of_run.step_ms)), color=INK, linewidth=1.2, linestyle=(0, (2, 2)))
    rows[-1].set_xlabel("milliseconds a frame", color=MUTED, fontsize=9)
    rows[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    rows[-1].xaxis.set_minor_formatter(NullFormatter())
    return figure


def tells_parts(times: Times) -> bool:
    """Whether a tracker tells the parts of a step."""
    return bool(times.before_ms.any() or times.after_ms.any())


def timeline_figure(tracks: Mapping[str, TrackedSequence], colours: Mapping[str, str]) -> Figure:
    """One sequence over its frames, a row a run: IoU (bold), confidence (thin), states as bands behind them.

    Frames in which the target cannot be seen are grey; ticks on top are what the update rule did: a short
    one took a view, a mark refreshed the template.

    Args:
        tracks: label of a run -> what it made of the sequence.
    """
    figure = Figure(figsize=(_WIDTH, 0.95 * len(tracks) + 0.35), layout="constrained")
    rows = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, tracked) in zip(rows, tracks.items(), strict=True):
        _axes(axes, _name(label))
        axes.set(xlim=(0, max(len(t) for t in tracks.values())), ylim=(0, 1.24), yticks=[0, 0.5, 1])
        frames = np.arange(len(tracked))
        for first, end in stretches(~tracked.visible):
            axes.axvspan(first, end, color=GRID, linewidth=0)
        _shade_states(axes, frames, [TrackState(state) for state in tracked.states])
        axes.plot(frames, tracked.confidence, color=MUTED, linewidth=0.9)
        axes.plot(frames, overlaps(tracked), color=colours[label], linewidth=1.8)
        for event, marker, colour in (("view", "|", MUTED), ("activation", "v", INK)):
            at = [frame for frame, name in enumerate(tracked.events) if event in name.split("+")]
            axes.plot(at, [1.13] * len(at), marker, color=colour, markersize=4)
    rows[-1].set_xlabel("frame", color=MUTED, fontsize=9)
    return figure


def track_plot(
    path: Path,
    seconds: ArrayLike,
    confidence: ArrayLike,
    states: Sequence[TrackState | None],
    overlap: ArrayLike | None = None,
    title: str = "",
) -> None:
    """Confidence, and overlap with the truth where there is one, over time; doubtful times are shaded.

    Args:
        seconds, confidence, overlap: (N,); nan leaves a gap.
        states: N; None = not tracked in that frame.
    """
    times = np.asarray(seconds, np.float64)
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = _axes(figure.add_subplot(), _text(title), "time (s)")
    axes.set(xlim=(times[0], max(times[-1], times[0] + 0.1)), ylim=(0, 1.02))
    if overlap is not None:
        axes.plot(times, overlap, color=SERIES[0], linewidth=1.8, label="overlap with the truth (IoU)")
    axes.plot(times, confidence, color=SERIES[1], linewidth=1.2, label="confidence")
    _shade_states(axes, times, states)
    _legend(axes, "lower left")
    save_png(figure, path)


def save_png(figure: Figure, path: Path) -> None:
    """In the colours of the light theme."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=200, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})


def svg(figure: Figure, name: str) -> str:
    """An <svg> element for an HTML page: its texts are texts, its colours those of the page's theme.

    Args:
        name: of the figure, for those who cannot see it; another one for each figure of a page, as the marks
            of its lines are named after it.
    """
    FigureCanvasSVG(figure)
    file = StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    # The content alone: the head, the style and the names of groups would speak for the whole page.
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    text = re.sub(r"<[^>]+>", lambda tag: _NUMBER.sub(_rounded, tag.group()), text)
    for colour, variable in THEME.items():
        text = text.replace(colour, f"var(--{variable})")
    size = " ".join(f"{72 * inches:g}" for inches in figure.get_size_inches())
    opening = f'<svg viewBox="0 0 {size}" role="img" aria-label="{html.escape(name)}">'
    return re.sub(r"\s*\n\s*", "\n", opening + text[text.index(">") + 1 :]).strip()


_NUMBER = re.compile(r"-?\d+\.\d{2,}")


def _rounded(number: re.Match[str]) -> str:
    value = float(number.group())
    return f"{round(value, 1 if abs(value) >= 1 else 3):g}"  # coordinates are rough, shades are not


def _parts(times: Times) -> dict[str, NDArray[np.float64]]:
    """The parts of a step, for a tracker that tells them."""
    parts = {"before": times.before_ms, "engine": times.engine_ms, "after": times.after_ms}
    return parts if tells_parts(times) else {}


def _shape(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """A histogram whose highest column is 1."""
    counts = np.histogram(values, edges)[0].astype(np.float64)
    return np.asarray(counts / max(counts.max(), 1.0))


def _shade_states(axes: Axes, times: ArrayLike, states: Sequence[TrackState | None]) -> None:
    """A coloured band behind each run of frames that are not TRACKING."""
    times = np.asarray(times)
    ends = np.append(times[1:], times[-1])
    for state in (TrackState.UNCERTAIN, TrackState.LOST, None):
        name, colour = (state.name, hex_colour(state)) if state else ("no frame", BASELINE)
        for number, (first, end) in enumerate(stretches([s == state for s in states])):
            label = None if number else name
            axes.axvspan(times[first], ends[end - 1], color=colour, alpha=0.3, linewidth=0, label=label)


def _axes(axes: Axes, title: str = "", x_label: str = "", y_label: str = "") -> Axes:
    """Quiet axes: no box, a faint grid."""
    axes.set_title(title, color=INK, fontsize=10, loc="left", fontweight="bold")
    axes.set_xlabel(x_label, color=MUTED, fontsize=9)
    axes.set_ylabel(y_label, color=MUTED, fontsize=9)
    axes.tick_params(length=0, labelsize=8.5, labelcolor=MUTED, which="both")
    axes.spines[:].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _legend(axes: Axes, at: str) -> None:
    axes.legend(loc=at, frameon=False, fontsize=8.5, labelcolor=INK)  # type: ignore[call-overload]


def _name(text: str) -> str:
    """A name that is not too long."""
    half = _LONGEST_NAME // 2
    short = text if len(text) <= _LONGEST_NAME else f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"
    return _text(short)


def _text(text: str) -> str:
    """One line, in which a dollar is no formula."""
    return " ".join(text.split()).replace("$", r"\$")
