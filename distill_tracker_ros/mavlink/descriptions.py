"""The messages in which the camera describes itself, its video and what it tracks."""

from __future__ import annotations

import math
from typing import Any

from ..core.tracker import TrackState
from .dialect import mavlink
from .options import CameraConfig, VideoConfig
from .shares import shown
from .tracker import Report, Seen

STREAM = 1  # the only one
# Of CAMERA_TRACKING_STATUS_FLAGS: older dialects lack it.
COASTING = 8
_ENCODINGS = {
    "unknown": mavlink.VIDEO_STREAM_ENCODING_UNKNOWN,
    "h264": mavlink.VIDEO_STREAM_ENCODING_H264,
    "h265": mavlink.VIDEO_STREAM_ENCODING_H265,
}
_FLAGS = {
    TrackState.TRACKING: mavlink.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE,
    TrackState.UNCERTAIN: mavlink.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE | COASTING,
    TrackState.LOST: mavlink.CAMERA_TRACKING_STATUS_FLAGS_ERROR,
}


def heartbeat() -> Any:
    """HEARTBEAT of a camera."""
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_CAMERA, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, mavlink.MAV_STATE_ACTIVE, 3
    )


def camera_information(camera: CameraConfig, video: VideoConfig, report: Report | None, now_s: float) -> Any:
    """CAMERA_INFORMATION: that it tracks points and rectangles, and whether it has a video stream."""
    flags = mavlink.CAMERA_CAP_FLAGS_HAS_TRACKING_POINT | mavlink.CAMERA_CAP_FLAGS_HAS_TRACKING_RECTANGLE
    if video.uri:
        flags |= mavlink.CAMERA_CAP_FLAGS_HAS_VIDEO_STREAM
    width, height = _resolution(video, report)
    return mavlink.MAVLink_camera_information_message(
        _boot_ms(now_s),
        list(_name(camera.vendor).ljust(32, b"\0")),
        list(_name(camera.model).ljust(32, b"\0")),
        0,  # version of the firmware: unknown
        *(
            length or math.nan
            for length in (camera.focal_length_mm, camera.sensor_width_mm, camera.sensor_height_mm)
        ),
        width,
        height,
        0,  # lens
        flags,
        0,  # no definition file: there are no settings
        b"",
    )


def stream_information(video: VideoConfig, report: Report | None) -> Any:
    """VIDEO_STREAM_INFORMATION."""
    return mavlink.MAVLink_video_stream_information_message(
        STREAM,
        1,  # streams that there are
        video.stream_type or 0,
        *_stream(video, report),
        _name(video.name),
        video.uri.encode(),
        _ENCODINGS[video.encoding],
    )


def stream_status(video: VideoConfig, report: Report | None) -> Any:
    """VIDEO_STREAM_STATUS."""
    return mavlink.MAVLink_video_stream_status_message(STREAM, *_stream(video, report))


def camera_settings(now_s: float) -> Any:
    """CAMERA_SETTINGS: video mode, zoom and focus unknown."""
    return mavlink.MAVLink_camera_settings_message(
        _boot_ms(now_s), mavlink.CAMERA_MODE_VIDEO, math.nan, math.nan
    )


def tracking_status(video: VideoConfig, report: Report | None, target: Seen | None, is_silent: bool) -> Any:
    """CAMERA_TRACKING_IMAGE_STATUS of the reported target.

    Args:
        is_silent: the tracker says nothing any more, so nothing is known of any target.
    """
    flags, corners = mavlink.CAMERA_TRACKING_STATUS_FLAGS_IDLE, None
    if is_silent:
        flags = mavlink.CAMERA_TRACKING_STATUS_FLAGS_ERROR
    elif report is not None and target is not None:
        flags = _FLAGS[target.state]
        if target.state is not TrackState.LOST:
            corners = shown(target.box_xywh, video, report.width, report.height)
    mode = mavlink.CAMERA_TRACKING_MODE_RECTANGLE if corners else mavlink.CAMERA_TRACKING_MODE_NONE
    data = mavlink.CAMERA_TRACKING_TARGET_DATA_IN_STATUS
    if video.shows_overlay:
        data |= mavlink.CAMERA_TRACKING_TARGET_DATA_RENDERED
    no_point = (math.nan,) * 3  # x, y, radius
    return mavlink.MAVLink_camera_tracking_image_status_message(
        flags, mode, data, *no_point, *(corners or (math.nan,) * 4)
    )


def _stream(video: VideoConfig, report: Report | None) -> tuple[int | float, ...]:
    """Flags, rate, width, height, bit rate, rotation, field of view."""
    width, height = _resolution(video, report)
    running = mavlink.VIDEO_STREAM_STATUS_FLAGS_RUNNING
    return running, video.rate_hz, width, height, video.bitrate, 0, video.hfov_deg


def _resolution(video: VideoConfig, report: Report | None) -> tuple[int, int]:
    """Of the video, px; 0 = unknown."""
    width, height = (report.width, report.height) if report else (0, 0)
    return (
        min(video.width or round(video.crop_width * width), 65_535),
        min(video.height or round(video.crop_height * height), 65_535),
    )


def _name(text: str) -> bytes:
    """Whole characters in at most 31 bytes: the last one of the field ends the text."""
    return text.encode(errors="replace")[:31].decode(errors="ignore").encode()


def _boot_ms(now_s: float) -> int:
    return int(now_s * 1000) & 0xFFFFFFFF
