"""The demo's clip: a drone follows a motorcycle along a country road; 1280x720, 30 Hz, 10 s, known boxes.

    python -m distill_tracker_ros.demo.clip build/demo

Every frame is a function of the seed and its number. The photographs are those that scikit-image ships; the
flight, the light and the boxes are computed. A hut hides the motorcycle once, for about half a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..core.boxes import Boxes
from ..evaluation.sequences import TRUTH_FILE
from ..video import VideoWriter
from . import scene
from .scene import Camera, Image, Plane, Vector

RATE_HZ = 30.0
FRAMES = 300
SEED = 1

_EXPOSURES_S = np.array([-1.0, 0.0, 1.0]) / 6 / RATE_HZ  # pictures averaged to a frame: a half-open shutter
_SUN = (0.5, 0.9)  # metres of shadow (x, y) a metre of height
_BIKE_M = (2.1, 1.48)  # length, height
_HUT_S = 5.0  # when the motorcycle passes behind the hut
_HUT_M = (3.6, 2.4, 2.9)  # length, depth, height
_HUT_GAP_M = 2.2  # from the middle of the road
_NO_BOX_BELOW = 0.03  # visible share of the target


@dataclass(frozen=True)
class Shot:
    """A frame of the clip."""

    bgr: Image  # (720, 1280, 3)
    box_xywh: Vector  # (4,) around the whole target, also where it is partly hidden; nan when all of it is
    visible: float  # share of the target that nothing hides, 0..1


@dataclass(frozen=True)
class Thing:
    """Planes that stand at one place, drawn in this order."""

    foot: Vector  # (2,) m
    planes: Sequence[Plane]


def shot(index: int, seed: int = SEED) -> Shot:
    """Frame 0 .. FRAMES - 1 of the clip, and the true box in it."""
    world, time_s = _world(seed), index / RATE_HZ
    pictures = [world.picture(time_s + exposure_s) for exposure_s in _EXPOSURES_S]
    blurred = np.mean(pictures, axis=0, dtype=np.float32)
    box, visible = world.truth(time_s)
    return Shot(_developed(blurred, index, seed), box, visible)


def write(folder: Path, seed: int = SEED, frames: int = FRAMES) -> tuple[Path, Path]:
    """Write the clip and its boxes (`clip.mp4`, `groundtruth.txt`), and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    video_path, truth_path = folder / "clip.mp4", folder / TRUTH_FILE
    boxes: list[Boxes] = []
    with VideoWriter(video_path, RATE_HZ) as video:
        for index in tqdm(range(frames), desc="clip", unit="frame", disable=None):
            frame = shot(index, seed)
            video.write(frame.bgr)
            boxes.append(frame.box_xywh)
    np.savetxt(truth_path, boxes, fmt="%.3f", delimiter=",")
    return video_path, truth_path


# The flight: functions of time.


def road(x_m: Vector) -> Vector:
    """y of the middle of the road."""
    return np.asarray(1.8 * np.sin(x_m / 11) + 0.6 * np.sin(x_m / 5 + 1))


def bike_at(time_s: float) -> Vector:
    """Where the motorcycle touches the ground, (2,) m; it slows down and hurries."""
    x = 4 + 5.4 * time_s + 1.0 * np.sin(0.9 * time_s)
    return np.array([x, float(road(x))])


def camera(time_s: float, seed: int = SEED) -> Camera:
    """A drone beside the road that circles, sinks, zooms, and is shaken by the wind."""
    t = time_s
    azimuth = np.deg2rad(
        -38 + 7.6 * t + 9 * np.sin(0.8 * t)
    )  # seen from the road's right side; 0 = from abeam
    elevation = np.deg2rad(34 + 5 * np.sin(0.55 * t + 1))
    distance = 20 + 4.5 * np.cos(0.5 * t)
    focal_px = 1150 + 300 * np.sin(0.62 * t - 0.6)
    # The operator follows late and not exactly.
    aim = bike_at(t - 0.3) + [2.6 * np.sin(0.9 * t + 0.4), 1.1 * np.sin(1.3 * t)]
    look_at = np.array([*aim, 0.6])
    away = np.array([np.sin(azimuth), -np.cos(azimuth)]) * np.cos(elevation)
    position = look_at + distance * np.array([*away, np.sin(elevation)])
    yaw, pitch, roll = _gust(t, seed)
    look_at = look_at + distance * np.array([yaw, 0.0, pitch])
    return Camera(position, look_at, np.deg2rad(2.5 * np.sin(0.7 * t)) + roll, focal_px)


def light(time_s: float) -> float:
    """Brightness; a cloud passes."""
    return float(1.02 - 0.3 * np.exp(-(((time_s - 7.6) / 0.9) ** 2)))


def _gust(time_s: float, seed: int) -> Vector:
    """(3,) rad: how the wind turns the camera."""
    phases = np.random.default_rng([seed, 1]).uniform(0, 2 * np.pi, (3, 3))
    tones_hz, strength = np.array([1.3, 3.1, 6.7]), np.array([1.0, 0.5, 0.25])
    return np.asarray(0.003 * np.sin(2 * np.pi * tones_hz * time_s + phases) @ strength)


# The world: what stands where.


