"""Box arithmetic against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core import boxes


@pytest.fixture
def random_xywh() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(-500, 900, (2000, 2)), rng.uniform(0.01, 700, (2000, 2))], axis=1)


def test_conversions_and_their_inverses(random_xywh: np.ndarray) -> None:
    assert boxes.xywh_to_xyxy([10, 20, 30, 40]).tolist() == [10, 20, 40, 60]
    assert boxes.xywh_to_cxcywh([10, 20, 30, 40]).tolist() == [25, 40, 30, 40]
    np.testing.assert_allclose(boxes.xyxy_to_xywh(boxes.xywh_to_xyxy(random_xywh)), random_xywh, atol=1e-9)
    np.testing.assert_allclose(
        boxes.cxcywh_to_xywh(boxes.xywh_to_cxcywh(random_xywh)), random_xywh, atol=1e-9
    )


@pytest.mark.parametrize("margin", [10.0, 4.0])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (20, 20), (21, 800)])
def test_clip_ends_in_the_frame_with_sides_of_the_margin(
    random_xywh: np.ndarray, width: int, height: int, margin: float
) -> None:
    """B-10."""
    x1, y1, x2, y2 = boxes.xywh_to_xyxy(boxes.clip(random_xywh, width, height, margin)).T
    assert x1.min() >= 0 and y1.min() >= 0
    assert x2.max() <= width and y2.max() <= height
    assert (x2 - x1).min() >= margin and (y2 - y1).min() >= margin


def test_clip_leaves_a_box_inside_alone_and_mends_one_of_negative_size() -> None:
    assert boxes.clip([30.5, 40.25, 50, 60], 640, 480).tolist() == [30.5, 40.25, 50, 60]
    assert boxes.clip([30, 40, -5, -5], 640, 480).tolist() == [30, 40, 10, 10]


@pytest.mark.parametrize(
    ("box", "part"),
    [
        ([10, 20, 30, 40], [10, 20, 30, 40]),
        ([-10, -20, 30, 40], [0, 0, 20, 20]),
        ([630, 470, 30, 40], [630, 470, 10, 10]),
        ([-50, 100, 30, 40], [0, 100, 0, 40]),
        ([-50, -50, 1000, 1000], [0, 0, 640, 480]),
    ],
)
def test_intersection_with_the_frame(box: list[float], part: list[float]) -> None:
    assert boxes.intersection(box, 640, 480).tolist() == part


def test_iou_of_known_pairs() -> None:
    a = [0, 0, 10, 10]
    pairs = [([0, 0, 10, 10], 1), ([5, 0, 10, 10], 1 / 3), ([10, 0, 10, 10], 0), ([2, 2, 5, 5], 0.25)]
    for b, expected in pairs:
        assert boxes.iou(a, b) == pytest.approx(expected)
        assert boxes.iou(b, a) == pytest.approx(expected)
    assert boxes.iou([3, 3, 0, 0], [3, 3, 0, 0]) == 0


def test_no_function_changes_its_argument(random_xywh: np.ndarray) -> None:
    before = random_xywh.copy()
    boxes.clip(random_xywh, 640, 480)
    boxes.intersection(random_xywh, 640, 480)
    boxes.iou(random_xywh, random_xywh)
    boxes.xywh_to_cxcywh(random_xywh)
    np.testing.assert_array_equal(random_xywh, before)


def test_resize_towards_keeps_the_centre_and_blends_sizes_in_logarithms() -> None:
    box = boxes.resize_towards([10, 20, 40, 10], [0, 0, 10, 40], 0.5)
    assert np.allclose(boxes.xywh_to_cxcywh(box), [30, 25, 20, 20])
    assert np.allclose(boxes.resize_towards([10, 20, 40, 10], [0, 0, 10, 40], 1.0), [10, 20, 40, 10])
