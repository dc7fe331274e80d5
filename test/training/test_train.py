"""The loop: it resumes to the same bits, leaves in good order, and stops where a number is not finite."""

from __future__ import annotations

import csv
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_samples import SMALL, small_recipe, write_source

from training import checkpoint
from training.__main__ import main
from training.data.config import DataConfig
from training.interrupt import Stopped
from training.models.eatrack import EATrackStudent
from training.recipe import Optimiser, Recipe, write_recipe
from training.schedule import learning_rate_factor
from training.start import Start
from training.train import Run, build_optimiser, train, weighted_sum

DROPPING = replace(SMALL, drop_path=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("data") / "squares").parent


def quick_recipe(**changes: Any) -> Recipe:
    """Without validation videos, and with a network that draws random numbers of its own."""
    values = {"student": DROPPING, "data": DataConfig(), "validation_flights": 0, "log_every": 1}
    return small_recipe(**{**values, **changes})


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Let something happen in the midst of a step (from 0) of the next run."""
    advance = Run.advance

    def acting(run: Run, batch: Any) -> dict[str, torch.Tensor]:
        if run.step == step:
            monkeypatch.setattr(Run, "advance", advance)
            act(run)
        return advance(run, batch)

    monkeypatch.setattr(Run, "advance", acting)


def send(number: int) -> Any:
    return lambda run: os.kill(os.getpid(), number)


def left_behind(folder: Path) -> tuple[dict[str, Any], list[list[str]]]:
    """The last checkpoint, and the log without the pace."""
    state = checkpoint.load(folder / checkpoint.RESUME_FILE)
    del state["seconds"]
    with (folder / "log.csv").open() as file:
        return state, [row for row in csv.reader(file) if row[1] != "samples_per_s"]


def assert_same_bits(one: Any, other: Any, name: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_same_bits(one[key], other[key], f"{name}/{key}")
    elif isinstance(one, (list, tuple)):
        assert_same_bits(dict(enumerate(one)), dict(enumerate(other)), name)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    else:
        assert one == other, name


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has interrupted."""
    return train(quick_recipe(), data, tmp_path_factory.mktemp("whole") / "small").parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Weights, averages, moments of the optimiser and the log agree bit for bit, with drop-path."""
    recipe, folder = quick_recipe(), tmp_path / "small"
    handler = signal.getsignal(number)
    at_step(monkeypatch, 0, send(number))
    with pytest.raises(Stopped, match="small is saved at step 1 of 4") as stopped:
        train(recipe, data, folder)
    assert stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    at_step(monkeypatch, 2, send(number))
    with pytest.raises(Stopped, match="small is saved at step 3 of 4"):
        train(recipe, data, folder)
    assert train(recipe, data, folder) == folder / "student.pt"
    assert_same_bits(left_behind(folder), left_behind(whole))
    ours, theirs = (checkpoint.load(run / "student.pt") for run in (folder, whole))
    assert_same_bits(ours["weights"], theirs["weights"])


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of what was done after it remains."""

    def power_cut(run: Run) -> None:
        raise ConnectionResetError

    at_step(monkeypatch, 3, power_cut)
    with pytest.raises(ConnectionResetError):
        train(quick_recipe(), data, tmp_path / "small")
    assert checkpoint.load(tmp_path / "small" / "resume.pt")["step"] == 2
    train(quick_recipe(), data, tmp_path / "small")
    assert_same_bits(left_behind(tmp_path / "small"), left_behind(whole))


def test_the_second_ctrl_c_leaves_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(run: Run) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_step(monkeypatch, 1, twice)
    with pytest.raises(KeyboardInterrupt):
        train(quick_recipe(), data, tmp_path / "small")
    assert not (tmp_path / "small" / "resume.pt").exists()


def test_a_run_whose_time_is_over_leaves_a_student(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="small is saved at step 1 of 4") as stopped:
        train(quick_recipe(), data, tmp_path / "small", deadline=time.monotonic())
    assert stopped.value.exit_code == 0
    _, about = checkpoint.load_student(tmp_path / "small" / "student.pt")
    assert about["steps"] == 1