class _World:
    """The pictures, made once; what they look like at a time depends on nothing else."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._seed = seed
        self._ground = scene.ground_picture(road, rng)
        self._bike = scene.motorcycle()
        self._outline = _outline(self._bike)
        self._still = [*(_bush(foot, rng) for foot in _bush_places(rng)), _hut()]
        self._shadows = [scene.shadow(thing.planes[0], _SUN) for thing in self._still]

    def picture(self, time_s: float) -> Image:
        """What the camera would see with no exposure time, (720, 1280, 3) BGR."""
        eye = camera(time_s, self._seed)
        projection = eye.projection()
        image = scene.draw_ground(self._ground, projection)
        bike = self._bike_at(time_s)
        for plane in (*self._shadows, scene.shadow(bike.planes[0], _SUN)):
            scene.draw(image, plane, projection)
        for thing in sorted([*self._still, bike], key=lambda thing: -_distance(eye, thing)):
            for plane in thing.planes:
                scene.draw(image, plane, projection)
        return image

    def truth(self, time_s: float) -> tuple[Vector, float]:
        """The box of the motorcycle (nan if hidden), and the share of it that is not hidden."""
        eye = camera(time_s, self._seed)
        projection = eye.projection()
        bike = self._bike_at(time_s)
        mask = scene.silhouette(bike.planes[0], projection)
        whole = int(mask.sum())
        for thing in self._still:
            if _distance(eye, thing) < _distance(eye, bike):
                for plane in thing.planes:
                    scene.cover(mask, plane, projection)
        visible = int(mask.sum()) / whole if whole else 0.0
        if visible < _NO_BOX_BELOW:
            return np.full(4, np.nan), visible
        return scene.bounds_xywh(self._outline, bike.planes[0], projection), visible

    def _bike_at(self, time_s: float) -> Thing:
        foot, ahead = bike_at(time_s), bike_at(time_s + 0.05)
        return Thing(foot, [scene.standing(self._bike, foot, ahead - foot, *_BIKE_M)])


@lru_cache(maxsize=2)
def _world(seed: int) -> _World:
    return _World(seed)


def _hut() -> Thing:
    """A hut between the road and the camera, where the motorcycle passes at _HUT_S."""
    length, depth, height = _HUT_M
    bike, ahead = bike_at(_HUT_S), bike_at(_HUT_S + 0.05)
    along = (ahead - bike) / np.linalg.norm(ahead - bike)
    right = np.array([along[1], -along[0]])  # of the road, towards the camera
    centre = bike + right * (_HUT_GAP_M + depth / 2)
    px = 64  # a metre
    front = scene.brick_wall(round(length * px), round(height * px), 0.8, door=True)
    side = scene.brick_wall(round(depth * px), round(height * px), 1.05)
    roof = scene.flat_roof(round(length * px), round(depth * px))
    back_left = np.array([*(centre - right * depth / 2 - along * length / 2), height])
    return Thing(
        centre,
        [
            scene.standing(front, centre + right * depth / 2, along, length, height, one_sided=True),
            scene.standing(side, centre - along * length / 2, right, depth, height, one_sided=True),
            scene.standing(side, centre + along * length / 2, -right, depth, height, one_sided=True),
            Plane(roof, back_left, np.array([*along, 0.0]) / px, np.array([*right, 0.0]) / px),
        ],
    )


def _bush(foot: Vector, rng: np.random.Generator) -> Thing:
    width_m = rng.uniform(1.2, 3.2)
    picture = scene.bush(rng)
    return Thing(foot, [scene.standing(picture, foot, (1, 0), width_m, width_m * rng.uniform(0.6, 0.85))])


def _bush_places(rng: np.random.Generator) -> list[Vector]:
    """Along both sides of the road, clear of it and of the line of sight."""
    xs = rng.uniform(-20, 85, 46)
    beside = np.where(rng.random(len(xs)) < 0.7, rng.uniform(4.5, 15, len(xs)), -rng.uniform(6, 11, len(xs)))
    return [np.array([x, float(road(x)) + y]) for x, y in zip(xs, beside, strict=True)]


def _outline(picture: Image) -> NDArray[np.float64]:
    """(N, 2) corners of the pixels on the convex hull of what a picture shows."""
    rows, columns = np.nonzero(picture[..., 3] > 127)
    corners = np.concatenate([np.stack([columns + dx, rows + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
    return np.asarray(cv2.convexHull(corners.astype(np.float32))[:, 0], np.float64)


def _distance(eye: Camera, thing: Thing) -> float:
    return float(np.linalg.norm(eye.position[:2] - thing.foot))


def _developed(picture: NDArray[np.float32], index: int, seed: int) -> Image:
    """Light and the sensor's noise."""
    rng = np.random.default_rng([seed, 2, index])
    grain = _grain(seed)
    y, x = (int(rng.integers(0, g - p)) for g, p in zip(grain.shape, picture.shape[:2], strict=False))
    noise = grain[y : y + picture.shape[0], x : x + picture.shape[1]]
    return cv2.convertScaleAbs(np.maximum(picture * light(index / RATE_HZ) + noise, 0))  # type: ignore[return-value]


@lru_cache(maxsize=2)
def _grain(seed: int) -> NDArray[np.float32]:
    """Noise, larger than a frame: each frame takes another part of it."""
    rng = np.random.default_rng([seed, 3])
    return rng.normal(0.5, 2.0, (scene.SIZE[1] + 128, scene.SIZE[0] + 128, 3)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo's clip and its true boxes.")
    parser.add_argument("folder", type=Path, help="where clip.mp4 and groundtruth.txt go")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
