"""A picture of training samples: templates, search region, and the boxes in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .data.draws import Draws
from .data.making import make_batch
from .data.patches import Batch
from .data.sampler import Sampler
from .models.networks import sizes_of
from .recipe import Recipe
from .train import load_footage

ROWS, COLUMNS = 8, 4
BOX, ABSENT = (0, 255, 0), (255, 0, 0)  # RGB


def show_batch(recipe: Recipe, data: Path, output: Path, part: str | None = None) -> None:
    """Write ROWS x COLUMNS samples as one image, with boxes, or crossed out where the target is absent.

    Args:
        part: of the sample making, to be shown alone and strongly (see DataConfig.alone).

    Raises:
        ValueError: there is no such part, or `output` does not end as a picture does.
        OSError: the picture cannot be written.
    """
    if not cv2.haveImageWriter(str(output)):
        raise ValueError(f"{output} cannot be written: the ending must name an image format, as .png")
    if part is not None:
        recipe = replace(recipe, data=recipe.data.alone(part))
    sizes = sizes_of(recipe.student)
    sampler = Sampler(*load_footage(recipe, data), recipe.data, sizes, recipe.seed)
    patches = sampler[range(ROWS * COLUMNS)]
    batch = make_batch(patches, recipe.data, sizes, Draws(recipe.seed, patches.numbers))
    if not cv2.imwrite(str(output), cv2.cvtColor(sheet(batch), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{output} cannot be written: is there such a folder, and room?")


def sheet(batch: Batch) -> NDArray[np.uint8]:
    """All samples of a batch, COLUMNS in a row."""
    tiles = [_tile(Batch(*(part[i : i + 1] for part in batch))) for i in range(len(batch.box))]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    return np.vstack(rows)


def _tile(sample: Batch) -> NDArray[np.uint8]:
    """The templates below each other, beside them the search region."""
    search = _boxed(sample.search[0].numpy(), sample.box[0].numpy(), bool(sample.present))
    each = zip(sample.templates[0].numpy(), sample.template_boxes[0].numpy(), strict=True)
    column = np.vstack([_boxed(template, box, True) for template, box in each])
    height = max(len(search), len(column))
    search, column = (np.pad(part, ((0, height - len(part)), (0, 4), (0, 0))) for part in (search, column))
    return np.pad(np.hstack([column, search]), ((2, 2), (2, 2), (0, 0)))


def _boxed(pixels: NDArray[np.uint8], box_cxcywh: NDArray[np.float32], present: bool) -> NDArray[np.uint8]:
    picture, side = np.ascontiguousarray(pixels).copy(), pixels.shape[0]
    if not present:
        cv2.line(picture, (0, 0), (side - 1, side - 1), ABSENT)
        cv2.line(picture, (0, side - 1), (side - 1, 0), ABSENT)
        return picture
    cx, cy, w, h = box_cxcywh * side
    left, top, right, bottom = np.rint([cx - w / 2, cy - h / 2, cx + w / 2 - 1, cy + h / 2 - 1]).astype(int)
    cv2.rectangle(picture, (left, top), (right, bottom), BOX)
    return picture
