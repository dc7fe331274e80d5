"""A report of runs as one HTML file that needs nothing else, as figures, and as a table for other programs.

The numbers come from `results`, the pictures from `plots` and `thumbnails`; this module puts them in words,
and `report.html.j2` is the page. It depends on no time and no machine: the same runs give the same bytes.
"""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from tqdm import tqdm

from ...core.tracker import TrackState
from ..metrics import Policy
from ..runs import Run, TrackedSequence
from ..sequences import Frames, SequenceError
from ..summary import summary
from . import findings, plots, thumbnails
from .results import Results, SequenceRow, sequence_rows

Images = Callable[[str], Frames | None]
Summaries = Mapping[str, Mapping[str, Any]]  # label of a run -> what `summary.summary` gives

STRIPS = 12  # sequences with pictures
_WORST = 3  # sequences that have pictures even if they were not lost, and whose time lines are unfolded
_CURVES = {
    "success": plots.SUCCESS,
    "precision": plots.PRECISION,
    "normalised_precision": plots.NORMALISED_PRECISION,
}
_POLICIES: dict[Policy, str] = {  # what frames without a true box do
    "clean": "are left out",
    "compat-default": "count as failures of success and precision and as hits of normalised precision",
    "compat-uav": "count as failures of success and as hits of both precisions",
    "compat-lasot": "count as failures",
    "compat-otb": "count as failures of success and as hits of both precisions",
}
_PROTOCOLS = {  # those of `protocols`, and that of nodes.replay_node
    "one-pass": "One pass over each sequence from its first true box",
    "vot": "Passes over each sequence from anchors, forwards or backwards (VOT)",
    "tre": "Passes over each sequence from up to 20 starts (TRE)",
    "live": "Through the live node: what counts is the box at hand when the next frame came",
}
# Colours of `plots.THEME` on a dark page.
_DARK = {
    "ink": "#e6ebf0",
    "muted": "#93a0ad",
    "grid": "#2b3541",
    "baseline": "#98a5b3",
    "series-0": "#6ea1f7",
    "series-1": "#f0994b",
    "series-2": "#3fc4ae",
    "series-3": "#b491ee",
    "series-4": "#ef76b3",
    "series-5": "#c2ba4c",
    "series-6": "#d68a62",
    "series-7": "#63bfe6",
}


@dataclass(frozen=True)
class _Column:
    """A number of a run in a table."""

    key: str  # of a summary; of a part of it behind a dot
    heading: str
    explanation: str
    digits: int = 3
    more_is_better: bool = True


_SCORES = (
    _Column("success_auc", "success AUC", "mean of the success curve"),
    _Column("precision_20px", "precision", "share of frames whose centre is within 20 px"),
    _Column("norm_precision", "norm. precision", "the same, within 0.20 of the sides of the true box"),
    _Column("op50", "OP50", "share of frames with an IoU above 0.50, mean over sequences"),
    _Column("op75", "OP75", "the same, above 0.75"),
)
_WHOLE = (  # that no policy changes
    _Column("got10k.ao", "AO", "GOT-10k: mean IoU of all frames, pooled over sequences"),
    _Column("got10k.sr50", "SR50", "GOT-10k: share of these frames with an IoU above 0.50"),
    _Column("got10k.sr75", "SR75", "GOT-10k: the same, above 0.75"),
    _Column("fps", "fps", "frames a second: their number over the sum of their times", 1),
    _Column("latency_ms_median", "median ms", "median time of a frame", 1, False),
    _Column("latency_ms_p95", "p95 ms", "95th percentile of the time of a frame", 1, False),
)
_MORE = (
    _Column(
        "norm_precision_auc", "norm. precision AUC", "TrackingNet: mean of the normalised precision curve"
    ),
    _Column("vot.accuracy", "VOT accuracy", "mean IoU before failures"),
    _Column("vot.robustness", "VOT robustness", "share of frames before failures"),
    _Column("vot.eao", "VOT EAO", "expected average overlap"),
    _Column("long_term.by_state.precision", "long-term precision", "mean IoU where the state is TRACKING"),
    _Column("long_term.by_state.recall", "long-term recall", "mean IoU where the target can be seen"),
    _Column("long_term.by_state.f", "long-term F", "harmonic mean of the two"),
    _Column(
        "absence.claimed_share",
        "away, TRACKING",
        "share of frames without target that are TRACKING",
        3,
        False,
    ),
    _Column("absence.lost_after_s_median", "LOST after s", "median seconds from leaving to LOST", 2, False),
    _Column(
        "absence.found_after_s_median", "found after s", "median seconds from return to a right box", 2, False
    ),
    _Column(
        "absence.false_losses",
        "false losses",
        "times that LOST began though the target can be seen",
        0,
        False,
    ),
    _Column("calibration.expected_error", "calibration error", "of the confidence, see below", 3, False),
)


