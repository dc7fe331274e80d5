"""How fast samples are made, how fast a network learns from them, and how much of the device that uses.

On a CPU both are the work of the same cores, so everything runs in one process with one thread, and
seconds are those of CPU time: rates are of one core, and another program's work does not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from accelerate import Accelerator

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table
from training.data.images import TooManyUnreadable
from training.describe import describe
from training.recipe import RECIPES, Recipe, read_recipe
from training.start import Start
from training.train import Run, Samples

_EXAMPLES = """
    python3 benchmarks/training.py
    python3 benchmarks/training.py --recipe training/recipes/eatrack_release.yaml --data DATA --workers 8
    python3 benchmarks/training.py --device cpu --json build/training.json
"""
OBJECTS = 12  # in a picture that is made for this


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--recipe", type=Path, default=RECIPES / "eatrack_small.yaml", help="%(default)s")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of data sets (default: made for this)"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], help="(default: cuda where there is one)")
    parser.add_argument("--workers", type=int, metavar="N", help="for cuda (default: the recipe's)")
    parser.add_argument("--batch", type=int, metavar="N", help="(default: the recipe's)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement (%(default)s)")
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    expected = (ValueError, TooManyUnreadable)
    return command_line.run("training", lambda: _benchmark(parsed), expected)


def _benchmark(arguments: argparse.Namespace) -> int:
    recipe = _tracking_alone(read_recipe(arguments.recipe), arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data
        if data is None:
            data = write_pictures(Path(folder) / "data" / "made").parent
            recipe = replace(recipe, data=replace(recipe.data, sources={}, held_out=()))
        result = measure(recipe, data, Path(folder), arguments)
    rows = [(name.replace("_", " "), _text(value)) for name, value in result.items()]
    print(text_table(("training", "value"), rows))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def _tracking_alone(recipe: Recipe, batch: int | None) -> Recipe:
    """The recipe's student on its own: no teacher, no weights to start from, and no end."""
    if recipe.student.network != "eatrack":
        raise command_line.CommandError(
            f"{recipe.name}: network = {recipe.student.network!r}; 'eatrack' can be measured, of any method"
        )
    optimiser = replace(recipe.optimiser, batch_size=batch or recipe.optimiser.batch_size)
    weights = {name: recipe.loss_weights[name] for name in ("focal", "l1", "giou")}
    return replace(
        recipe,
        method="tracking",
        start=Start(),
        distillation=None,
        loss_weights=weights,
        optimiser=optimiser,
        steps=1_000_000,
    )


def measure(recipe: Recipe, data: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Samples a second of the pipeline, of training on one batch again and again, and of both together."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise command_line.CommandError("there is no CUDA device; --device cpu measures this machine")
    accelerator = Accelerator(cpu=device == "cpu")
    workers = recipe.workers if arguments.workers is None else arguments.workers
    if device == "cpu":
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        workers = 0
    run = Run(recipe, folder / "run", accelerator, None)
    batches = Samples(recipe, run.sizes, data, folder / "index", accelerator, workers).batches(0)
    batch = next(batches)

    def rate(step: Callable[[], object]) -> float:
        return recipe.optimiser.batch_size * _per_second(step, accelerator.device, arguments.seconds)

    pipeline = rate(lambda: next(batches))
    training = rate(lambda: run.advance(batch))
    together = rate(lambda: run.advance(next(batches)))
    half = recipe.mixed_precision == "bf16"
    matrix_tflops = matrix_throughput(accelerator.device, torch.bfloat16 if half else torch.float32)
    cost = describe(recipe)
    macs = cost["macs"] + recipe.student.template_slots * cost["template_macs"]
    training_tflops = training * 3 * 2 * macs / 1e12  # the way back costs twice the way there
    return {
        "recipe": recipe.name,
        "hardware": run.hardware,
        "precision": "bf16" if half else "float32",
        "batch_size": recipe.optimiser.batch_size,
        "workers": workers,
        "pipeline_samples_per_s": pipeline,
        "training_samples_per_s": training,
        "together_samples_per_s": together,
        "pipeline_to_training": pipeline / training,
        "training_tflops": training_tflops,
        "matrix_tflops": matrix_tflops,
        "share_of_matrix_throughput": training_tflops / matrix_tflops,
    }


def _per_second(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls a second, after some that do not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    for _ in range(3):
        step()
    _finish(device)
    began, count = clock(), 0
    while clock() - began < seconds:
        step()
        count += 1
        if count % 10 == 0:
            _finish(device)  # calls return before the device has done its part
    _finish(device)
    return count / (clock() - began)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_throughput(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a product of large square matrices."""
    size = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / 1e12 * _per_second(lambda: left @ right, device, 3.0)


def write_pictures(folder: Path, count: int = 64) -> Path:
    """A data set of soft noise with ellipses, of a common size of photographs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,x,y,w,h,label,track"]
    for number in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), np.uint8)
        picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        for _ in range(OBJECTS):
            w, h = rng.integers(20, 120, 2)
            x, y = rng.integers(0, 640 - w), rng.integers(0, 480 - h)
            middle, half = (int(x + w // 2), int(y + h // 2)), (int(w // 2), int(h // 2))
            cv2.ellipse(picture, middle, half, 0, 0, 360, rng.integers(0, 256, 3).tolist(), -1)
            rows.append(f"{number}.jpg,{x},{y},{w},{h},ellipse,clip{number % 16 if number < 48 else ''}")
        cv2.imwrite(str(folder / f"{number}.jpg"), picture)
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n")
    return folder


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
