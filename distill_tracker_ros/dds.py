"""The middleware's settings that large images need."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
FILE = Path("config") / "fastdds_large_images.xml"


def prepare_large_images() -> None:
    """Let this process publish images that are larger than the default shared memory of Fast DDS.

    To be called before ROS starts. A profile that the user has chosen stays.
    """
    os.environ.setdefault(VARIABLE, str(_profile()))


def _profile() -> Path:
    """In the checkout, else in the installed package."""
    checkout = Path(__file__).resolve().parents[1] / FILE
    if checkout.is_file():
        return checkout
    from ament_index_python.packages import get_package_share_path

    return Path(get_package_share_path("distill_tracker_ros")) / FILE
