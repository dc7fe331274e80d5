"""The demo's world: photographs on planes, seen through a pinhole camera.

World: metres, x along the road, y to the left of it, z up. Everything that is seen is a flat picture at some
place in it (the ground, a wall, a standing cut-out), so a 3x3 matrix carries each into the image, exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import data

Image = NDArray[np.uint8]
Vector = NDArray[np.float64]

SIZE = (1280, 720)  # width, height of the camera's image

PX_PER_M = 40  # of the ground's picture
GROUND_X_M = (-30.0, 95.0)
GROUND_Y_M = (-20.0, 60.0)


@dataclass(frozen=True)
class Camera:
    """Where the drone's camera is, where it looks, and how far it is zoomed."""

    position: Vector  # (3,) m
    look_at: Vector  # (3,) m
    roll: float  # rad
    focal_px: float

    def projection(self) -> NDArray[np.float64]:
        """(3, 4): homogeneous world metres -> homogeneous image pixels."""
        forward = _unit(self.look_at - self.position)
        right = _unit(np.cross(forward, (0, 0, 1)))
        down = np.cross(forward, right)
        c, s = np.cos(self.roll), np.sin(self.roll)
        rotation = np.stack([c * right + s * down, c * down - s * right, forward])
        intrinsics = np.array([[self.focal_px, 0, SIZE[0] / 2], [0, self.focal_px, SIZE[1] / 2], [0, 0, 1]])
        return np.asarray(intrinsics @ np.column_stack([rotation, -rotation @ self.position]))


@dataclass(frozen=True)
class Plane:
    """A flat picture in the world; pixel (u, v) of it lies at corner + u * along + v * down."""

    picture: Image  # (H, W, 4) BGRA, colour premultiplied by alpha
    corner: Vector  # (3,) m, upper left
    along: Vector  # (3,) m per pixel to the right
    down: Vector  # (3,) m per pixel downwards
    one_sided: bool = False  # a face of a body: not seen from behind

    def homography(self, projection: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3): continuous pixels of the picture -> continuous pixels of the image."""
        columns = [np.append(self.along, 0), np.append(self.down, 0), np.append(self.corner, 1)]
        return np.asarray(projection @ np.column_stack(columns))


def standing(
    picture: Image,
    foot: ArrayLike,
    direction: ArrayLike,
    width_m: float,
    height_m: float,
    one_sided: bool = False,
) -> Plane:
    """A picture that stands upright, its lower edge on the ground, centred at `foot` (x, y)."""
    rows, columns = picture.shape[:2]
    along = np.array([*_unit(np.asarray(direction, np.float64)), 0.0])
    corner = np.array([*np.asarray(foot, np.float64), height_m]) - along * width_m / 2
    return Plane(picture, corner, along * width_m / columns, np.array([0, 0, -height_m / rows]), one_sided)


def shadow(plane: Plane, sun: tuple[float, float], strength: float = 0.55) -> Plane:
    """A standing plane's shadow on the ground; `sun` is the way (x, y) that it goes for a metre of height."""
    alpha = plane.picture[..., 3]
    dark = np.zeros_like(plane.picture)
    dark[..., 3] = (cv2.GaussianBlur(alpha, (0, 0), 1.2) * strength).astype(np.uint8)
    reach = np.array([*sun, 0.0])
    ground_corner = np.array([plane.corner[0], plane.corner[1], 0.0]) + plane.corner[2] * reach
    return Plane(dark, ground_corner, plane.along, plane.down[2] * reach)


def draw(image: Image, plane: Plane, projection: NDArray[np.float64]) -> None:
    """Compose a plane over the image, in place."""
    patch = _seen(plane, projection)
    if patch is None:
        return
    (left, top, right, bottom), bgra = patch
    under = image[top:bottom, left:right]
    see_through = cv2.cvtColor(255 - bgra[..., 3], cv2.COLOR_GRAY2BGR)
    cv2.add(cv2.multiply(under, see_through, scale=1 / 255), bgra[..., :3], dst=under)


