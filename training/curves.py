"""The learning curves of runs as a picture: loss terms and validation over the samples seen."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

LOG_FILE = "log.csv"
FIRST = ("validation_success_auc", "focal", "l1", "giou", "feature", "prediction")  # panels, in this order
_COLUMNS = 3

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, values


def read_curves(run: Path) -> dict[str, Curve]:
    """Every value that a run has logged, by name, over its steps.

    Raises:
        FileNotFoundError: the folder has no log.
        ValueError: a row is not step, name, value (file and line are named).
    """
    path = run / LOG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: expected a folder that `train` has written")
    rows: dict[str, dict[int, float]] = defaultdict(dict)
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                step, name, value = row
                rows[name][int(step)] = float(value)  # a step that was done again after a resume counts once
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected step,name,value; got {row}") from error
    return {
        name: (np.array(sorted(values), np.float64), np.array([values[s] for s in sorted(values)]))
        for name, values in rows.items()
    }


def draw_curves(runs: Sequence[Path], names: Sequence[str]) -> Figure:
    """One picture with a panel a name and a line a run; `savefig` writes it.

    Args:
        runs: folders of runs.
        names: what to draw; empty = the terms of FIRST that any of the runs has.

    Raises:
        ValueError: a name that no run has logged.
    """
    curves = {run.name: read_curves(run) for run in runs}
    known = {name for each in curves.values() for name in each}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no run has logged {unknown[0]!r}; there are {', '.join(sorted(known))}")
    shown = list(names) or [name for name in FIRST if name in known]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, name in zip(panels, shown, strict=False):
        _panel(axes, name, curves)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    if len(runs) > 1:
        panels[0].legend(fontsize=8)
    return figure


def _panel(axes: Axes, name: str, curves: dict[str, dict[str, Curve]]) -> None:
    for number, (run, each) in enumerate(curves.items()):
        if name in each:
            steps, values = each[name]
            marker = "o" if len(steps) < 20 else ""
            # A run has one colour, also where another has no line.
            axes.plot(steps, values, f"C{number}", label=run, linewidth=1.4, marker=marker, markersize=4)
    axes.set_title(name.replace("_", " "), fontsize=10)
    axes.set_xlabel("steps", fontsize=9)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
