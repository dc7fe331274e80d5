"""The loop: it learns, it resumes to the same numbers, and it stops where a loss is not finite."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_samples import SMALL, random_batch, small_recipe, write_source

from training import checkpoint
from training.__main__ import main
from training.losses import target_cell
from training.methods.tracking import Tracking
from training.models.eatrack import EATrackStudent
from training.models.layers import normalise
from training.recipe import Optimiser
from training.train import build_optimiser, learning_rate_factor, train, weighted_sum

WEIGHTS = {"focal": 1.0, "l1": 5.0, "giou": 2.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("data") / "squares").parent


def test_one_batch_can_be_learnt_by_heart() -> None:
    """Every term of the loss falls to less than a third on four samples of noise, each peak in its cell."""
    batch, student = random_batch(4), EATrackStudent(SMALL)
    method = Tracking(student, "around")
    optimiser = torch.optim.AdamW(student.parameters(), 2e-3)
    first = {name: value.item() for name, value in method(batch, 0.0).items()}
    for _ in range(150):
        optimiser.zero_grad()
        weighted_sum(method(batch, 0.0), WEIGHTS).backward()
        optimiser.step()
    for name, value in method(batch, 0.0).items():
        assert value.item() < first[name] / 3, name
    score = student(normalise(batch.templates), normalise(batch.search)).maps.score
    columns, rows = target_cell(batch.box, SMALL.grid)
    assert torch.equal(score.flatten(1).argmax(1), rows * SMALL.grid + columns)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(data: Path, tmp_path: Path) -> None:
    """Same samples, same optimiser, same averages: the weights agree bit for bit."""
    recipe = small_recipe(steps=4)
    steady = replace(recipe.optimiser, decay_from=0.99)  # the shorter schedule has the same rates
    recipe = replace(recipe, optimiser=steady)
    whole, _ = checkpoint.load_student(train(recipe, data, tmp_path / "whole"))
    train(replace(recipe, steps=2), data, tmp_path / "parts")
    resumed, about = checkpoint.load_student(train(recipe, data, tmp_path / "parts"))
    assert about["steps"] == 4
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_run_leaves_a_log_a_recipe_and_a_score(data: Path, tmp_path: Path) -> None:
    _, about = checkpoint.load_student(train(small_recipe(), data, tmp_path))
    assert about["samples"] == 16 and 0 <= about["validation_success_auc"] <= 1
    assert (tmp_path / "recipe.yaml").read_text().startswith("name: small")
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.reader(file))
    assert {name for _, name, _ in rows} == {"focal", "l1", "giou", "validation_success_auc"}
    assert [int(step) for step, name, _ in rows if name == "focal"] == [2, 4]


def test_the_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    optimiser = Optimiser(warmup_steps=10, decay_from=0.5)
    factors = [learning_rate_factor(step, 100, optimiser) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert set(factors[10:51]) == {1.0}
    assert factors[75] == pytest.approx(0.5) and factors[99] == pytest.approx(0.02)


def test_every_parameter_is_trained_once() -> None:
    student = EATrackStudent(SMALL)
    optimiser = build_optimiser(student, Optimiser(learning_rate=1.0, backbone_factor=0.1))
    grouped = [p for group in optimiser.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, student.parameters()))
    rates = {id(p): group["base_lr"] for group in optimiser.param_groups for p in group["params"]}
    assert rates[id(student.head.score[0].weight)] == 1.0
    assert rates[id(student.norm.weight)] == pytest.approx(0.1)


def test_a_loss_that_is_not_finite_stops_the_run_by_name() -> None:
    with pytest.raises(FloatingPointError, match="'giou' is nan"):
        weighted_sum({"focal": torch.tensor(1.0), "giou": torch.tensor(float("nan"))}, WEIGHTS)


def test_an_unknown_held_out_track_is_named(data: Path, tmp_path: Path) -> None:
    recipe = small_recipe()
    recipe = replace(recipe, data=replace(recipe.data, held_out=("squares/nobody",)))
    with pytest.raises(ValueError, match="held_out names 'squares/nobody'"):
        train(recipe, data, tmp_path)


def test_commands_end_with_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["describe", str(tmp_path / "no.yaml")]) == 1
    assert capsys.readouterr().err.startswith("error: recipe ")
    assert main(["export", str(tmp_path / "no.pt"), "--name", "x", "--output", str(tmp_path)]) == 1
    assert "no.pt does not exist" in capsys.readouterr().err


def test_show_batch_draws_a_picture(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("name: small\nstudent: {search_size: 64, template_size: 32, width: 48, heads: 3}\n")
    picture = tmp_path / "batch.png"
    assert main(["show-batch", str(recipe), "--data", str(data), "--output", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
