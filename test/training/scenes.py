"""Footage that the tests of sample making draw themselves: red ellipses on smooth grey pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.config import DataConfig, Sizes
from training.data.footage import Footage
from training.data.images import UnreadableImage

SIZES = Sizes(search_size=96, search_factor=4.0, template_size=48, template_factor=2.0, template_slots=2)
RED, BLUE = (220, 40, 40), (40, 40, 220)


class Pictures(dict[Path, NDArray[np.uint8] | None]):
    """Stands for an ImageStore: all in memory, None cannot be read."""

    def __getitem__(self, path: Path) -> NDArray[np.uint8]:
        if (image := super().__getitem__(path)) is None:
            raise UnreadableImage(f"{path} cannot be read as an image")
        return image

    def random(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        return self[list(self)[rng.integers(len(self))]]

    @property
    def held(self) -> Mapping[Path, NDArray[np.uint8] | None]:
        return {path: self.get(path) for path in self}


def backdrop(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Soft grey clouds."""
    coarse = np.random.default_rng(seed).integers(60, 190, (height // 16, width // 16), np.uint8)
    return np.repeat(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None], 3, 2)


def with_ellipse(
    picture: NDArray[np.uint8], box_xywh: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """An ellipse that touches all sides of its box, with a soft rim."""
    x, y, w, h = box_xywh
    columns, rows = np.arange(picture.shape[1]) + 0.5, np.arange(picture.shape[0]) + 0.5
    u, v = np.meshgrid((columns - x - w / 2) / (w / 2), (rows - y - h / 2) / (h / 2))
    alpha = np.clip((1 - np.hypot(u, v)) * min(w, h) / 2 + 0.5, 0, 1)[..., None]
    return np.rint(picture * (1 - alpha) + np.array(colour) * alpha).astype(np.uint8)


def video(
    name: str, frames: int = 3, size: tuple[int, int] = (400, 300), colour: tuple[int, int, int] = RED
) -> tuple[Footage, Pictures]:
    """An ellipse on its way; of one frame a still."""
    boxes = [(150.0 + 20 * i, 110.0 + 10 * i, 60.0, 42.0) for i in range(frames)]
    paths = [Path(f"{name}/{i}.png") for i in range(frames)]
    pictures = (with_ellipse(backdrop(*size, seed=i), box, colour) for i, box in enumerate(boxes))
    footage = Footage("made", name, paths, np.array(boxes), np.ones(frames, bool), spaced=True)
    return footage, Pictures(zip(paths, pictures, strict=True))


def plain(**changes: object) -> DataConfig:
    """Every part off, but for the changes."""
    config = DataConfig().alone("still")
    values = {**vars(config), "kinds": {"video": 1.0}, **changes}
    return DataConfig(**values)


def visible_box(pixels: NDArray[np.uint8], colour: tuple[int, int, int] = RED) -> NDArray[np.float64] | None:
    """xywh around all pixels of about this colour."""
    found = np.abs(pixels.astype(int) - colour).max(-1) < 90
    if not found.any():
        return None
    rows, columns = np.nonzero(found)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    return np.concatenate([low, high - low]).astype(float)
