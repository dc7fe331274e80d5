"""MAVLink's common messages, or one sentence on how to get them."""

from __future__ import annotations

import sys

try:
    from pymavlink.dialects.v20 import common as mavlink

    if not hasattr(mavlink, "VIDEO_STREAM_ENCODING_H264"):
        raise ImportError("this one is older")
except ImportError as error:
    sys.exit(f"distill_tracker_ros: pymavlink >= 2.4.42 is missing ({error}): 'pip install -U pymavlink'")

__all__ = ["mavlink"]