def test_a_run_leaves_a_log_a_recipe_and_its_best_student(data: Path, tmp_path: Path) -> None:
    recipe = small_recipe(steps=2, log_every=5, validate_every=1)
    _, about = checkpoint.load_student(train(recipe, data, tmp_path / "small"))
    assert about["samples"] == 8 and about["seed"] == 0 and about["recipe"] == "small"
    assert about["duration_s"] >= 0 and "CPU" in about["hardware"]
    with (tmp_path / "small" / "log.csv").open() as file:
        rows = [(int(step), name, float(value)) for step, name, value in csv.reader(file)]
    scores = {step: value for step, name, value in rows if name == "validation_success_auc"}
    assert list(scores) == [1, 2]
    assert about["validation_success_auc"] == pytest.approx(scores[2], abs=1e-4)
    best = checkpoint.load(tmp_path / "small" / "best.pt")["about"]
    assert best["validation_success_auc"] == pytest.approx(max(scores.values()), abs=1e-4)
    assert {name for _, name, _ in rows} == {
        *("focal", "l1", "giou", "total", "gradient_norm"),
        *("learning_rate", "samples_per_s", "validation_success_auc"),
    }
    first = {name: value for step, name, value in rows if step == 1}
    assert first["total"] == pytest.approx(first["focal"] + 5 * first["l1"] + 2 * first["giou"], rel=1e-4)
    assert first["learning_rate"] == 5e-4  # half of a warm-up of two steps
    assert (tmp_path / "small" / "recipe.yaml").read_text().startswith("name: small")


class Poisoned(nn.Module):
    """The losses, one of them divided by zero from a step on."""

    def __init__(self, method: nn.Module, step: float) -> None:
        super().__init__()
        self.method, self.step = method, step

    def forward(self, batch: Any, progress: float) -> dict[str, torch.Tensor]:
        losses = self.method(batch, progress)
        if progress >= self.step:
            losses["giou"] = losses["giou"] / 0
        return losses


def test_a_loss_that_is_not_finite_stops_by_name_and_keeps_its_batch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are looked at every third step only; the batch is that of the first bad step all the same."""
    recipe, folder, batches = quick_recipe(steps=6, log_every=3, checkpoint_every=6), tmp_path / "small", []
    train(replace(recipe, steps=3), data, folder)
    before = (folder / "resume.pt").read_bytes()
    advance = Run.advance

    def poisoned(run: Run, batch: Any) -> dict[str, torch.Tensor]:
        if not isinstance(run._method, Poisoned):
            run._method = Poisoned(run._method, 4 / 6)
        batches.append(batch)
        return advance(run, batch)

    monkeypatch.setattr(Run, "advance", poisoned)
    with pytest.raises(
        FloatingPointError, match=r"giou is not finite at step 4; its batch is in .*bad_batch.pt"
    ):
        train(recipe, data, folder)
    bad = checkpoint.load(folder / "bad_batch.pt")
    assert (bad["step"], bad["name"]) == (4, "giou")
    assert len(batches) == 3 and torch.equal(bad["search"], batches[1].search)
    assert bad["search"].dtype == torch.uint8
    assert (folder / "resume.pt").read_bytes() == before


def test_recipes_run_one_after_the_other_and_only_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second starts from what the first has made."""
    first = quick_recipe(name="first", steps=2)
    second = quick_recipe(name="second", steps=1, start=Start(checkpoint="first/student.pt"))
    for recipe in (first, second):
        write_recipe(recipe, tmp_path / f"{recipe.name}.yaml")
    runs = tmp_path / "runs"
    command = ["train", "first.yaml", "second.yaml", "--data", str(data), "--output", str(runs)]
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    _, about = checkpoint.load_student(runs / "second" / "student.pt")
    assert about["start"] == "first/student.pt"
    said = capsys.readouterr().out
    assert f"first is done: {runs}/first/student.pt" in said and "training export" in said
    monkeypatch.setattr(Run, "__init__", None)  # nothing is left to run
    assert main(command) == 0
    assert (
        main(["train", "second.yaml", "first.yaml", "--data", str(data), "--output", str(tmp_path / "x")])
        == 1
    )
    assert "first/student.pt, which is not there" in capsys.readouterr().err


