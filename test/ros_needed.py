"""Skips tests that need ROS 2 and the built messages where they are not at hand."""

from __future__ import annotations

import pytest

try:
    import rclpy  # noqa: F401
    from vision_msgs.msg import Detection2DArray  # noqa: F401

    from distill_tracker_msgs.srv import SetTarget  # noqa: F401
except ImportError as error:
    reason = f"needs ROS 2 and the built messages: . install/setup.bash ({error})"
    pytest.skip(reason, allow_module_level=True)
