"""The pictures of the parity gate, which are shipped with the runtime: `distill_tracker_ros.runtime.parity`.

    python -m distill_tracker_ros.demo.reference_views

makes them again. They show photographs that scikit-image ships and that are free of copyright: the astronaut
(NASA) and the rocket (SpaceX) are in the public domain, the cat and the coffee cup are CC0, and so are the
grass, gravel and bricks that the clip's hut, bushes and ground are made of. The clip's motorcycle is not in
them, for its photograph states no licence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from ..runtime import parity
from ..runtime.parity import TILE_PX
from . import clip
from .scene import Image

TARGET_PX = 64.0  # sqrt(w h) of every target in the template picture
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92)


@dataclass(frozen=True)
class Scene:
    """A target in a photograph, and what the camera and the target do until it is searched for."""

    photo: Callable[[], Image]  # (H, W, 3) RGB
    box_xywh: tuple[float, float, float, float]  # pixels of the photo
    turn_deg: float
    zoom: float
    moved_px: tuple[float, float]  # from the middle of the search picture
    tone: Callable[[Image], Image] = np.asarray  # of both pictures


def frame(index: int) -> Callable[[], Image]:
    """A frame of the demo's clip."""
    return lambda: np.ascontiguousarray(clip.shot(index).bgr[..., ::-1])


def nearly_black(picture: Image) -> Image:
    """A night without gain: 0 to 10 of 255."""
    return cv2.convertScaleAbs(picture, alpha=0.04)  # type: ignore[return-value]


def high_contrast(picture: Image) -> Image:
    """Nearly black and white, as glare makes it."""
    return cv2.convertScaleAbs(np.maximum(picture * 5.0 - 500.0, 0))  # type: ignore[return-value]


# Every target stands out for the shipped models: between two places that are nearly as good, any rounding
# changes the choice, and the gate would say nothing of the precision.
SCENES = (
    Scene(data.astronaut, (165, 30, 105, 130), 4, 1.05, (9, -6)),
    Scene(data.astronaut, (130, 345, 75, 75), 5, 1.0, (-8, 9), nearly_black),
    Scene(data.astronaut, (350, 10, 110, 275), -5, 0.95, (-12, 5), high_contrast),
    Scene(data.chelsea, (130, 80, 80, 75), 8, 1.1, (6, 10)),
    Scene(data.chelsea, (215, 205, 75, 70), -6, 0.9, (-8, 4)),
    Scene(data.coffee, (170, 15, 245, 235), 5, 1.0, (14, -9), nearly_black),
    Scene(data.coffee, (325, 230, 85, 100), -9, 1.12, (-7, -12), high_contrast),
    Scene(data.rocket, (300, 125, 45, 285), -3, 0.93, (-9, 8), high_contrast),
    Scene(frame(0), (360, 225, 80, 75), 6, 1.06, (8, -7)),
    Scene(frame(290), (85, 45, 115, 90), -4, 0.94, (-11, -5)),
)


def sheet(scenes: tuple[Scene, ...] = SCENES) -> tuple[Image, NDArray[np.float64]]:
    """All views, a row each: template picture on the left, search picture on the right.

    Returns:
        (N * TILE_PX, 2 * TILE_PX, 3) RGB, and the boxes (N, 8): template_xywh and around_xywh of each view.
    """
    rows = []
    for scene in scenes:
        photo = scene.photo()
        before = _seen(photo, scene, 0, 1, (0, 0))
        rows.append(np.hstack([before, _seen(photo, scene, scene.turn_deg, scene.zoom, scene.moved_px)]))
    return np.vstack(rows), np.array([[*_centred_box(each)] * 2 for each in scenes])


def write() -> None:
    """Put the pictures and the boxes beside `runtime.parity`."""
    pictures, boxes = sheet()
    cv2.imwrite(str(parity._PICTURES), pictures[..., ::-1], _JPEG)
    np.savetxt(parity._BOXES, boxes, fmt="%.2f")


def _seen(photo: Image, scene: Scene, turn_deg: float, zoom: float, moved_px: tuple[float, float]) -> Image:
    """(TILE_PX, TILE_PX, 3): the target in the middle, or moved away from it."""
    x, y, w, h = scene.box_xywh
    centre = np.array([x + w / 2, y + h / 2])
    matrix = cv2.getRotationMatrix2D(tuple(centre), turn_deg, zoom * _scale(scene))
    matrix[:, 2] += TILE_PX / 2 + np.array(moved_px) - centre
    # Shrinking by more than a half aliases: the photo is blurred before.
    if (blur := 0.5 / _scale(scene)) > 1:
        photo = cv2.GaussianBlur(photo, (0, 0), blur / 2)
    size = (TILE_PX, TILE_PX)
    return scene.tone(cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR))


def _scale(scene: Scene) -> float:
    return TARGET_PX / float(np.sqrt(scene.box_xywh[2] * scene.box_xywh[3]))


def _centred_box(scene: Scene) -> tuple[float, float, float, float]:
    w, h = (side * _scale(scene) for side in scene.box_xywh[2:])
    return (TILE_PX - w) / 2, (TILE_PX - h) / 2, w, h


if __name__ == "__main__":
    write()
