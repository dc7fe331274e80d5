"""MAVLink's common messages, or one sentence on how to get them."""

from __future__ import annotations

import sys

try:
    from pymavlink.dialects.v20 import common as mavlink
except ImportError as error:
    sys.exit(f"distill_tracker_ros: pymavlink is missing ({error}): get it with 'pip install pymavlink'")

__all__ = ["mavlink"]
