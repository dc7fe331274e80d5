"""Several runs, held against each other: which is better, on which sequences, and where targets were lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..metrics import Policy
from ..protocols import by_parent
from ..runs import Run
from ..summary import comparison, summary
from . import findings


class Results:
    """All numbers of some runs, by their labels."""

    def __init__(self, runs: Sequence[Run], policy: Policy = "clean", baseline: str = "") -> None:
        """
        Args:
            baseline: label of the run that the others are compared with; the last of several by default.

        Raises:
            ValueError: there is no run, no such baseline, or a run that cannot be scored.
        """
        if not runs:
            raise ValueError("a report needs at least one run")
        self.runs = _labelled(runs)
        self.labels = list(self.runs)
        if baseline and baseline not in self.runs:
            raise ValueError(f"there is no run {baseline!r} to compare with: {', '.join(self.labels)}")
        self.policy: Policy = policy
        self.baseline = baseline or (self.labels[-1] if len(self.labels) > 1 else "")
        self.summaries = {label: summary(run, policy) for label, run in self.runs.items()}
        # What was tracked of each sequence; of one that was tracked in parts, the first.
        self.tracked = {
            label: {name: parts[0] for name, parts in by_parent(run.sequences).items()}
            for label, run in self.runs.items()
        }

    @cached_property
    def comparisons(self) -> dict[str, dict[str, Any]]:
        """`summary.comparison` of each run that shares a sequence with the baseline."""
        if not self.baseline:
            return {}
        theirs = self.summaries[self.baseline]["per_sequence"]
        return {
            label: comparison(self.runs[label], self.runs[self.baseline], self.policy)
            for label in self.labels
            if label != self.baseline and not theirs.keys().isdisjoint(self.summaries[label]["per_sequence"])
        }

    @cached_property
    def differences(self) -> dict[str, dict[str, float]]:
        """Label -> name of a sequence -> success AUC minus that of the baseline."""
        return {
            label: {name: each["success_auc"] for name, each in found["per_sequence"].items()}
            for label, found in self.comparisons.items()
        }


@dataclass(frozen=True)
class SequenceRow:
    """One sequence in all runs, by their labels."""

    number: int  # in the order of `sequence_rows`, from 1
    name: str
    frames: int
    aucs: dict[str, float | None]  # None where a run does not have it
    lost: dict[str, int | None]  # the first frame of a loss
    subject: str  # the run that the report is about: the first one beside the baseline that has it
    difference: float | None  # of that one to the baseline


def sequence_rows(results: Results) -> list[SequenceRow]:
    """What the first run loses most against the baseline comes first; without one, its lowest scores."""
    names = {name: None for found in results.summaries.values() for name in found["per_sequence"]}
    rows = [_sequence_row(results, name) for name in names]
    rows.sort(key=lambda row: (row.difference is None, row.difference or 0, row.aucs[row.subject], row.name))
    return [replace(row, number=number) for number, row in enumerate(rows, start=1)]


def _sequence_row(results: Results, name: str) -> SequenceRow:
    found = {label: s["per_sequence"].get(name) for label, s in results.summaries.items()}
    aucs = {label: each["success_auc"] if each else None for label, each in found.items()}
    losses = {label: findings.first_loss(results.tracked[label][name]) for label in found if found[label]}
    have_it = [label for label in results.labels if found[label]]
    subject = next((label for label in have_it if label != results.baseline), have_it[0])
    return SequenceRow(
        number=0,
        name=name,
        frames=max(each["frames"] for each in found.values() if each),
        aucs=aucs,
        lost={label: loss.frame if (loss := losses.get(label)) else None for label in found},
        subject=subject,
        difference=results.differences.get(subject, {}).get(name),
    )


def _labelled(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by labels of their own: a second "csrt" becomes "csrt (2)"."""
    labelled: dict[str, Run] = {}
    for run in runs:
        label, number = run.label, 1
        while label in labelled:
            number += 1
            label = f"{run.label} ({number})"
        labelled[label] = replace(run, label=label)
    return labelled
