"""CameraInfo messages of cameras that cannot be, and pixels that they do not show."""

from __future__ import annotations

import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import NUMBERS, odd_texts

from distill_tracker_ros.camera_info import camera_from_msg, facts
from distill_tracker_ros.core.line_of_sight import MODELS, CameraError, line_of_sight


def look(msg: Any, rectified: bool, point: tuple[float, float], size: tuple[int, int]) -> None:
    """Take a message as the node does, and ask for a direction."""
    assert facts(msg) == facts(msg)
    vector = line_of_sight(camera_from_msg(msg, rectified), point, size)
    assert abs(np.linalg.norm(vector) - 1) < 1e-9


def test_camera_infos(fuzz: Callable[..., None]) -> None:
    """Half of them with numbers near those of a camera, the others with any."""
    counts = st.integers(0, 700) | st.sampled_from(NUMBERS).filter(lambda n: 0 <= n < 2**32)
    lens = st.floats(-0.5, 0.5) | st.floats(-0.01, 0.01)

    @st.composite
    def messages(draw: Any) -> Any:
        odd = draw(st.booleans())
        length, centre = (st.floats(),) * 2 if odd else (st.floats(50, 2000), st.floats(0, 640))
        fx, cx, fy, cy = (draw(kind) for kind in (length, centre, length, centre))
        turn = [draw(st.floats()) for _ in range(9)] if odd else np.eye(3).ravel()
        model = draw(st.sampled_from([*MODELS, ""]) | (odd_texts() if odd else st.just("plumb_bob")))
        count = draw(st.integers(0, 15)) if odd else draw(st.sampled_from(MODELS.get(model, (0,))))
        roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
        if draw(st.booleans()):
            roi = SimpleNamespace(**{name: draw(counts) for name in vars(roi)})
        return SimpleNamespace(
            width=draw(counts) if odd else 640,
            height=draw(counts) if odd else 480,
            distortion_model=model,
            d=array.array("d", [draw(st.floats() if odd else lens) for _ in range(count)]),
            k=np.array([fx, 0, cx, 0, fy, cy, 0, 0, draw(st.floats()) if odd else 1.0]),
            r=np.array(turn, np.float64),
            p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0], np.float64),
            binning_x=draw(counts) if odd else 0,
            binning_y=draw(counts) if odd else 0,
            roi=roi,
        )

    sizes = st.tuples(st.integers(1, 2000), st.integers(1, 2000)) | st.sampled_from([(640, 480), (320, 240)])
    points = st.tuples(st.floats(0, 640), st.floats(0, 480)) | st.tuples(st.floats(), st.floats())
    cases = st.tuples(messages(), st.booleans(), points, sizes)
    fuzz("camera_infos", "camera_info messages", cases, lambda case: look(*case), CameraError, share=0.1)