def write_report(
    path: Path,
    runs: Sequence[Run],
    images: Images | None = None,
    title: str = "",
    policy: Policy = "clean",
    baseline: str = "",
    strips: int = STRIPS,
) -> None:
    """One HTML file: scores, curves, comparison, what went wrong and when, confidence, speed.

    Args:
        runs: of one protocol, best on the same sequences.
        images: name of a tracked sequence -> its frames, one for each of its rows; None where they are not
            at hand. Without images there are no pictures.
        policy: what becomes of frames without a true box.
        baseline: label of the run that the others are compared with; the last of several by default.
        strips: at most so many sequences have pictures: the worst, and those that were lost.

    Raises:
        ValueError: there is no run, no such baseline, or a run that cannot be scored.
    """
    results = Results(runs, policy, baseline)
    protocol = str(results.summaries[results.labels[0]]["protocol"])
    rows = sequence_rows(results)
    page = {
        "title": title or " · ".join(results.labels),
        "theme": {variable: colour for colour, variable in plots.THEME.items()},
        "dark_theme": _DARK,
        "states": [(state.name, plots.hex_colour(state)) for state in TrackState],
        "labels": results.labels,
        "baseline": results.baseline,
        "subject": rows[0].subject,
        "css_colours": _css(_colours(results)),
        "facts": _facts(results),
        "protocol": _PROTOCOLS.get(protocol, f"Protocol {protocol}"),
        "policy": policy,
        "policies": _POLICIES,
        "problems": list(_problems(results)),
        "columns": _SCORES + _WHOLE,
        "score_groups": _score_groups(results),
        "more": _more(results),
        "conditions": _conditions(results),
        "curves": [_svg(figure, name) for name, figure in _curve_figures(results)],
        "comparison": _comparison(results),
        "attributes": _attributes(results),
        "sequences": rows,
        "strips": _strips(results, rows, images, strips) if images else [],
        "picture_px": thumbnails.SIZE_PX,
        "calibration": _calibration(results),
        "latency": _latency(results),
        "part_colours": _css(plots.PART_COLOURS),
        "timelines": _timelines(results, rows),
    }
    path.write_text(_template().render(page), encoding="utf-8")


def write_figures(folder: Path, runs: Sequence[Run], policy: Policy = "clean", baseline: str = "") -> None:
    """success.png, precision.png and normalised_precision.png; comparison.png where there is a baseline.

    Raises:
        ValueError: as of `write_report`.
    """
    results = Results(runs, policy, baseline)
    for name, figure in _curve_figures(results):
        plots.save_png(figure, folder / f"{name}.png")
    if results.differences:
        plots.save_png(_comparison_figure(results), folder / "comparison.png")


