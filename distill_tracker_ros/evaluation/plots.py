"""Results as pictures: success and precision curves, and one track over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ..core.tracker import TrackState
from ..drawing import STATE_COLOURS
from .metrics import PRECISION_THRESHOLDS_PX, SUCCESS_THRESHOLDS, Curves


def success_plot(path: Path, curves: Mapping[str, Curves]) -> None:
    """Share of frames over the least overlap, a line for each name, the best first in the legend."""
    lines = {f"{name} [{c.success_auc:.3f}]": c.success for name, c in _best_first(curves, "success_auc")}
    _curve_plot(path, SUCCESS_THRESHOLDS, lines, "least overlap (IoU)", "success [AUC]")


def precision_plot(path: Path, curves: Mapping[str, Curves]) -> None:
    """Share of frames over the largest centre error, a line for each name, the best first in the legend."""
    best = _best_first(curves, "precision_20px")
    lines = {f"{name} [{c.precision_20px:.3f}]": c.precision for name, c in best}
    _curve_plot(path, PRECISION_THRESHOLDS_PX, lines, "largest centre error (px)", "precision [at 20 px]")


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
    axes = figure.add_subplot(xlabel="time (s)", title=title)
    axes.set(xlim=(times[0], max(times[-1], times[0] + 0.1)), ylim=(0, 1.02))
    if overlap is not None:
        axes.plot(times, overlap, color="#1f4e9e", linewidth=1.6, label="overlap with the truth (IoU)")
    axes.plot(times, confidence, color="#d06000", linewidth=1.2, label="confidence")
    _shade_states(axes, times, states)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    _save(figure, path)


def _shade_states(axes: Any, times: ArrayLike, states: Sequence[TrackState | None]) -> None:
    """A coloured band behind each run of frames that are not TRACKING."""
    times = np.asarray(times)
    ends = np.append(times[1:], times[-1])
    labelled = set()
    start = 0
    for index in range(1, len(states) + 1):
        state = states[start]
        if index < len(states) and states[index] == state:
            continue
        if state is not TrackState.TRACKING:
            name = state.name if state else "no frame"
            colour = tuple(c / 255 for c in reversed(STATE_COLOURS[state])) if state else (0.6, 0.6, 0.6)
            label = name if name not in labelled else None
            labelled.add(name)
            axes.axvspan(times[start], ends[index - 1], color=colour, alpha=0.3, linewidth=0, label=label)
        start = index


def _best_first(curves: Mapping[str, Curves], score: str) -> list[tuple[str, Curves]]:
    return sorted(curves.items(), key=lambda item: -getattr(item[1], score))


def _curve_plot(path: Path, x: ArrayLike, lines: Mapping[str, ArrayLike], x_label: str, title: str) -> None:
    figure = Figure(figsize=(7, 5), layout="constrained")
    x_range = (float(np.min(x)), float(np.max(x)))
    axes = figure.add_subplot(xlabel=x_label, ylabel="share of frames", title=title)
    axes.set(xlim=x_range, ylim=(0, 1.02))
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for name, line in lines.items():
        bold = name.startswith("mean ")
        axes.plot(x, line, label=name, linewidth=3 if bold else 1.2, color="black" if bold else None)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
