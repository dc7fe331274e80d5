"""The ablation: its grid, and what it says of given scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_samples import small_recipe, write_source

from training.ablate import ARMS, ablate, summarise, trials
from training.recipe import Recipe
from training.train import train

WEIGHTS = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "feature": 0.5, "prediction": 1.0}


def distilling(**changes: object) -> Recipe:
    return small_recipe(method="eatrack", loss_weights=WEIGHTS, **changes)


def test_the_grid_differs_in_branches_and_seeds_alone() -> None:
    grid = trials(distilling(), seeds=2, steps=7)
    assert len({trial.folder for trial in grid}) == len(grid) == 2 * len(ARMS)
    for trial in grid:
        branches = {name: trial.recipe.loss_weights[name] for name in ("feature", "prediction")}
        expected = {"feature": 0.5, "prediction": 1.0}
        assert branches == {name: w if name in ARMS[trial.arm] else 0.0 for name, w in expected.items()}
        plain = replace(trial.recipe, name="small", seed=0, loss_weights=WEIGHTS)
        assert plain == distilling(steps=7, validate_every=7)
    with pytest.raises(ValueError, match="needs 'eatrack'"):
        trials(small_recipe(), 1, 1)


def test_differences_are_paired_by_video() -> None:
    """Both branches gain 0.1 on every video, the seeds differ by 0.02, the store loses 0.01."""
    grid = trials(distilling(), seeds=2, steps=1)
    videos = {f"v{i}": 0.1 * i for i in range(6)}
    gain = {"none": 0.0, "feature": 0.05, "prediction": 0.05, "both": 0.1}
    scores = [
        {
            store: {"held-out": {n: s + gain[t.arm] + 0.02 * t.seed + lost for n, s in videos.items()}}
            for store, lost in (("on", 0.0), ("off", 0.01))
        }
        for t in grid
    ]
    table = summarise(grid, scores)
    both = table["distillation"]["held-out"]["both"]
    assert both["over_none"]["mean"] == pytest.approx(0.1)
    assert both["over_none"]["interval"] == pytest.approx((0.1, 0.1))
    assert both["over_none"]["verdict"] == "better"
    assert both["seed_spread"] == pytest.approx(0.02 / 2**0.5)
    assert both["success_auc"] == pytest.approx(0.25 + 0.1 + 0.01)
    assert table["target_store"]["held-out"]["none"]["mean"] == pytest.approx(-0.01)


def test_a_whole_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained once, scored with and without the store, and not done again."""
    data, runs = write_source(tmp_path / "data" / "squares").parent, tmp_path / "runs"
    train(small_recipe(name="teacher", steps=1, validate_every=1), data, runs / "teacher")
    recipe = distilling()
    recipe = replace(recipe, distillation=replace(recipe.distillation, teacher="teacher/student.pt"))
    ablate(recipe, data, runs, seeds=1, steps=1)
    table = json.loads((runs / "ablation.json").read_text())
    assert set(table["distillation"]["held-out"]) == set(ARMS)
    assert "| both |" in (runs / "ablation.md").read_text()
    assert (runs / "ablation.png").stat().st_size > 1000
    text = (runs / "ablation.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("training.scoring.success_auc", lambda *_: pytest.fail("scored again"))
        ablate(recipe, data, runs, seeds=1, steps=1)
    assert (runs / "ablation.json").read_text() == text
    monkeypatch.setattr("training.scoring.success_auc", lambda *_: 0.25)
    ablate(recipe, data, runs, seeds=1, steps=2)  # other students: their scores are not those of before
    table = json.loads((runs / "ablation.json").read_text())
    assert {arm["success_auc"] for arm in table["distillation"]["held-out"].values()} == {0.25}
