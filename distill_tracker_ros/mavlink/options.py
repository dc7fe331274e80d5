"""Every number and name of the MAVLink camera; the ROS parameters are made from these fields."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.config import check_ranges, choice, option
from ..core.texts import shown

# A stream's URI begins with one of these; VIDEO_STREAM_TYPE.
STREAM_TYPES = {"rtsp://": 0, "udp://": 1, "tcp://": 2, "mpegts://": 3}
LONGEST_URI = 159  # bytes; the last one of the field ends the text
_ROUNDING = 1e-9


@dataclass(frozen=True)
class CameraConfig:
    """What the camera says of itself."""

    vendor: str = option("distill_tracker_ros", "vendor that ground stations show, up to 31 bytes")
    model: str = option("tracker", "model that ground stations show, up to 31 bytes")
    focal_length_mm: float = option(0.0, "focal length, mm; 0 = unknown", 0.0, 10_000.0)
    sensor_width_mm: float = option(0.0, "width of the sensor, mm; 0 = unknown", 0.0, 1000.0)
    sensor_height_mm: float = option(0.0, "height of the sensor, mm; 0 = unknown", 0.0, 1000.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class VideoConfig:
    """The video that the pilot sees, which another program sends, and what part of the image it shows."""

    uri: str = option(
        "",
        f"where it is: {', '.join(STREAM_TYPES)} or a UDP port; empty = set at the ground station by hand",
    )
    name: str = option("video", "name of the stream, up to 31 bytes")
    encoding: str = choice("of the stream", "h264", "h265", "unknown")
    width: int = option(0, "px; 0 = that of the shown part of the tracker's images", 0, 65_535)
    height: int = option(0, "px; 0 = that of the shown part of the tracker's images", 0, 65_535)
    rate_hz: float = option(0.0, "images per second; 0 = unknown", 0.0, 1000.0)
    bitrate: int = option(0, "bits per second; 0 = unknown", 0, 4_000_000_000)
    hfov_deg: int = option(0, "horizontal field of view, degrees; 0 = unknown", 0, 360)
    shows_overlay: bool = option(False, "the stream is the tracker's overlay: boxes are drawn in it already")
    crop_left: float = option(0.0, "left edge of the shown part, share of the image's width", 0.0, 1.0)
    crop_top: float = option(0.0, "top edge of the shown part, share of the image's height", 0.0, 1.0)
    crop_width: float = option(1.0, "width of the shown part, share of the image's", 0.001, 1.0)
    crop_height: float = option(1.0, "height of the shown part, share of the image's", 0.001, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self)
        for side, start, length in (
            ("width", self.crop_left, self.crop_width),
            ("height", self.crop_top, self.crop_height),
        ):
            if start + length > 1 + _ROUNDING:
                edge = "crop_left" if side == "width" else "crop_top"
                text = f"video.{edge} = {start:g} and video.crop_{side} = {length:g}"
                raise ValueError(f"{text}: accepted is a part within the image, a sum of at most 1")
        if self.uri and self.stream_type is None:
            kinds = ", ".join(f"{start}..." for start in STREAM_TYPES)
            raise ValueError(f"video.uri = {shown(self.uri)}: accepted is {kinds} or a UDP port")
        if len(self.uri.encode()) > LONGEST_URI:
            raise ValueError(f"video.uri = {shown(self.uri)}: accepted are {LONGEST_URI} bytes")

    @property
    def stream_type(self) -> int | None:
        """VIDEO_STREAM_TYPE of the URI; None if it is of no known kind."""
        if self.uri.isascii() and self.uri.isdecimal() and 0 < int(self.uri) < 65_536:
            return STREAM_TYPES["udp://"]
        return next((kind for start, kind in STREAM_TYPES.items() if self.uri.startswith(start)), None)


@dataclass(frozen=True)
class MavlinkOptions:
    """Everything that can be set on the MAVLink node."""

    connection: str = option(
        "udpout:127.0.0.1:14550",
        "udpout:HOST:PORT, udpin:HOST:PORT, tcp:HOST:PORT, tcpin:HOST:PORT, or a serial DEVICE:BAUD",
    )
    component_id: int = option(100, "MAVLink component: camera 1 to 6 of the vehicle", 100, 105)
    system_id: int = option(0, "MAVLink system: that of the vehicle; 0 = learned from its HEARTBEAT", 0, 255)
    target_id: str = option("mavlink", "name of the target that a ground station sets")
    point_side: float = option(
        0.1, "side of the box around a point without a radius, share of the video's width", 0.001, 1.0
    )
    status_rate_hz: float = option(
        5.0,
        "boxes per second for a ground station that asks for the default rate, Hz",
        0.1,
        50.0,
    )
    video_delay_ms: int = option(
        0, "age of the picture on which the pilot marks a target, ms; 0 = mark the newest image", 0, 60_000
    )
    service_timeout_s: float = option(5.0, "longest time to wait for the tracker's answer, s", 0.1, 600.0)
    camera: CameraConfig = CameraConfig()
    video: VideoConfig = VideoConfig()

    def __post_init__(self) -> None:
        if not self.target_id:
            raise ValueError("target_id = '': accepted is a name, which a new mark replaces the target of")


FIXED_AT_START = ("connection", "component_id", "system_id", "service_timeout_s")
