"""Methods side by side: equally long training with and without the distillation, accuracy and time."""

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
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.onnx_engine import OnnxOptions
from distill_tracker_ros.runtime.timing import median_times_ms

from .checkpoint import STUDENT_FILE
from .describe import describe
from .export import export_bundle
from .methods import method_module
from .recipe import Recipe
from .scoring import Scores, difference, score_all, signed, table_rows, videos_of
from .train import train

TRACKERS = {"default": TrackerConfig()}


@dataclass(frozen=True)
class Entry:
    """A student of the comparison: the stages that train it, in order."""

    label: str
    taught: bool
    stages: tuple[Recipe, ...]

    @property
    def folder(self) -> str:
        return self.stages[-1].name


def entries(chains: Sequence[Sequence[Recipe]], steps: int) -> list[Entry]:
    """Every chain twice: as it is, and with weight 0 for all that distils; methods without such losses once.

    The stages of a chain share the steps, in proportion to their own; warm-ups shrink with them. Runs are
    named after their recipes, with an ending.

    Raises:
        ValueError: the batch sizes of the recipes differ.
    """
    sizes = {recipe.optimiser.batch_size: recipe.name for chain in chains for recipe in chain}
    if len(sizes) > 1:
        (one, a), (other, b), *_ = sizes.items()
        raise ValueError(f"{a} has batch_size = {one} and {b} {other}: equal steps need equal batches")
    found = []
    for chain in chains:
        for taught in (True, False):
            if taught or any(_distils(recipe) for recipe in chain):
                found.append(Entry(chain[-1].name, taught, _stages(chain, steps, taught)))
    return found


def compare(
    chains: Sequence[Sequence[Recipe]],
    data: Path,
    output: Path,
    steps: int,
    sequences: Path | None = None,
) -> None:
    """Train, score and time the students; what is done already in `output` is not done again.

    Writes comparison.json (see `summarise`), comparison.md and comparison.png into `output`. Several
    processes train every student together and share the scoring; the first one measures the time, on one
    thread.

    Args:
        chains: the stages of each student. What they begin from and their teachers are stages before them, or
            are there in `output`.
        data: folder of the data sets.
        output: folder of the runs.
        steps: of all stages of a student together.
        sequences: real sequences to score on, beside the held-out videos of the first recipe.
    """
    grid = entries(chains, steps)
    for entry in grid:
        for stage in entry.stages:
            train(stage, data, output / stage.name)
    videos = videos_of(grid[0].stages[-1], data, sequences)
    scores = score_all([output / entry.folder for entry in grid], videos, TRACKERS)
    if scores is None:
        return
    table = summarise(grid, scores, _times(grid, output))
    (output / "comparison.json").write_text(json.dumps(table, indent=1))
    (output / "comparison.md").write_text(_markdown(table))
    draw(table, output / "comparison.png")


def summarise(
    grid: Sequence[Entry], scores: Sequence[Scores], times_ms: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Set of videos -> student -> success AUC, its interval, the gain by distillation, cost and time."""
    found: dict[str, Any] = {}
    for kind in scores[0]["default"]:
        values = {
            (entry.label, entry.taught): list(each["default"][kind].values())
            for entry, each in zip(grid, scores, strict=True)
        }
        found[kind] = {}
        for entry in grid:
            if not entry.taught:
                continue
            own, alone = values[entry.label, True], values.get((entry.label, False))
            cost = describe(entry.stages[-1])
            found[kind][entry.label] = {
                "success_auc": float(np.mean(own)),
                "interval": mean_interval(own),
                "alone": None if alone is None else float(np.mean(alone)),
                "over_alone": None if alone is None else difference(own, alone),
                "parameters": cost["parameters"],
                "macs": cost["macs"],
                **times_ms[entry.label],
            }
    return found


def _stages(chain: Sequence[Recipe], steps: int, taught: bool) -> tuple[Recipe, ...]:
    names = {recipe.name: f"{recipe.name}_{'compared' if taught else 'alone'}" for recipe in chain}
    share = steps / sum(recipe.steps for recipe in chain)

    def moved(file: str) -> str:
        """A file of a stage of this chain, where that stage is run now."""
        folder, _, name = file.partition("/")
        return f"{names[folder]}/{name}" if folder in names else file

    stages = []
    for recipe in chain:
        own = max(1, round(share * recipe.steps))
        o = recipe.optimiser
        off = () if taught else method_module(recipe.method).BRANCHES
        stages.append(
            replace(
                recipe,
                name=names[recipe.name],
                steps=own,
                validate_every=own,
                optimiser=replace(o, warmup_steps=min(o.warmup_steps, own // 10)),
                start=replace(recipe.start, checkpoint=moved(recipe.start.checkpoint)),
                distillation=replace(recipe.distillation, teacher=moved(recipe.distillation.teacher)),
                loss_weights={
                    name: 0.0 if name in off else weight for name, weight in recipe.loss_weights.items()
                },
            )
        )
    return tuple(stages)


def _distils(recipe: Recipe) -> bool:
    branches = method_module(recipe.method).BRANCHES
    return bool(recipe.distillation.teacher) and any(recipe.loss_weights.get(name) for name in branches)


def _times(grid: Sequence[Entry], output: Path) -> dict[str, dict[str, float]]:
    engines = {}
    for entry in grid:
        if entry.taught:
            run = output / entry.folder
            bundle = export_bundle(run / STUDENT_FILE, entry.label, run / "bundle")
            engines[entry.label] = load_engine(bundle, options=OnnxOptions(intra_op_threads=1))
    found = median_times_ms(engines)
    for engine in engines.values():
        engine.close()
    return found


def _markdown(table: Mapping[str, Any]) -> str:
    lines = []
    header = (
        "student",
        "success AUC",
        "distillation gains",
        "parameters",
        "MACs",
        "search",
        "search and template",
    )
    for kind, students in table.items():
        rows = [
            (
                label,
                f"{each['success_auc']:.3f} ({each['interval'][0]:.3f} to {each['interval'][1]:.3f})",
                signed(each["over_alone"]) if each["over_alone"] else "has none",
                f"{each['parameters'] / 1e6:.2f} M",
                f"{each['macs'] / 1e9:.3f} G",
                f"{each['search_ms']:.1f} ms",
                f"{each['search_ms'] + each['template_ms']:.1f} ms",
            )
            for label, each in students.items()
        ]
        lines += [f"### {kind}", "", *table_rows(header, rows), ""]
    return "\n".join(lines)


def draw(table: Mapping[str, Any], output: Path) -> None:
    """Accuracy over the time of a search, a panel a set of videos; hollow: without distillation."""
    figure = Figure(figsize=(5 * len(table), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(table), squeeze=False)[0]
    for axes, (kind, students) in zip(panels, table.items(), strict=True):
        for i, (label, each) in enumerate(students.items()):
            low, high = each["interval"]
            x, y = each["search_ms"], each["success_auc"]
            axes.errorbar(x, y, [[y - low], [high - y]], fmt="o", color=f"C{i}", label=label)
            if each["alone"] is not None:
                axes.plot(x, each["alone"], "o", color=f"C{i}", fillstyle="none")
        axes.set(title=kind, xlabel="ms a search region, one thread", ylabel="success AUC")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(students))
    figure.savefig(output, dpi=110)
