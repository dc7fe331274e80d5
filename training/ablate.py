"""The ablations of EATrack: with and without each branch of the distillation and the Target Store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.evaluation.statistics import mean_interval

from .recipe import Recipe
from .scoring import Scores, difference, score_all, signed, table_rows, videos_of
from .train import train

ARMS = {"none": (), "feature": ("feature",), "prediction": ("prediction",), "both": ("feature", "prediction")}
STORE = {"on": TrackerConfig(refresh_template=True), "off": TrackerConfig(refresh_template=False)}


@dataclass(frozen=True)
class Trial:
    """One training of the grid."""

    arm: str
    seed: int
    recipe: Recipe

    @property
    def folder(self) -> str:
        return self.recipe.name


def trials(recipe: Recipe, seeds: int, steps: int) -> list[Trial]:
    """Every arm with every seed, for equally many steps; a branch that an arm lacks has weight 0.

    Raises:
        ValueError: the recipe distils nothing.
    """
    if recipe.method != "eatrack":
        raise ValueError(f"{recipe.name}: method = {recipe.method!r}; an ablation needs 'eatrack'")
    both = ARMS["both"]
    found = []
    for seed in range(seeds):
        for arm, branches in ARMS.items():
            weights = {
                name: 0.0 if name in both and name not in branches else weight
                for name, weight in recipe.loss_weights.items()
            }
            name = f"{recipe.name}_{arm}_{seed}"
            own = replace(
                recipe, name=name, seed=seed, steps=steps, validate_every=steps, loss_weights=weights
            )
            found.append(Trial(arm, seed, own))
    return found


def ablate(
    recipe: Recipe, data: Path, output: Path, seeds: int, steps: int, sequences: Path | None = None
) -> None:
    """Train and score the grid; what is done already in `output` is not done again.

    Writes ablation.json (see `summarise`), ablation.md and ablation.png into `output`. Several processes
    train every student together and share the scoring among them.

    Args:
        recipe: of the method eatrack; its teacher is looked for in `output`, as `train` does.
        data: folder of the data sets.
        output: folder of the runs.
        seeds: trainings an arm.
        steps: of each training.
        sequences: real sequences to score on, beside the held-out videos.
    """
    grid = trials(recipe, seeds, steps)
    for trial in grid:
        train(trial.recipe, data, output / trial.folder)
    scores = score_all([output / t.folder for t in grid], videos_of(recipe, data, sequences), STORE)
    if scores is None:
        return
    table = summarise(grid, scores)
    (output / "ablation.json").write_text(json.dumps(table, indent=1))
    (output / "ablation.md").write_text(_markdown(table))
    draw(table, output / "ablation.png")


def summarise(grid: Sequence[Trial], scores: Sequence[Scores]) -> dict[str, Any]:
    """Means and what can be said of the differences.

    A video's score is the mean over the seeds; the intervals (95 %, bootstrap) are over videos, and
    `seed_spread` is the standard deviation of the mean over the seeds.

    Returns:
        `distillation`: set of videos -> arm -> numbers, with the store, against the arm "none";
        `target_store`: set of videos -> arm -> on less off.
    """
    found: dict[str, Any] = {"distillation": {}, "target_store": {}}
    for kind in scores[0]["on"]:
        by_arm = {
            store: {
                arm: np.array(
                    [list(s[store][kind].values()) for t, s in zip(grid, scores, strict=True) if t.arm == arm]
                )
                for arm in ARMS
            }
            for store in STORE
        }  # (seeds, videos)
        plain = by_arm["on"]["none"].mean(axis=0)
        found["distillation"][kind] = {
            arm: {
                "success_auc": float(values.mean()),
                "interval": mean_interval(values.mean(axis=0)),
                "seed_spread": float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None,
                "over_none": difference(values.mean(axis=0), plain),
            }
            for arm, values in by_arm["on"].items()
        }
        found["target_store"][kind] = {
            arm: difference(by_arm["on"][arm].mean(axis=0), by_arm["off"][arm].mean(axis=0)) for arm in ARMS
        }
    return found


def _markdown(table: Mapping[str, Any]) -> str:
    lines = []
    for kind, arms in table["distillation"].items():
        rows = [
            (
                arm,
                f"{each['success_auc']:.3f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f})",
                "" if each["seed_spread"] is None else f"{each['seed_spread']:.3f}",
                signed(each["over_none"]),
                signed(table["target_store"][kind][arm]),
            )
            for arm, each in arms.items()
        ]
        header = ("distillation", "success AUC", "spread of seeds", "over none", "Target Store on less off")
        lines += [f"### {kind}", "", *table_rows(header, rows), ""]
    return "\n".join(lines)


def draw(table: Mapping[str, Any], output: Path) -> None:
    """The differences from plain training with their intervals, a panel a set of videos."""
    kinds = table["distillation"]
    figure = Figure(figsize=(4.5 * len(kinds), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, (kind, arms) in zip(panels, kinds.items(), strict=True):
        shown = {arm: each["over_none"] for arm, each in arms.items() if arm != "none"}
        shown |= {"store (both)": table["target_store"][kind]["both"]}
        means = np.array([each["mean"] for each in shown.values()])
        ends = np.array([each["interval"] for each in shown.values()]).T
        axes.errorbar(list(shown), means, np.abs(ends - means), fmt="o", capsize=4)
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_title(f"{kind}: success AUC gained", fontsize=10)
        axes.tick_params(labelsize=8)
    figure.savefig(output, dpi=110)
