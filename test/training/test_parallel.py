"""Several processes train as one does: the same losses, the same statistics, and they stop together."""

from __future__ import annotations

import copy
import csv
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from training_samples import SMALL, small_recipe, small_student, write_source

from training import checkpoint
from training.data.config import DataConfig
from training.interrupt import Stopped
from training.methods import compresstracker
from training.parallel import (
    largest_over_processes,
    mean_over_processes,
    share_batch_norm,
    smallest_over_processes,
)
from training.recipe import Optimiser, Recipe
from training.train import train

RECIPE = small_recipe(
    data=DataConfig(),
    optimiser=Optimiser(learning_rate=1e-4, batch_size=8, warmup_steps=2, clip_norm=1.0),
    steps=5,
    log_every=1,
    checkpoint_every=100,
    validation_flights=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("data") / "squares").parent


def start_two(work: Callable[..., object], *arguments: object) -> list[BaseProcess]:
    """Two processes as torchrun starts them, of one thread each, that do the work."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.train"])  # takes seconds, once
    processes = [context.Process(target=_child, args=(rank, port, work, arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    return processes


def _child(rank: int, port: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        work(*arguments)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    finally:
        dist.destroy_process_group()


def exit_codes(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join(120)
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


def in_two(work: Callable[..., object], *arguments: object) -> None:
    assert exit_codes(start_two(work, *arguments)) == [0, 0]


def losses(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / "log.csv").open() as file:
        rows = [(step, name, float(value)) for step, name, value in csv.reader(file)]
    return {(step, name): value for step, name, value in rows if name in ("focal", "l1", "giou", "total")}


def test_two_processes_give_the_losses_of_one(data: Path, tmp_path: Path) -> None:
    """Over five steps, to 1e-4, at the same global batch; with two workers that make samples, too."""
    train(RECIPE, data, tmp_path / "one" / "small")
    in_two(train, RECIPE, data, tmp_path / "two" / "small", 1)
    one, two = losses(tmp_path / "one" / "small"), losses(tmp_path / "two" / "small")
    assert len(one) == 20 and one["1", "total"] != pytest.approx(one["5", "total"], abs=1e-2)
    assert two == pytest.approx(one, abs=1e-4)
    ours, theirs = (checkpoint.load(tmp_path / name / "small" / "resume.pt") for name in ("one", "two"))
    buffers = [name for name in ours["method"] if "running" in name]
    assert buffers and all(
        torch.allclose(ours["method"][name], theirs["method"][name], rtol=1e-3, atol=1e-4) for name in buffers
    )


def test_two_processes_take_the_same_path_through_student_and_teacher(data: Path, tmp_path: Path) -> None:
    """C-11: CompressTracker gives the losses of one process, with no gradient for some stages."""
    teacher = replace(SMALL, stage1_blocks=0, stage2_blocks=4)
    recipe = replace(
        RECIPE,
        method="compresstracker",
        student=replace(teacher, stage2_blocks=3),
        distillation=compresstracker.Distillation(teacher="teacher/student.pt"),
        loss_weights={"focal": 1.0, "l1": 5.0, "giou": 2.0, "prediction": 1.0, "feature": 0.2},
    )
    for name in ("one", "two"):
        (folder := tmp_path / name / "teacher").mkdir(parents=True)
        checkpoint.save_student(folder, small_student(teacher), teacher, {})
    train(recipe, data, tmp_path / "one" / "small")
    in_two(train, recipe, data, tmp_path / "two" / "small")
    one, two = losses(tmp_path / "one" / "small"), losses(tmp_path / "two" / "small")
    assert len(one) == 20 and two == pytest.approx(one, abs=1e-4)


def test_processes_stop_after_the_same_step(data: Path, tmp_path: Path) -> None:
    """The second of two gets the signal; both save and leave, and the run ends as if nothing had been."""
    endless = replace(RECIPE, steps=100_000)
    folder = tmp_path / "small"
    processes = start_two(train, endless, data, folder)
    deadline = time.monotonic() + 100
    while not (folder / "log.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes[1].pid
    os.kill(processes[1].pid, signal.SIGTERM)
    assert exit_codes(processes) == [128 + signal.SIGTERM] * 2
    assert 0 < checkpoint.load(folder / "resume.pt")["step"] < endless.steps


def refused(recipe: Recipe, data: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="batch_size = 7 must be a multiple of .* processes, 2"):
        train(recipe, data, folder)


def test_a_batch_that_cannot_be_shared_out_is_refused(data: Path, tmp_path: Path) -> None:
    odd = replace(RECIPE, optimiser=replace(RECIPE.optimiser, batch_size=7))
    in_two(refused, odd, data, tmp_path / "small")


def compare_batch_norms() -> None:
    dist.init_process_group("gloo")
    alone = nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4))
    nn.init.uniform_(alone[0].weight)
    images = (3 * torch.randn(8, 6, 10, 10) + 2).to(memory_format=torch.channels_last)
    wanted = torch.randn(8, 4, 8, 8)
    part = slice(dist.get_rank(), None, 2)

    def gradient(network: nn.Module, part: slice, half: bool) -> torch.Tensor:
        x = images[part].clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = network(x).float()
        return torch.autograd.grad(((result - wanted[part]) ** 2).mean(), (x, *network.parameters()))

    for half, limit in ((False, 1e-4), (True, 3e-2)):
        one, two = copy.deepcopy(alone), copy.deepcopy(alone)
        share_batch_norm(two)
        (of_x, *expected), (of_part, *found) = gradient(one, slice(None), half), gradient(two, part, half)
        largest = max(each.abs().max() for each in expected)
        pairs = [(of_x[part], of_part / 2)]  # the mean of a part weighs its images twice
        pairs += [(a, mean_over_processes(b)) for a, b in zip(expected, found, strict=True)]
        for a, b in pairs:
            assert (a - b).abs().max() < limit * largest
        for a, b in zip(one.buffers(), two.buffers(), strict=True):
            assert torch.allclose(a.float(), b.float(), rtol=limit, atol=limit)
        assert torch.allclose(one.eval()(images), two.eval()(images), atol=10 * limit)


def test_batch_norm_over_two_processes_is_that_over_one() -> None:
    """Gradients, running statistics and answers; in bfloat16 as far as its digits go."""
    in_two(compare_batch_norms)


def agree_on_numbers() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    assert mean_over_processes(torch.tensor([2.0 * rank, 3.0])).tolist() == [1.0, 3.0]
    assert smallest_over_processes(torch.tensor([rank, -rank])).tolist() == [0, -1]
    assert largest_over_processes(15 * rank) == 15


def test_numbers_are_agreed_on() -> None:
    in_two(agree_on_numbers)


def test_one_process_agrees_with_itself() -> None:
    value = torch.tensor([1.0, 2.0])
    assert mean_over_processes(value) is value and smallest_over_processes(value) is value
    assert largest_over_processes(7) == 7
    network = nn.Sequential(nn.BatchNorm2d(4))
    share_batch_norm(network)
    assert type(network[0]) is nn.BatchNorm2d
