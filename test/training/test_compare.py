"""The comparison of methods: its grid, and a whole one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_samples import small_recipe, write_source

from training.compare import compare, entries
from training.methods.asymtrack import Distillation as Edges
from training.methods.eatrack import Distillation
from training.models.asymtrack import AsymTrackConfig
from training.recipe import Recipe
from training.start import Start
from training.train import train

WEIGHTS = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "feature": 0.5, "prediction": 1.0}
ASYM = AsymTrackConfig(search_size=64, template_size=32, width=32, stage_blocks=(1, 1, 1), head_channels=16)


def distilling(name: str, before: str, **changes: object) -> Recipe:
    teacher = Distillation(teacher="teacher/student.pt")
    start = Start(checkpoint=f"{before}/student.pt")
    values = {"method": "eatrack", "distillation": teacher, "start": start, "loss_weights": WEIGHTS}
    return small_recipe(name=name, **{**values, **changes})


def untaught() -> Recipe:
    return small_recipe(name="asym", method="asymtrack", student=ASYM, loss_weights={"l1": 5.0, "giou": 2.0})


def test_every_student_gets_the_same_steps() -> None:
    """Stages share them; what they take from each other they take from the stages of their own arm."""
    chain = [distilling("first", "teacher", steps=30), distilling("second", "first", steps=10)]
    grid = entries([chain, [untaught()]], steps=80)
    assert [(e.label, e.taught) for e in grid] == [("second", True), ("second", False), ("asym", True)]
    for entry in grid:
        assert sum(stage.steps for stage in entry.stages) == 80
    for entry, ending in ((grid[0], "compared"), (grid[1], "alone")):
        first, second = entry.stages
        assert (first.name, first.steps, first.optimiser.warmup_steps) == (f"first_{ending}", 60, 2)
        assert first.start.checkpoint == second.distillation.teacher == "teacher/student.pt"
        assert second.start.checkpoint == f"first_{ending}/student.pt"
        assert second.loss_weights["feature"] == (0.5 if entry.taught else 0.0)
        assert second.loss_weights["focal"] == 1.0


def test_unequal_batches_are_refused() -> None:
    other = replace(untaught(), optimiser=replace(untaught().optimiser, batch_size=8))
    with pytest.raises(ValueError, match="small has batch_size = 4 and asym 8: equal steps need equal batch"):
        entries([[small_recipe()], [other]], steps=1)


def test_a_teacher_alone_does_not_distil() -> None:
    """AsymTrack's edges without a weight: there is nothing to compare with."""
    recipe = replace(untaught(), distillation=Edges(teacher="teacher/student.pt"))
    assert len(entries([[recipe]], steps=1)) == 1


def test_a_whole_comparison(tmp_path: Path) -> None:
    data, runs = write_source(tmp_path / "data" / "squares").parent, tmp_path / "runs"
    train(small_recipe(name="teacher", steps=1, validate_every=1), data, runs / "teacher")
    chains = [[distilling("eatrack", "teacher")], [untaught()]]
    compare(chains, data, runs, steps=1)
    table = json.loads((runs / "comparison.json").read_text())["held-out"]
    assert set(table) == {"eatrack", "asym"}
    assert table["asym"]["over_alone"] is None and table["eatrack"]["over_alone"]["videos"] == 2
    assert table["eatrack"]["search_ms"] > 0 and table["asym"]["parameters"] < 5e6
    lines = (runs / "comparison.md").read_text().splitlines()
    assert any(line.startswith("| asym |") and "has none" in line for line in lines)
    assert (runs / "comparison.png").stat().st_size > 1000
