"""The ablations of EATrack: with and without each branch of the distillation and the Target Store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tqdm import tqdm

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.evaluation.benchmarks import find_sequences
from distill_tracker_ros.evaluation.statistics import mean_interval, paired

from .checkpoint import STUDENT_FILE, load_student
from .recipe import Recipe
from .spec import model_spec
from .torch_engine import TorchEngine
from .train import load_footage, train
from .validate import Video, success_auc, validation_videos

ARMS = {"none": (), "feature": ("feature",), "prediction": ("prediction",), "both": ("feature", "prediction")}
STORE = {"on": TrackerConfig(refresh_template=True), "off": TrackerConfig(refresh_template=False)}
SCORES_FILE = "scores.json"

Scores = Mapping[
    str, Mapping[str, Mapping[str, float]]
]  # Target Store -> set of videos -> video -> success AUC


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
    processes = PartialState()
    footage, images = load_footage(recipe, data)
    videos = {"held-out": validation_videos(recipe, footage, images)}
    if sequences:
        videos["sequences"] = [Video.of_sequence(sequence) for sequence in find_sequences(sequences)]
    own = grid[processes.process_index :: processes.num_processes]
    for trial in tqdm(own, desc="scoring", unit="student", disable=not processes.is_main_process):
        _scored(output / trial.folder, videos)
    processes.wait_for_everyone()
    if not processes.is_main_process:
        return
    scores = [_scored(output / trial.folder, videos) for trial in grid]  # all are known by now
    table = summarise(grid, scores)
    (output / "ablation.json").write_text(json.dumps(table, indent=1))
    (output / "ablation.md").write_text(_markdown(table))
    draw(table, output / "ablation.png")


def _scored(folder: Path, videos: Mapping[str, Sequence[Video]]) -> Scores:
    """The success AUC of a run's student on every video, with and without the Target Store."""
    student, about = load_student(folder / STUDENT_FILE)
    path = folder / SCORES_FILE
    scored = {
        "steps": about["steps"],
        "videos": {name: [video.name for video in each] for name, each in videos.items()},
    }
    if path.is_file() and (known := json.loads(path.read_text()))["scored"] == scored:
        found: Scores = known["scores"]
        return found
    engine = TorchEngine(student, model_spec(student.config, folder.name))
    scores = {
        store: {
            name: {video.name: success_auc(engine, video, config) for video in each}
            for name, each in videos.items()
        }
        for store, config in STORE.items()
    }
    path.write_text(json.dumps({"scored": scored, "scores": scores}, indent=1))
    return scores


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
                "over_none": _difference(values.mean(axis=0), plain),
            }
            for arm, values in by_arm["on"].items()
        }
        found["target_store"][kind] = {
            arm: _difference(by_arm["on"][arm].mean(axis=0), by_arm["off"][arm].mean(axis=0)) for arm in ARMS
        }
    return found


def _difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    found = paired(ours, theirs)
    return {
        "mean": found.mean,
        "interval": found.interval,
        "videos": found.sequences,
        "verdict": found.verdict,
    }


def _markdown(table: Mapping[str, Any]) -> str:
    lines = []
    for kind, arms in table["distillation"].items():
        rows = [
            (
                arm,
                f"{each['success_auc']:.3f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f})",
                "" if each["seed_spread"] is None else f"{each['seed_spread']:.3f}",
                _signed(each["over_none"]),
                _signed(table["target_store"][kind][arm]),
            )
            for arm, each in arms.items()
        ]
        header = ("distillation", "success AUC", "spread of seeds", "over none", "Target Store on less off")
        lines += [f"### {kind}", "", *_rows(header, rows), ""]
    return "\n".join(lines)


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _signed(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{difference['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


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
