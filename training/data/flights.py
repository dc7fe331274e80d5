"""Short synthetic videos with known boxes: cut-out objects move over a photograph under a moving camera."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import Boxes

from .cutout import blend, outline
from .geometry import Matrix, linear_map, render, warp_box
from .sources import Image, ImageStore, Shot

FRAME_PX = 400  # side of the square frames


def flight(
    rng: Generator, images: ImageStore, objects: list[Shot], frames: int = 60
) -> tuple[list[NDArray[np.uint8]], Boxes]:
    """A video in which the first of `objects` is the target and the others pass by.

    Returns:
        RGB frames (FRAME_PX, FRAME_PX, 3), and the target's boxes (frames, 4) xywh in frame pixels.
    """
    ground = images.random(rng)
    camera = _Wander(rng, frames, reach=0.12 * FRAME_PX, turn=6.0, zoom=0.1)
    cutouts = [(images[shot.image], shot.box_xywh, outline(rng)) for shot in objects]
    paths = [_Wander(rng, frames, reach=0.3 * FRAME_PX, turn=20.0, zoom=0.3) for _ in objects]
    sides = np.exp(rng.uniform(np.log(20), np.log(90), len(objects)))
    video, truth = [], []
    for t in range(frames):
        picture = render(ground, camera.at(t) @ _covering(ground), FRAME_PX)
        for cutout, path, side in reversed(list(zip(cutouts, paths, sides, strict=True))):
            picture, box = _draw(picture, cutout, path.at(t), float(side))
        video.append(picture)
        truth.append(box)
    return video, np.array(truth)


class _Wander:
    """A smooth way: sums of slow waves in place (px), angle (degrees) and zoom (logarithm)."""

    def __init__(self, rng: Generator, frames: int, reach: float, turn: float, zoom: float) -> None:
        time = np.arange(frames)[:, None, None] / 30.0
        hertz, phase = rng.uniform(0.1, 0.9, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))
        waves = np.sin(2 * np.pi * hertz * time + phase).mean(axis=1)
        shake = rng.normal(0, 0.004, (frames, 2))
        self._offset = reach * (waves[:, :2] + shake)
        self._degrees, self._zoom = turn * waves[:, 2], np.exp(zoom * waves[:, 3])

    def at(self, frame: int) -> Matrix:
        """Centred coordinates -> frame pixels."""
        matrix = np.eye(3)
        matrix[:2, :2] = linear_map(self._degrees[frame], self._zoom[frame], self._zoom[frame])
        matrix[:2, 2] = FRAME_PX / 2 + self._offset[frame]
        return matrix


def _covering(ground: Image) -> Matrix:
    """A photograph's pixels -> centred coordinates, so large that it fills the frame at any place."""
    height, width = ground.shape[:2]
    scale = 1.6 * FRAME_PX / min(height, width)
    return np.array([[scale, 0, -scale * width / 2], [0, scale, -scale * height / 2], [0, 0, 1]])


def _draw(
    picture: Image, cutout: tuple[Image, tuple[float, ...], NDArray[np.uint8]], path: Matrix, side: float
) -> tuple[Image, Boxes]:
    """Draw an object with sqrt(w h) = `side` where its way has led it; also returns its box."""
    image, (x, y, w, h), mask = cutout
    scale = side / np.sqrt(w * h)
    to_centre = np.array([[scale, 0, -scale * (x + w / 2)], [0, scale, -scale * (y + h / 2)], [0, 0, 1]])
    matrix = path @ to_centre
    to_box = np.array([[w / mask.shape[1], 0, x], [0, h / mask.shape[0], y], [0, 0, 1]])
    drawn = blend(picture, render(image, matrix, FRAME_PX), render(mask, matrix @ to_box, FRAME_PX))
    return drawn, warp_box((x, y, w, h), matrix)
