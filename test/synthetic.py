"""A coloured square that moves over a textured background: a video whose every box is known."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Collection, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Box = NDArray[np.float64]
Colour = tuple[int, int, int]
Path = Callable[[int], tuple[float, float]]  # frame number -> centre, px

RED: Colour = (225, 40, 45)
BLUE: Colour = (35, 60, 220)
OCCLUDER: Colour = (128, 128, 20)


def background(width: int, height: int, seed: int = 0) -> Rgb:
    """Smooth noise between dark and light grey, far from every colour above."""
    rng = np.random.default_rng(seed)
    shape = (max(2, height // 8), max(2, width // 8))
    grey = cv2.resize(rng.integers(60, 190, shape, np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    tint = rng.integers(-8, 9, (height, width, 3))
    return np.clip(grey[:, :, None].astype(np.int16) + tint, 0, 255).astype(np.uint8)


def draw_square(rgb: Rgb, box_xywh: Box, colour: Colour) -> None:
    """Fill a box of whole pixels; what lies outside the picture is left out."""
    x1, y1 = (max(0, round(v)) for v in box_xywh[:2])
    x2, y2 = (max(0, round(v)) for v in box_xywh[:2] + box_xywh[2:])
    rgb[y1:y2, x1:x2] = colour


def circle(width: int, height: int, frames_per_turn: int = 100) -> Path:
    """Round the middle of the picture, on an ellipse of half its size."""

    def centre(number: int) -> tuple[float, float]:
        angle = 2 * math.pi * number / frames_per_turn
        return width * (0.5 + 0.25 * math.cos(angle)), height * (0.5 + 0.25 * math.sin(angle))

    return centre


def moving_square(
    frames: int = 60,
    width: int = 320,
    height: int = 240,
    side: int = 24,
    colour: Colour | Callable[[int], Colour] = RED,
    path: Path | None = None,
    out_of_view: Collection[int] = (),
    occluded: Collection[int] = (),
    seed: int = 0,
) -> Iterator[tuple[Rgb, Box]]:
    """The frames and the box (xywh, whole frame pixels) of the square in each.

    Args:
        side: px of the square.
        colour: RGB, or the colour at a frame number.
        path: frame number -> centre; the default is `circle`, with steps of about 5 px.
        out_of_view: frame numbers (a range, a set) in which the square is not there: its box is four NaN.
        occluded: frame numbers in which something covers the square: its box is still the true one.
        seed: of the background.
    """
    still = background(width, height, seed)
    path = path or circle(width, height)
    for number in range(frames):
        rgb = still.copy()
        corner = np.round(np.array(path(number)) - side / 2)
        box = np.array([*corner, side, side], np.float64)
        if number in out_of_view:
            box[:] = np.nan
        else:
            draw_square(rgb, box, colour(number) if callable(colour) else colour)
        if number in occluded:
            draw_square(rgb, box + [-4, -4, 8, 8], OCCLUDER)
        yield rgb, box


def write_square(
    folder: pathlib.Path, frames: int, unknown: Collection[int] = (), out_of_view: Collection[int] = ()
) -> None:
    """A sequence on disk: images of the square, and a groundtruth.txt that does not know some boxes (nan)."""
    folder.mkdir(parents=True)
    lines = []
    for number, (rgb, box) in enumerate(moving_square(frames=frames, out_of_view=out_of_view)):
        cv2.imwrite(str(folder / f"{number + 1}.png"), rgb[..., ::-1])
        lines.append(",".join("nan" if number in unknown else str(v) for v in box))
    (folder / "groundtruth.txt").write_text("\n".join(lines) + "\n")
