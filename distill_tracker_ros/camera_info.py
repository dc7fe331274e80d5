"""From sensor_msgs/CameraInfo to a `core.line_of_sight.Camera`.

Any object with the fields of the message will do; nothing here needs rclpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .core.config import option
from .core.line_of_sight import IDENTITY, Camera, NotCalibratedError

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

MOST_COEFFICIENTS = 100  # that are looked at: more than any model has, and the others cost nothing


@dataclass(frozen=True)
class BearingConfig:
    """How the calibration is used for ~/bearing."""

    rectified: bool = option(False, "the images are rectified: P of camera_info counts, not K, D and R")


def camera_from_msg(msg: CameraInfo, rectified: bool = False) -> Camera:
    """The camera that a message describes, for raw images (K, D and R) or rectified ones (P).

    Both give directions in the frame of the rectified camera, which is the one that P projects from, and for
    a single camera (R = identity) its own.

    Raises:
        CameraError: it is not calibrated, or describes no camera; the text says why.
    """
    coefficients = msg.d[:MOST_COEFFICIENTS]
    k, d, r, p = ([float(each) for each in numbers] for numbers in (msg.k, coefficients, msg.r, msg.p))
    if k[0] == 0:
        raise NotCalibratedError("the camera is not calibrated: K[0] of its camera_info is 0")
    size, roi = (int(msg.width), int(msg.height)), msg.roi
    window_xywh = (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    binning = (max(1, int(msg.binning_x)), max(1, int(msg.binning_y)))
    if rectified:
        matrix = (*p[0:3], *p[4:7], *p[8:11])
        return Camera(size, matrix, window_xywh=window_xywh, binning=binning)
    rotation = r if any(r) else IDENTITY  # left empty by some drivers of single cameras
    return Camera(size, tuple(k), msg.distortion_model, tuple(d), tuple(rotation), window_xywh, binning)


def facts(msg: CameraInfo) -> tuple[object, ...]:
    """All that `camera_from_msg` looks at, to tell whether it has changed; cheap, for every image has one."""
    roi = msg.roi
    numbers = (values.tobytes() for values in (msg.d, msg.k, msg.r, msg.p))
    sensor = (msg.width, msg.height, msg.binning_x, msg.binning_y)
    region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    return (msg.distortion_model, *numbers, *sensor, *region)