def write_csv(path: Path, runs: Sequence[Run], policy: Policy = "clean") -> None:
    """A row for each sequence of each run, with all of its numbers; empty where one does not apply.

    Raises:
        ValueError: there is no run, or one cannot be scored.
    """
    results = Results(runs, policy)
    rows = [
        {
            "run": label,
            "sequence": name,
            "policy": policy,
            **found,
            "attributes": ";".join(found["attributes"]),
        }
        for label, of_run in results.summaries.items()
        for name, found in of_run["per_sequence"].items()
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    environment.globals["best"] = _best
    text = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _svg(figure: Figure, name: str) -> Markup:
    return Markup(plots.svg(figure, name))


def _colours(results: Results) -> dict[str, str]:
    return plots.run_colours(results.labels, results.baseline)


def _css(colours: Mapping[str, str]) -> dict[str, str]:
    """Colours as they are on a page, which has a theme."""
    return {name: f"var(--{plots.THEME[colour]})" for name, colour in colours.items()}


# Numbers as text.


def _number(value: float | None, digits: int = 3) -> str:
    """A dash for nothing."""
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _interval(interval: Sequence[float], sequences: int, form: Callable[[float], str]) -> str:
    """Nothing for a single sequence, which says nothing of others."""
    return " to ".join(map(form, interval)) if sequences > 1 else ""


def _best(values: Sequence[float | None], more: bool = True) -> list[bool]:
    """Which of several values are the best, as they are printed; none where there is nothing to compare."""
    known = [round(v, 3) for v in values if v is not None]
    if len(known) < 2:
        return [False] * len(values)
    best = max(known) if more else min(known)
    return [v is not None and round(v, 3) == best for v in values]


# The sections of the page, in their order.


def _facts(results: Results) -> list[tuple[str, str]]:
    frames = {name: len(t) for tracked in results.tracked.values() for name, t in tracked.items()}
    dates = {str(run.conditions["date"]): None for run in results.runs.values() if "date" in run.conditions}
    return [
        (f"{len(frames):,}", "sequence" if len(frames) == 1 else "sequences"),
        (f"{sum(frames.values()):,}", "frames"),
        (str(len(results.labels)), "run" if len(results.labels) == 1 else "runs"),
        *((date, "date of the run") for date in dates),
    ]


def _problems(results: Results) -> Iterator[str]:
    """A line for each sequence that ended early or cannot be scored, and for each run that lacks some."""
    names = {name: None for tracked in results.tracked.values() for name in tracked}
    for label, run in results.runs.items():
        yield from (f"{t.name} ({label}): {t.broken}" for t in run.sequences if t.broken)
        for name, reason in results.summaries[label]["excluded"].items():
            yield f"{name} ({label}) is not scored: {reason}"
        if missing := [name for name in names if name not in results.tracked[label]]:
            yield f"{label} has no {', '.join(missing)}: its means are over fewer sequences"


def _score_groups(results: Results) -> list[dict[str, Any]]:
    """The table under the policy of the report, then its scores under the other one that is usual."""
    other: Policy = "clean" if results.policy == "compat-default" else "compat-default"
    theirs = {label: summary(run, other) for label, run in results.runs.items()}
    return [
        {"policy": results.policy, "rows": _score_rows(results.summaries, _SCORES + _WHOLE)},
        {"policy": other, "rows": _score_rows(theirs, _SCORES)},
    ]


def _more(results: Results) -> dict[str, Any]:
    """A table of what else there is; a column that no run has is left out."""
    columns = [
        column
        for column in _MORE
        if any(_value(found, column.key) is not None for found in results.summaries.values())
    ]
    return {"columns": columns, "rows": _score_rows(results.summaries, columns)}


def _score_rows(summaries: Summaries, columns: Sequence[_Column]) -> list[dict[str, Any]]:
    values = {c.key: [_value(found, c.key) for found in summaries.values()] for c in columns}
    best = {c.key: _best(values[c.key], c.more_is_better) for c in columns}
    return [
        {
            "label": label,
            "interval": _interval(found["success_auc_interval"], found["sequences"], _number),
            "cells": [(values[c.key][row], c.digits, best[c.key][row]) for c in columns],
        }
        for row, (label, found) in enumerate(summaries.items())
    ]


def _value(found: Mapping[str, Any], key: str) -> float | None:
    """A number of a summary; None where it does not apply, or the times of a run are not known."""
    if key.startswith("latency") and found["fps"] is None:
        return None
    value: Any = found
    for part in key.split("."):
        value = None if value is None else value[part]
    return None if value is None else float(value)


def _conditions(results: Results) -> list[tuple[str, list[str]]]:
    """Name of a condition, and its value in each run."""
    runs = results.runs.values()
    names = {name: None for run in runs for name in run.conditions if name != "label"}
    return [(name, [_condition(run.conditions.get(name, "")) for run in runs]) for name in names]


def _condition(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _curve_figures(results: Results) -> Iterator[tuple[str, Figure]]:
    for name, kind in _CURVES.items():
        yield name, plots.curve_figure(kind, results.summaries, _colours(results))


def _comparison(results: Results) -> dict[str, Any] | None:
    if not results.differences:
        return None
    return {
        "verdicts": [(label, *_verdict(found)) for label, found in results.comparisons.items()],
        "figure": _svg(_comparison_figure(results), "comparison"),
    }


def _comparison_figure(results: Results) -> Figure:
    return plots.comparison_figure(results.baseline, results.differences, _colours(results))


def _verdict(found: Mapping[str, Any]) -> tuple[str, str]:
    """What is to be said of a comparison, and the numbers behind it."""
    auc = found["scores"]["success_auc"]
    signs = Counter(np.sign(each["success_auc"]) for each in found["per_sequence"].values())
    interval = _interval(auc["interval"], found["sequences"], _signed)
    return (
        f"{found['label']}: {auc['verdict']}.",
        f"{_signed(auc['difference'])} success AUC"
        + (f" (95 % interval {interval})" if interval else "")
        + f"; ahead on {signs[1]}, behind on {signs[-1]} of {found['sequences']} sequences",
    )


def _attributes(results: Results) -> list[tuple[str, int, list[float | None]]]:
    """Name, number of sequences, success AUC of each run."""
    found = [results.summaries[label]["attributes"] for label in results.labels]
    return [
        (
            name,
            max(of_run[name]["sequences"] for of_run in found if name in of_run),
            [of_run[name]["success_auc"] if name in of_run else None for of_run in found],
        )
        for name in sorted({name for of_run in found for name in of_run})
    ]


def _strips(
    results: Results, rows: Sequence[SequenceRow], images: Images, count: int
) -> list[dict[str, Any]]:
    """Pictures of the worst sequences and of those that were lost, in the order of the table."""
    chosen = [row for row in rows if row.number <= _WORST or row.lost[row.subject] is not None]
    strips = []
    for row in chosen[:count]:
        tracked = results.tracked[row.subject][row.name]
        if pictures := _pictures(tracked, images(tracked.name)):
            strips.append({"row": row, "text": _loss_text(tracked), "pictures": pictures})
    return strips


def _pictures(tracked: TrackedSequence, frames: Frames | None) -> list[dict[str, Any]]:
    if frames is None:
        return []
    middle = findings.worst_frame(tracked)
    overlaps = findings.overlaps(tracked)
    try:
        pictures = thumbnails.strip(tracked, frames, middle)
    except (SequenceError, IndexError):
        return []  # pictures are an extra, the report does without
    return [
        {
            "frame": p.frame,
            "is_moment": p.frame == middle,
            "caption": _caption(overlaps[p.frame], TrackState(tracked.states[p.frame])),
            "base64": base64.b64encode(p.jpeg).decode("ascii"),
        }
        for p in pictures
    ]


def _caption(overlap: float, state: TrackState) -> str:
    seen = f"IoU {overlap:.2f}" if np.isfinite(overlap) else "not to be seen"
    return seen if state is TrackState.TRACKING else f"{seen} · {state.name}"


def _loss_text(tracked: TrackedSequence) -> str:
    loss = findings.first_loss(tracked)
    if loss is None:
        return f"Not lost; its lowest overlap is in frame {findings.worst_frame(tracked)}."
    again = "not found again" if loss.found is None else f"found again in frame {loss.found}"
    return f"Lost in frame {loss.frame} of {len(tracked)}, {again}."


def _calibration(results: Results) -> list[tuple[Markup, str]]:
    """A figure for each run with a confidence, and what it says."""
    items = []
    for label, colour in _colours(results).items():
        if found := results.summaries[label]["calibration"]:
            pairs = findings.confidence_and_overlap(results.runs[label])
            figure = plots.reliability_figure(label, found["bins"], *pairs, colour)
            items.append((_svg(figure, f"confidence of {label}"), _calibration_text(label, found)))
    return items


def _calibration_text(label: str, found: Mapping[str, Any]) -> str:
    bins = [b for b in found["bins"] if b["frames"]]
    frames = [b["frames"] for b in bins]
    said = float(np.average([b["confidence"] for b in bins], weights=frames))
    right = float(np.average([b["right"] for b in bins], weights=frames))
    verdict = "promises too much" if said > right else "promises too little"
    if abs(said - right) < 0.02:
        verdict = "is right in the mean"
    return (
        f"{label} {verdict}: its mean confidence is {said:.2f}, the share of boxes that are right is "
        f"{right:.2f}. At a given confidence the two differ by {found['expected_error']:.2f} "
        "(expected calibration error, 0 is best)."
    )


def _latency(results: Results) -> dict[str, Any] | None:
    """Figure and table of the runs whose times are known."""
    times = {
        label: findings.step_times(results.runs[label])
        for label, found in results.summaries.items()
        if found["fps"] is not None
    }
    if not times:
        return None
    rows = []
    for label, of_run in times.items():
        found = results.summaries[label]
        parts = [
            found[f"{name}_ms_median"] if plots.tells_parts(of_run) else None for name in plots.PART_COLOURS
        ]
        rows.append((label, [*parts, found["latency_ms_median"], found["latency_ms_p95"], found["fps"]]))
    return {"figure": _svg(plots.latency_figure(times), "milliseconds a frame"), "rows": rows}


def _timelines(results: Results, rows: Sequence[SequenceRow]) -> Iterator[tuple[SequenceRow, bool, Markup]]:
    """A row of the table, whether it is unfolded, and its figure."""
    for row in tqdm(rows, desc="report", unit="sequence", disable=None):
        tracks = {label: t[row.name] for label, t in results.tracked.items() if row.name in t}
        figure = plots.timeline_figure(tracks, _colours(results))
        yield row, row.number <= _WORST, _svg(figure, f"{row.name} over time")
