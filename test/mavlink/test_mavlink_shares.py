"""Options that do not fit together, and shares there and back."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from hypothesis import given
from hypothesis import strategies as st

from distill_tracker_ros.mavlink.options import CameraConfig, MavlinkOptions, VideoConfig
from distill_tracker_ros.mavlink.shares import rectangle, shown, square

share = st.floats(0, 1)


@st.composite
def crops(draw: Any) -> VideoConfig:
    width, height = draw(st.floats(0.01, 1)), draw(st.floats(0.01, 1))
    return VideoConfig(
        crop_width=width,
        crop_height=height,
        crop_left=draw(st.floats(0, 1 - width)),
        crop_top=draw(st.floats(0, 1 - height)),
    )


@given(crops(), share, share, share, share)
def test_what_was_marked_is_what_is_shown(video: VideoConfig, a: float, b: float, c: float, d: float) -> None:
    corners = (min(a, b), min(c, d), max(a, b), max(c, d))
    if corners[2] - corners[0] < 1e-6 or corners[3] - corners[1] < 1e-6:
        return
    box = rectangle(corners, video, 1280, 720)
    assert box[0] >= 0 and box[1] >= 0
    assert box[0] + box[2] <= 1280 + 1e-6 and box[1] + box[3] <= 720 + 1e-6
    assert shown(box, video, 1280, 720) == pytest.approx(corners, abs=1e-9)


@given(crops(), share, share, st.floats(0, 1e9))
def test_a_square_lies_in_the_image(video: VideoConfig, x: float, y: float, radius: float) -> None:
    left, top, width, height = square((x, y, radius), 0.1, video, 1280, 720)
    assert 0 <= left <= left + width <= 1280 + 1e-9 and 0 <= top <= top + height <= 720 + 1e-9


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"crop_left": 0.5, "crop_width": 0.6},
            r"video.crop_left = 0.5 and video.crop_width = 0.6: .* at most 1",
        ),
        (
            {"crop_top": 0.2, "crop_height": 0.9},
            r"video.crop_top = 0.2 and video.crop_height = 0.9: .* at most 1",
        ),
        ({"uri": "http://a"}, r"video.uri = 'http://a': accepted is rtsp://\.\.\., .* or a UDP port"),
        ({"uri": "65536"}, r"video.uri = '65536': accepted is rtsp://"),
        ({"uri": "0"}, r"video.uri = '0': accepted is rtsp://"),
        ({"uri": "rtsp://" + "a" * 153}, r"video.uri = 'rtsp://a+\.\.\.: accepted are 159 bytes"),
        ({"crop_width": 0.0}, r"VideoConfig.crop_width = 0.0 is out of range"),
        ({"encoding": "av1"}, r"VideoConfig.encoding = 'av1' is unknown"),
    ],
)
def test_a_video_that_cannot_be_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}"):
        VideoConfig(**options)


def test_a_camera_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="focal_length_mm"):
        CameraConfig(focal_length_mm=-1.0)


def test_crops_that_add_up_to_the_whole_image_are_accepted() -> None:
    assert VideoConfig(crop_left=0.1, crop_width=0.9).crop_width == 0.9
    assert MavlinkOptions().video == VideoConfig()


def test_marks_have_a_name_so_that_one_takes_the_place_of_the_other() -> None:
    with pytest.raises(ValueError, match="^target_id = '': accepted is a name"):
        MavlinkOptions(target_id="")
