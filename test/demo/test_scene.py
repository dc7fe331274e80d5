"""The geometry of the demo's world: what is drawn lies where the boxes say."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.demo import scene
from distill_tracker_ros.demo.scene import Camera, Plane

CAMERA = Camera(np.array([2.0, -15, 8]), np.array([1.0, 0, 1]), roll=0.1, focal_px=900)


def white(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 4), 255, np.uint8)


def corners_of(image_mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(image_mask)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def test_the_camera_sees_what_it_looks_at_in_the_middle():
    point = CAMERA.projection() @ np.append(CAMERA.look_at, 1)
    np.testing.assert_allclose(point[:2] / point[2], np.array(scene.SIZE) / 2)
    assert point[2] == pytest.approx(np.linalg.norm(CAMERA.look_at - CAMERA.position))  # metres away


def test_up_is_up_and_right_is_right():
    projection = Camera(CAMERA.position, CAMERA.look_at, 0.0, 900).projection()

    def pixel(x: float, y: float, z: float) -> np.ndarray:
        u, v, w = projection @ np.array([x, y, z, 1])
        return np.array([u / w, v / w])

    assert pixel(1, 0, 2)[1] < pixel(1, 0, 0)[1]
    assert pixel(2, 0, 0)[0] > pixel(0, 0, 0)[0]


def test_a_standing_picture_has_its_corners_in_the_world():
    plane = scene.standing(white(), foot=(3, 4), direction=(0, 2), width_m=6, height_m=4)
    projection = CAMERA.projection()
    for (u, v), world in {
        (0, 0): (3, 1, 4),
        (60, 0): (3, 7, 4),
        (60, 40): (3, 7, 0),
        (30, 40): (3, 4, 0),
    }.items():
        np.testing.assert_allclose(
            plane.homography(projection) @ (u, v, 1), projection @ np.append(world, 1.0), atol=1e-9
        )


def test_the_box_is_where_the_picture_is_drawn():
    plane = scene.standing(white(), (1, 0), (1, 0.3), 3, 2)
    projection = CAMERA.projection()
    image = np.zeros((*scene.SIZE[::-1], 3), np.uint8)
    scene.draw(image, plane, projection)
    corners = np.array([[0, 0], [60, 0], [60, 40], [0, 40]], np.float64)
    x, y, w, h = scene.bounds_xywh(corners, plane, projection)
    np.testing.assert_allclose(corners_of(image[..., 0] > 127), (x, y, x + w, y + h), atol=1.5)
    np.testing.assert_array_equal(image[..., 0], scene.silhouette(plane, projection))


def test_a_box_is_cut_at_the_border():
    plane = scene.standing(white(), (-9, 0), (1, 0), 6, 2)
    x, y, w, h = scene.bounds_xywh(np.array([[0.0, 0], [60, 40]]), plane, CAMERA.projection())
    assert x == 0
    assert 0 < w < scene.SIZE[0]


def test_what_stands_before_hides():
    projection = CAMERA.projection()
    behind, before = (scene.standing(white(), (1.5, y), (1, 0), 2, 2) for y in (0.0, -1.0))
    mask = scene.silhouette(behind, projection)
    whole = mask.sum()
    scene.cover(mask, before, projection)
    assert mask.sum() < 0.5 * whole
    scene.cover(mask, scene.standing(white(), (1.5, -1), (1, 0), 10, 6), projection)
    assert mask.sum() == 0


def test_a_face_is_not_seen_from_behind():
    projection = CAMERA.projection()
    for direction, seen in (((1, 0), True), ((-1, 0), False)):
        plane = scene.standing(white(), (1, 0), direction, 2, 2, one_sided=True)
        assert scene.silhouette(plane, projection).any() == seen


def test_nothing_is_drawn_of_what_lies_behind_the_camera():
    plane = scene.standing(white(), (2, -40), (1, 0), 3, 2)
    assert not scene.silhouette(plane, CAMERA.projection()).any()


def test_a_shadow_starts_at_the_foot():
    plane = scene.standing(white(), (1, 0), (1, 0), 3, 2)
    dark = scene.shadow(plane, sun=(0.5, 1.0))
    rows = plane.picture.shape[0]
    foot, tip = dark.corner + rows * dark.down, dark.corner
    np.testing.assert_allclose(foot, plane.corner + rows * plane.down, atol=1e-12)
    np.testing.assert_allclose(tip, foot + [1.0, 2.0, 0.0])
    assert not dark.picture[..., :3].any()


def test_the_motorcycle_is_cut_out_of_its_photograph():
    picture = scene.motorcycle()
    alpha = picture[..., 3]
    assert 0.3 < (alpha > 127).mean() < 0.7
    assert (alpha[:3] > 127).mean() < 0.1  # nothing of the garage above it
    assert (picture[..., :3] <= alpha[..., None]).all()  # premultiplied
    red = (picture[..., 2].astype(int) - picture[..., 1] > 60) & (alpha > 200)
    assert red.mean() > 0.05


def test_planes_keep_their_picture():
    picture = white()
    plane = Plane(picture, np.zeros(3), np.array([0.1, 0, 0]), np.array([0, 0, -0.1]))
    scene.draw(np.zeros((*scene.SIZE[::-1], 3), np.uint8), plane, CAMERA.projection())
    assert (picture == 255).all()
