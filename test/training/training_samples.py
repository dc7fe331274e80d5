"""Small students and data that the training tests make themselves."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import torch

from training.data.sampler import Batch, DataConfig, Sizes
from training.models.eatrack import EATrackConfig, EATrackStudent
from training.models.networks import sizes_of
from training.recipe import Optimiser, Recipe

SMALL = EATrackConfig(
    search_size=64,
    template_size=32,
    stem="conv",
    width=48,
    heads=3,
    stage1_blocks=1,
    stage2_blocks=2,
    head_channels=32,
    drop_path=0.0,
)
SIZES: Sizes = sizes_of(SMALL)


def small_student(config: EATrackConfig = SMALL) -> EATrackStudent:
    """In eval mode, with running statistics and biases that are not those of a fresh network."""
    torch.manual_seed(1)
    student = EATrackStudent(config)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return student.eval()


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random bytes."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def random_batch(count: int = 4) -> Batch:
    rng = np.random.default_rng(3)
    centre, size = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.15, 0.4, (count, 2))
    return Batch(
        pixels(count, 2, 32, 32, 3),
        pixels(count, 64, 64, 3, seed=1),
        torch.from_numpy(np.hstack([centre, size]).astype(np.float32)),
        torch.ones(count, dtype=torch.bool),
        torch.full((count, 2, 4), 0.5),
    )


def write_source(folder: Path, tracks: int = 3, frames: int = 4) -> Path:
    """A source with videos and stills: a red square with a blue rim on grey noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for track in range(tracks):
        for number in range(frames):
            image = rng.integers(90, 150, (160, 200, 3), np.uint8)
            x, y, w, h = 40 + 10 * number, 50 + 5 * track, 30, 24
            image[y : y + h, x : x + w] = (40, 40, 220)
            image[y : y + h, [x, x + w - 1]] = (220, 40, 40)
            name = f"{track}_{number}.png"
            cv2.imwrite(str(folder / name), image)
            rows.append([name, x, y, w, h, "square", f"track{track}" if track else ""])
    with (folder / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "x", "y", "w", "h", "label", "track"], *rows])
    return folder


def small_recipe(**changes: object) -> Recipe:
    values: dict[str, object] = {
        "name": "small",
        "student": SMALL,
        "data": DataConfig(held_out=("squares/track1",)),
        "optimiser": Optimiser(learning_rate=1e-3, batch_size=4, warmup_steps=2, clip_norm=1.0),
        "box_cells": "around",
        "steps": 4,
        "mixed_precision": "no",
        "workers": 0,
        "validate_every": 4,
        "validation_flights": 1,
        "checkpoint_every": 2,
    }
    return Recipe(**{**values, **changes})  # type: ignore[arg-type]