def cover(mask: Image, plane: Plane, projection: NDArray[np.float64]) -> None:
    """Take what a plane hides out of a mask (H, W) of the image, in place."""
    if patch := _seen(plane, projection):
        (left, top, right, bottom), bgra = patch
        under = mask[top:bottom, left:right]
        cv2.multiply(under, 255 - bgra[..., 3], dst=under, scale=1 / 255)


def silhouette(plane: Plane, projection: NDArray[np.float64]) -> Image:
    """(H, W) how much of each image pixel a plane covers, 0..255, if nothing stands before it."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    if patch := _seen(plane, projection):
        (left, top, right, bottom), bgra = patch
        mask[top:bottom, left:right] = bgra[..., 3]
    return mask


def bounds_xywh(points: NDArray[np.float64], plane: Plane, projection: NDArray[np.float64]) -> Vector:
    """The box in the image around some points (N, 2) of a plane's picture, cut at the image's borders."""
    projected = cv2.perspectiveTransform(points[:, None], plane.homography(projection))[:, 0]
    corners = np.clip([projected.min(axis=0), projected.max(axis=0)], 0, SIZE)
    return np.concatenate([corners[0], corners[1] - corners[0]])


def _seen(
    plane: Plane, projection: NDArray[np.float64]
) -> tuple[tuple[int, int, int, int], NDArray[np.uint8]] | None:
    """What the camera sees of a plane: rectangle (left, top, right, bottom) and BGRA pixels in it."""
    matrix = plane.homography(projection)
    rows, columns = plane.picture.shape[:2]
    corners = matrix @ np.array([[0, 0, 1], [columns, 0, 1], [columns, rows, 1], [0, rows, 1]], np.float64).T
    if (corners[2] <= 0.1).any():  # behind the camera, or almost
        return None
    points = corners[:2] / corners[2]
    left, top = (max(0, int(np.floor(low))) for low in points.min(axis=1))
    right, bottom = (
        min(size, int(np.ceil(high))) for size, high in zip(SIZE, points.max(axis=1), strict=True)
    )
    if right <= left or bottom <= top:
        return None
    area_px = cv2.contourArea(points.T.astype(np.float32), oriented=True)  # positive: the right way round
    if plane.one_sided and area_px < 0:
        return None
    picture = plane.picture
    shrink = np.sqrt(rows * columns / max(1.0, abs(area_px)))
    if shrink > 1.5:  # else thin parts flicker
        size = (max(1, round(columns / shrink)), max(1, round(rows / shrink)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        matrix = matrix @ np.diag([columns / size[0], rows / size[1], 1.0])
    return (left, top, right, bottom), _warp(picture, matrix, (left, top), (right - left, bottom - top))


def _warp(
    picture: Image,
    matrix: NDArray[np.float64],
    origin: tuple[int, int],
    size: tuple[int, int],
    border: int = 0,
) -> Image:
    """cv2.warpPerspective for a matrix of continuous coordinates (pixel centres at +0.5)."""
    to_centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    to_index = np.array([[1, 0, -0.5 - origin[0]], [0, 1, -0.5 - origin[1]], [0, 0, 1]])
    return cv2.warpPerspective(  # type: ignore[return-value]
        picture, to_index @ matrix @ to_centre, size, flags=cv2.INTER_LINEAR, borderMode=border
    )


def draw_ground(ground: Image, projection: NDArray[np.float64]) -> Image:
    """The image (H, W, 3) of the ground alone."""
    metre = 1 / PX_PER_M
    plane = Plane(
        ground,
        np.array([GROUND_X_M[0], GROUND_Y_M[1], 0.0]),
        np.array([metre, 0.0, 0.0]),
        np.array([0.0, -metre, 0.0]),
    )
    return _warp(ground, plane.homography(projection), (0, 0), SIZE, cv2.BORDER_REFLECT)


# Pictures.


def ground_picture(road: Callable[[NDArray[Any]], NDArray[Any]], rng: np.random.Generator) -> Image:
    """Meadow, a ploughed field, a gravel road along y = road(x) and a paved yard, all from photographs."""
    width = round((GROUND_X_M[1] - GROUND_X_M[0]) * PX_PER_M)
    height = round((GROUND_Y_M[1] - GROUND_Y_M[0]) * PX_PER_M)
    x_m = (GROUND_X_M[0] + (np.arange(width) + 0.5) / PX_PER_M).astype(np.float32)
    y_m = (GROUND_Y_M[1] - (np.arange(height) + 0.5) / PX_PER_M).astype(np.float32)[:, None]
    wander = _smooth_noise((width, height), 3 * PX_PER_M, rng) - 0.5  # ragged edges
    patches = _smooth_noise((width, height), 9 * PX_PER_M, rng)
    grass = _tiled(_photo("grass"), 0.5, width, height, patches)
    gravel = _tiled(_photo("gravel"), 0.3, width, height, patches)

    image = _tinted(grass * (0.75 + 0.5 * patches), (18, 40, 26), (96, 178, 150))
    field = _tinted(gravel * (0.85 + 0.15 * np.sin(y_m * 9 + 0.3 * x_m)), (26, 40, 58), (92, 122, 156))
    into_field = y_m - 0.12 * x_m - 14 + 0.8 * wander
    _blend(image, field, _edge(into_field, 0.3) * _edge(24 - into_field, 0.3))
    off_road = np.abs(y_m - road(x_m))
    tracks = 1 + 0.22 * np.exp(-(((off_road - 0.8) / 0.35) ** 2))
    _blend(
        image,
        _tinted(gravel * tracks, (62, 76, 86), (168, 186, 198)),
        _edge(1.9 + 0.5 * wander - off_road, 0.15),
    )
    return image


def motorcycle() -> Image:
    """A motorcycle cut out of its photograph by the depth that was measured with it; BGRA premultiplied."""
    photo, _, disparity = data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    disparity = np.where(np.isfinite(disparity), disparity, 0)
    row, column = np.mgrid[: photo.shape[0], : photo.shape[1]]
    floor = (row > 350) & ((column < 100) | (column > 700))
    terms = np.stack([row[floor], column[floor], np.ones(floor.sum())], axis=1)
    slope_y, slope_x, level = np.linalg.lstsq(terms, disparity[floor], rcond=None)[0]
    above_floor = disparity > slope_y * row + slope_x * column + level + 1.5
    near = np.where(above_floor & (disparity > 38), 255, 0).astype(np.uint8)
    near = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))  # type: ignore[assignment]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(near)
    largest = np.where(labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]), 255, 0).astype(np.uint8)
    alpha: Image = cv2.GaussianBlur(cv2.erode(largest, np.ones((3, 3), np.uint8)), (0, 0), 1.0)  # type: ignore[assignment]
    ys, xs = np.nonzero(alpha > 127)
    inside = (slice(ys.min() - 2, ys.max() + 3), slice(xs.min() - 2, xs.max() + 3))
    cut_out = _premultiplied(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)[inside], alpha[inside])
    return cv2.resize(cut_out, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def bush(rng: np.random.Generator, size: int = 112) -> Image:
    """A round shrub: the photograph of grass in dark green, a ragged outline, lit from above; BGRA."""
    noise = _smooth_noise((size, size), 12, rng) + 0.5 * _smooth_noise((size, size), 4, rng)
    v, u = np.mgrid[:size, :size] / (size / 2) - 1
    ragged = 1.0 - np.hypot(u, v) + 0.5 * (noise - 0.75)
    alpha = np.clip(ragged / 0.06 - 2, 0, 1) * 255
    grass = cv2.resize(_photo("grass"), None, fx=0.45, fy=0.45, interpolation=cv2.INTER_AREA)
    y, x = rng.integers(0, grass.shape[0] - size, 2)
    leaves = grass[y : y + size, x : x + size].astype(np.float32)
    lit = np.clip(0.85 - 0.35 * v - 0.2 * u + 0.5 * (noise - 0.75), 0.25, 1.4)
    return _premultiplied(_tinted(leaves * lit, (8, 22, 14), (70, 150, 104)), alpha.astype(np.uint8))


def brick_wall(width: int, height: int, light: float, door: bool = False) -> Image:
    """A wall of grey bricks, about 64 pixels a metre; BGRA."""
    bricks = _tiled(np.rot90(_photo("brick")), 0.4, width, height, np.zeros((height, width), np.float32))
    colour = _tinted(bricks * light, (60, 62, 62), (165, 170, 172))
    if door:
        left, right, top = width // 5, width // 5 + 60, height - 130
        cv2.rectangle(colour, (left, top), (right, height), (46, 60, 70), cv2.FILLED)
        cv2.rectangle(colour, (left, top), (right, height), (150, 160, 165), 4)
    return _premultiplied(colour, np.full((height, width), 255, np.uint8))


def flat_roof(width: int, height: int) -> Image:
    """A roof of gravel; BGRA."""
    stones = _tiled(_photo("gravel"), 0.4, width, height, np.zeros((height, width), np.float32))
    return _premultiplied(
        _tinted(stones, (88, 88, 92), (190, 192, 196)), np.full((height, width), 255, np.uint8)
    )


def _photo(name: str) -> Image:
    """A grey photograph, (512, 512)."""
    return np.asarray(getattr(data, name)())


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))


def _premultiplied(bgr: Image, alpha: Image) -> Image:
    colour = cv2.multiply(bgr, cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR), scale=1 / 255)
    return np.dstack([colour, alpha])


def _smooth_noise(size: tuple[int, int], period_px: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width) in about 0..1, varying over `period_px`."""
    coarse = rng.random((size[1] // period_px + 3, size[0] // period_px + 3), np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _tiled(
    photo: Image, scale: float, width: int, height: int, mix: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A grey photograph repeated over (height, width), 0..255; two tilings take turns to hide the grid."""
    first = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    second = cv2.resize(photo[::-1].T, None, fx=1.37 * scale, fy=1.37 * scale, interpolation=cv2.INTER_AREA)
    layers = [
        np.tile(_seamless(t), (height // t.shape[0] * 2 + 2, width // t.shape[1] * 2 + 2))[:height, :width]
        for t in (first, second)
    ]
    share = np.clip((mix - 0.45) * 8, 0, 1)
    return np.asarray(layers[0] * (1 - share) + layers[1] * share)


def _seamless(tile: NDArray[Any]) -> NDArray[np.float32]:
    """Without its own large shading, and faded into itself at the borders, so that repeats do not show."""
    grey = tile.astype(np.float32)
    grey += grey.mean() - cv2.GaussianBlur(grey, (0, 0), tile.shape[0] / 6, borderType=cv2.BORDER_REFLECT)
    for axis in (0, 1):
        n = grey.shape[axis] // 6
        ramp = np.linspace(0, 1, n, dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        head, tail = np.split(grey, [n], axis)[0], np.split(grey, [grey.shape[axis] - n], axis)[1]
        body = np.split(grey, [n, grey.shape[axis] - n], axis)[1]
        grey = np.concatenate([body, tail * (1 - ramp) + head * ramp], axis)
    return grey


def _tinted(
    grey: NDArray[np.float32], dark: tuple[int, int, int], light: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Grey 0..255 -> colours (BGR) between two."""
    steps = np.linspace(0, 1, 256)[:, None, None]
    table = (np.array(dark) * (1 - steps) + np.array(light) * steps).round().astype(np.uint8)
    index = cv2.cvtColor(cv2.convertScaleAbs(np.maximum(grey, 0)), cv2.COLOR_GRAY2BGR)
    return cv2.LUT(index, table.reshape(256, 1, 3))  # type: ignore[return-value]


def _edge(distance_m: NDArray[Any], soft_m: float) -> NDArray[np.float32]:
    """0 where the distance is negative, 1 where it is positive, a ramp of `soft_m` between."""
    return np.clip(distance_m / soft_m + 0.5, 0, 1)


def _blend(image: Image, over: Image, share: NDArray[np.float32]) -> None:
    """Mix `over` into the image, in place."""
    cv2.blendLinear(over, image, share, 1 - share, dst=image)
