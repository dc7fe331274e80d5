"""Recordings: read, also when they are broken, and written, with no ROS installed.

What is here needs no rosbags; `reading` and `writing` do, and are imported where a bag is at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ..sequences import SequenceError

SUFFIXES = frozenset({".bag", ".db3", ".mcap"})
IMAGE_TOPIC = "/image"  # of what is written
TRUTH_TOPIC = "/ground_truth"

Encoding = Literal["bgr8", "rgb8", "mono8", "jpeg"]  # of images that are written


class BagWriteError(ValueError):
    """A bag cannot be written; the text says why and what is accepted."""


def is_bag(path: Path) -> bool:
    """Whether a path looks like a bag: a folder with a metadata.yaml, or a file of the right suffix."""
    if path.is_dir():
        return (path / "metadata.yaml").exists()
    return path.suffix in SUFFIXES


@contextmanager
def rosbags_needed() -> Iterator[None]:
    """Around an import of `reading` or `writing`.

    Raises:
        SequenceError: rosbags is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise SequenceError(f"bags need the Python package rosbags ({error}): pip install rosbags") from error
