"""A picture of training samples: templates, search region, and the box in it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .data.augment import augment
from .data.sampler import Batch, Sampler
from .recipe import Recipe
from .train import load_footage, sizes_of

ROWS, COLUMNS = 8, 4


def show_batch(recipe: Recipe, data: Path, output: Path) -> None:
    """Write ROWS x COLUMNS augmented samples as one image; an absent target has no box."""
    footage, images = load_footage(recipe, data)
    sampler = Sampler(footage, images, recipe.data, sizes_of(recipe.student), recipe.seed, ROWS * COLUMNS)
    batch = Batch(
        *(torch.stack(parts) for parts in zip(*(sampler[i] for i in range(len(sampler))), strict=True))
    )
    batch = augment(batch, torch.Generator().manual_seed(recipe.seed))
    tiles = [_draw(*(part.numpy() for part in sample)) for sample in zip(*batch, strict=True)]
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    if not cv2.imwrite(str(output), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise ValueError(f"{output} cannot be written: the ending must name an image format, as .png")


def _draw(
    templates: NDArray[np.uint8],
    search: NDArray[np.uint8],
    box_cxcywh: NDArray[np.float32],
    present: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    side = search.shape[0]
    picture = search.copy()
    if present:
        cx, cy, w, h = box_cxcywh * side
        corners = np.rint([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).astype(int)
        cv2.rectangle(picture, tuple(corners[:2]), tuple(corners[2:]), (0, 255, 0), 1)
    column = np.vstack(list(templates))
    column = cv2.copyMakeBorder(column, 0, max(0, side - len(column)), 0, 4, cv2.BORDER_CONSTANT)[:side]
    return cv2.copyMakeBorder(np.hstack([column, picture]), 2, 2, 2, 6, cv2.BORDER_CONSTANT)
