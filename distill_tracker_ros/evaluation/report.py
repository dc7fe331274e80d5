"""Results as tables: for a terminal, for a markdown page, for another program."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.boxes import Boxes
from ..core.tracker import Track
from .metrics import Curves, Policy, mean, score, visible
from .replay import Replay

HEADER = ("sequence", "frames", "success AUC", "precision 20 px", "norm. precision", "median ms", "fps")
TRACK_COLUMNS = ("frame", "stamp_ns", "x", "y", "w", "h", "confidence", "state")


@dataclass(frozen=True)
class Result:
    """One sequence: where the target is, and what the tracker made of it."""

    name: str
    replay: Replay
    truth_xywh: Boxes

    def curves(self, policy: Policy = "clean") -> Curves:
        return score(self.replay.boxes_xywh, self.truth_xywh, policy)

    @property
    def step_ms(self) -> ArrayLike:
        """(N - 1,) without the first frame, on which the target is set."""
        return self.replay.step_ms[1:]


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The table's cells: a row a sequence, then their mean, in which each sequence counts the same.

    Frames without truth are left out; if there are any, a last row has the mean with them as pytracking
    counts them.

    Raises:
        ValueError: there is no result.
    """
    if not results:
        raise ValueError("no sequence was tracked")
    all_ms = np.concatenate([r.step_ms for r in results])
    cells = [_row(r.name, r.curves(), r.step_ms) for r in results]
    cells.append(_row("mean", mean([r.curves() for r in results]), all_ms))
    if not all(visible(r.truth_xywh).all() for r in results):
        compatible = mean([r.curves("compat-default") for r in results])
        cells.append(_row("mean, compat-default", compatible, all_ms))
    return cells


def text_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Columns aligned by blanks: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *cells)) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in (header, rule, *cells)
    )


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *cells))


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The numbers of `rows`, unrounded, with the curves of the means; ready for JSON."""
    return {
        "policy": "clean: frames without a true box are left out",
        "mean": _with_curves(mean([r.curves() for r in results])),
        "mean_compat_default": _with_curves(mean([r.curves("compat-default") for r in results])),
        "sequences": {r.name: {**_scores(r.curves()), **speed(r.step_ms)} for r in results},
    }


def speed(step_ms: ArrayLike) -> dict[str, float | None]:
    """Median and 95th percentile of a step, and frames a second; None where there was no step."""
    times = np.asarray(step_ms, np.float64)
    if not times.size:
        return {"step_ms_median": None, "step_ms_p95": None, "fps": None}
    return {
        "step_ms_median": float(np.median(times)),
        "step_ms_p95": float(np.percentile(times, 95)),
        "fps": float(1000 / times.mean()),
    }


def write_tracks(path: Path, tracks: Iterable[Track]) -> None:
    """A csv file with TRACK_COLUMNS: a row a frame, the first with the given box; boxes in pixels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TRACK_COLUMNS)
        for index, track in enumerate(tracks):
            box = [f"{v:.3f}" for v in track.box_xywh]
            writer.writerow([index, track.stamp_ns, *box, f"{track.confidence:.4f}", track.state.name])


def _row(name: str, curves: Curves, step_ms: ArrayLike) -> tuple[str, ...]:
    times = speed(step_ms)
    return (
        name,
        str(curves.frames),
        f"{curves.success_auc:.3f}",
        f"{curves.precision_20px:.3f}",
        f"{curves.normalised_precision_020:.3f}",
        number(times["step_ms_median"]),
        number(times["fps"]),
    )


def number(value: float | None) -> str:
    """One decimal; a dash for nothing."""
    return "-" if value is None else f"{value:.1f}"


def _scores(curves: Curves) -> dict[str, Any]:
    return {
        "frames": curves.frames,
        "success_auc": curves.success_auc,
        "precision_20px": curves.precision_20px,
        "normalised_precision_020": curves.normalised_precision_020,
    }


def _with_curves(curves: Curves) -> dict[str, Any]:
    return {
        **_scores(curves),
        "success_curve": curves.success.tolist(),
        "precision_curve": curves.precision.tolist(),
        "normalised_precision_curve": curves.normalised_precision.tolist(),
    }
