"""The message types that have to be built, or one sentence on how to build them."""

from __future__ import annotations

import sys

try:
    from vision_msgs.msg import Detection2D, Detection2DArray

    from distill_tracker_msgs.msg import TargetView, TrackedTarget, TrackerStatus
    from distill_tracker_msgs.srv import ClearTarget, GetViews, SetTarget
except ImportError as error:
    sys.exit(
        f"distill_tracker_ros: message types are missing ({error}): build them with 'colcon build "
        "--base-paths . distill_tracker_msgs' in the folder of distill_tracker_ros (vision_msgs comes with "
        "ROS 2, or from scripts/setup.sh), then run '. install/setup.bash'"
    )

__all__ = [
    "ClearTarget",
    "Detection2D",
    "Detection2DArray",
    "GetViews",
    "SetTarget",
    "TargetView",
    "TrackedTarget",
    "TrackerStatus",
]
