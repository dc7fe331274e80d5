"""The shipped pictures of the parity gate are those that the script makes."""

from __future__ import annotations

import cv2
import numpy as np

from distill_tracker_ros.demo import reference_views
from distill_tracker_ros.runtime import parity


def test_the_pictures_can_be_made_again() -> None:
    pictures, boxes = reference_views.sheet()
    shipped = cv2.imread(str(parity._PICTURES))[..., ::-1]
    assert shipped.shape == pictures.shape
    difference = np.abs(shipped.astype(float) - pictures)
    assert difference.mean() < 2 and np.percentile(difference, 99) < 25, "more than JPEG changes"
    np.testing.assert_allclose(np.loadtxt(parity._BOXES), boxes, atol=0.006)
