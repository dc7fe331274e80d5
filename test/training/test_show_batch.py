"""The contact sheet: every sample with its boxes, absent ones crossed out, and parts alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_samples import random_batch, small_recipe, write_source

from training.show_batch import ABSENT, BOX, COLUMNS, ROWS, sheet, show_batch


def _count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(-1).sum())


def test_boxes_are_drawn_and_absent_targets_crossed_out() -> None:
    batch = random_batch(6)
    picture = sheet(batch)
    tile_height, tile_width = 64 + 4, 32 + 64 + 2 * 4 + 4
    assert picture.shape == (-(-6 // COLUMNS) * tile_height, COLUMNS * tile_width, 3)
    assert _count(picture, BOX) > 6 * 4 * 5 and not _count(picture, ABSENT)
    absent = sheet(batch._replace(present=torch.zeros(6, dtype=torch.bool)))
    assert _count(absent, ABSENT) > 6 * 2 * 60 and _count(absent, BOX) < _count(picture, BOX)


def test_a_part_is_shown_alone(tmp_path: Path) -> None:
    data = write_source(tmp_path / "data" / "squares").parent
    sheets = {}
    for part in ("video", "grey"):
        show_batch(small_recipe(), data, tmp_path / f"{part}.png", part)
        sheets[part] = cv2.imread(str(tmp_path / f"{part}.png"))
        assert len(sheets[part]) == ROWS * 68
    blue, _, red = (sheets["grey"][..., i].astype(int) for i in range(3))
    assert (np.abs(red - blue) < 3).all()  # but for the green boxes, which have neither


@pytest.mark.parametrize(
    ("output", "part", "error", "message"),
    [
        ("batch.xyz", None, ValueError, "batch.xyz cannot be written: the ending must name an image format"),
        ("batch.png", "snow", ValueError, "there is no part 'snow'; accepted are video, .*, noise"),
        ("no/batch.png", None, OSError, "no/batch.png cannot be written: is there such a folder"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    tmp_path: Path, output: str, part: str | None, error: type[Exception], message: str
) -> None:
    data = write_source(tmp_path / "data" / "squares").parent
    with pytest.raises(error, match=message):
        show_batch(small_recipe(), data, tmp_path / output, part)
