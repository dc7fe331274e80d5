"""Between a message and its box nothing is allocated that is as large as the frame."""

from __future__ import annotations

import array
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from distill_tracker_ros.core import crop
from distill_tracker_ros.core.crop import Region
from distill_tracker_ros.core.decode import hann_window, peak
from distill_tracker_ros.messages import ENCODINGS, open_image

SIZE = 128  # px, side of a search crop
GRID = 8


def message(encoding: str, width: int, height: int) -> SimpleNamespace:
    """A black picture."""
    step = width * {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4}.get(encoding, 1)
    step *= 2 if encoding.startswith(("yu", "uy")) else 1
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    data = array.array("B", bytes(step * rows))
    return SimpleNamespace(width=width, height=height, encoding=encoding, step=step, data=data)


def track(msg: SimpleNamespace, region: Region) -> None:
    """What one target costs around the engine."""
    scores, boxes = np.full((GRID, GRID), 0.5, np.float32), np.full((4, GRID, GRID), 0.5, np.float32)
    crop.cut(open_image(msg), region, SIZE)
    found = peak(scores, boxes, hann_window(GRID, 0.5))
    crop.box_to_frame(found.box_cxcywh, region)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that NumPy's arrays took at one time, those that OpenCV returns among them."""
    work()  # what is imported or cached once does not count
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def growth_mb() -> Iterator[list[float]]:
    """Takes down by how much the process grew at most, by the kernel's count: OpenCV's own memory, too."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError as error:
        pytest.skip(f"this kernel does not reset the peak: {error}")
    before, grown = _peak_mb(), []
    yield grown
    grown.append(_peak_mb() - before)


def _peak_mb() -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_array_is_as_large_as_the_frame(encoding: str) -> None:
    """All arrays together are not: for small, large and overlapping regions, one beyond the whole frame."""
    msg = message(encoding, 1280, 720)
    frame_bytes = 1280 * 720 * 3
    sides = (40, SIZE, 200, 383, 384, 600, 719, 1000, 1300, 3000)
    for side, (x, y) in itertools.product(sides, ((640, 360), (0, 0), (1279, 500))):
        region = Region(x - side // 2, y - side // 2, side)
        assert peak_bytes(lambda region=region: track(msg, region)) < frame_bytes, region


@pytest.mark.parametrize("encoding", ["bgr8", "bayer_rggb8", "nv12"])
def test_nor_is_what_opencv_allocates_for_itself(encoding: str) -> None:
    """The frame is so large that the peak of the whole process would show it."""
    msg = message(encoding, 6000, 4000)  # 72 MB in RGB
    region = Region(900, 300, 4400)
    track(message(encoding, 1280, 720), Region(200, 100, 600))
    with growth_mb() as grown:
        track(msg, region)
    assert grown[0] < 36


def test_these_tests_would_see_it() -> None:
    msg = message("bgr8", 6000, 4000)
    assert peak_bytes(lambda: open_image(msg).cut(0, 0, 6000, 4000)) >= 72_000_000
    with growth_mb() as grown:
        open_image(msg).cut(0, 0, 6000, 4000)
    assert grown[0] > 50
