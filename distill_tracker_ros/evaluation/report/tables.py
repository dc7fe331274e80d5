"""Results as tables of text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Table = tuple[Sequence[str], list[tuple[str, ...]]]  # header, rows of cells

_SCORES = {
    "success_auc": "success AUC",
    "precision_20px": "precision 20 px",
    "norm_precision": "norm. precision",
    "op50": "OP50",
    "op75": "OP75",
}
_TIMES = {"latency_ms_median": "median ms", "fps": "fps"}


def per_tracker(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row a tracker: its means with the interval of the first, under both policies.

    Args:
        summaries: label -> what `summary.summary` gives.
    """
    header = (
        "mean over sequences",
        "frames",
        *_SCORES.values(),
        "95 % interval",
        "compat AUC",
        *_TIMES.values(),
    )
    return header, [
        (
            f"{label} ({found['sequences']})",
            str(found["frames"]),
            *(score(found[key]) for key in _SCORES),
            # Of one sequence it has no width, and says nothing.
            " to ".join(map(score, found["success_auc_interval"])) if found["sequences"] > 1 else "-",
            score(found["compat"]["success_auc"]),
            *(number(found[key]) for key in _TIMES),
        )
        for label, found in summaries.items()
    ]


def per_sequence(found: Mapping[str, Any]) -> Table:
    """A row a sequence."""
    header = ("sequence", "frames", *_SCORES.values(), *_TIMES.values())
    return header, [
        (
            name,
            str(each["frames"]),
            *(score(each[key]) for key in _SCORES),
            *(number(each[key]) for key in _TIMES),
        )
        for name, each in found["per_sequence"].items()
    ]


def differences(found: Mapping[str, Any]) -> Table:
    """A row a score: two runs, and their mean difference with its interval.

    Args:
        found: what `summary.comparison` gives.
    """
    header = ("", found["label"], found["baseline"], "difference", "95 % interval", "verdict")
    return header, [
        (
            name,
            score(each["mean"]),
            score(each["baseline"]),
            f"{each['difference']:+.3f}",
            " to ".join(f"{value:+.3f}" for value in each["interval"]),
            each["verdict"],
        )
        for key, name in _SCORES.items()
        for each in [found["scores"][key]]
    ]


def text_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Columns aligned by blanks: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *cells)) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in (header, rule, *cells)
    )


def score(value: float | None) -> str:
    """Three decimals; a dash for nothing."""
    return "-" if value is None else f"{value:.3f}"


def number(value: float | None) -> str:
    """One decimal; a dash for nothing."""
    return "-" if value is None else f"{value:.1f}"