def test_a_run_of_another_architecture_is_not_resumed(data: Path, tmp_path: Path) -> None:
    train(quick_recipe(steps=1), data, tmp_path / "small")
    wider = quick_recipe(student=replace(DROPPING, width=96))
    with pytest.raises(
        ValueError, match=r"small is of another.*\n.*template_positions: \[1, 4, 48\] in the file"
    ):
        train(wider, data, tmp_path / "small")


def test_a_resumed_run_takes_the_rates_of_its_recipe(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that diverged goes on with a lower rate."""
    train(quick_recipe(steps=1), data, tmp_path / "small")
    slower = quick_recipe(optimiser=replace(quick_recipe().optimiser, learning_rate=1e-5, weight_decay=0.5))
    groups: list[dict[str, Any]] = []
    at_step(monkeypatch, 1, lambda run: groups.extend(run._optimiser.param_groups))
    train(slower, data, tmp_path / "small")
    assert {group["full_lr"] for group in groups} == {1e-5}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "step"])
def test_the_learning_rate_warms_up(schedule: str) -> None:
    factors = [learning_rate_factor(step, 10_000, schedule, warmup_steps=10) for step in range(12)]
    assert factors[0] == pytest.approx(0.1) and factors[4] == pytest.approx(0.5)
    assert factors[9:] == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)


def test_schedules_end_as_they_say() -> None:
    def factors(schedule: str) -> list[float]:
        return [learning_rate_factor(step, 100, schedule, decay_from=0.5) for step in range(100)]

    linear, cosine, steps = factors("linear"), factors("cosine"), factors("step")
    assert set(linear[:51]) == {1.0}
    assert linear[75] == pytest.approx(0.5) and linear[99] == pytest.approx(0.02)
    assert cosine[50] == pytest.approx(0.5) and cosine[25] == pytest.approx((1 + 0.5**0.5) / 2)
    assert cosine[99] < 3e-4 and cosine == sorted(cosine, reverse=True)
    assert set(steps[:51]) == {1.0} and set(steps[51:]) == {0.1}


def test_every_parameter_is_trained_once() -> None:
    method = nn.ModuleDict({"student": EATrackStudent(SMALL), "projection": nn.Linear(4, 4)})
    optimiser = build_optimiser(method, Optimiser(learning_rate=1.0, backbone_factor=0.1, weight_decay=0.3))
    grouped = [p for group in optimiser.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, method.parameters()))
    of = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    student, projection = method["student"], method["projection"]
    assert of[id(student.head.score[0].weight)]["full_lr"] == of[id(projection.weight)]["full_lr"] == 1.0
    assert of[id(student.norm.weight)]["full_lr"] == pytest.approx(0.1)
    assert of[id(projection.weight)]["weight_decay"] == 0.3
    for plain in (student.norm.weight, student.search_positions, projection.bias):
        assert of[id(plain)]["weight_decay"] == 0.0


def test_losses_are_weighed_by_name() -> None:
    losses = {"focal": torch.tensor(2.0), "l1": torch.tensor(3.0)}
    assert weighted_sum(losses, {"focal": 1.0, "l1": 5.0, "feature": 0.0}) == 17.0
    for weights in ({"focal": 1.0}, {"focal": 1.0, "l1": 5.0, "featur": 1.0}):
        with pytest.raises(ValueError, match="disagree on '(l1|featur)'; the losses are focal, l1"):
            weighted_sum(losses, weights)


def test_an_unknown_held_out_track_is_named(data: Path, tmp_path: Path) -> None:
    recipe = quick_recipe(data=DataConfig(held_out=("squares/nobody",)))
    with pytest.raises(ValueError, match="held_out names 'squares/nobody'"):
        train(recipe, data, tmp_path / "small")


def test_commands_end_with_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["describe", str(tmp_path / "no.yaml")]) == 1
    assert capsys.readouterr().err.startswith("error: recipe ")
    assert main(["export", str(tmp_path / "no.pt"), "--name", "x", "--output", str(tmp_path)]) == 1
    assert "no.pt does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert capsys.readouterr().out.split("\n\n")[1].startswith("examples:\n  python -m training describe")


def test_show_batch_draws_a_picture(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text("name: small\nstudent: {search_size: 64, template_size: 32, width: 48, heads: 3}\n")
    picture = tmp_path / "batch.png"
    assert main(["show-batch", str(recipe), "--data", str(data), "--output", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
