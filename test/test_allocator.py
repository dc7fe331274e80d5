"""What is kept of a stream of images takes the memory of these images, whichever threads took them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

IMAGE_BYTES, KEPT, THREADS = 1280 * 720 * 3, 30, 4

STREAM = f"""
import array
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import psutil

from distill_tracker_ros.allocator import use_one_arena

if "one" in sys.argv:
    use_one_arena()
process, received = psutil.Process(), bytes({IMAGE_BYTES})
threads = [ThreadPoolExecutor(1) for _ in range({THREADS})]
kept = deque(maxlen={KEPT})

def take():
    image = array.array("B")
    image.frombytes(bytearray(received))
    return image

before = process.memory_info().rss
for number in range(800):
    # Now the one, now the other thread is at hand for most of them.
    busy = number // 50 if number % 3 else number
    kept.append(threads[busy % {THREADS}].submit(take).result())
print(process.memory_info().rss - before)
"""


def grown_by(*arguments: str) -> float:
    """Memory that the stream took, in those of the images that are kept."""
    command = [sys.executable, "-c", STREAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout) / (IMAGE_BYTES * KEPT)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_a_stream_takes_the_memory_of_what_is_kept():
    assert grown_by("one") < 1.2
    assert grown_by() > 1.5  # else this test shows nothing


@pytest.mark.ros
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_a_node_has_one_arena():
    """Told by the C library itself, after all imports of the node; rclpy's begin threads."""
    import ros_needed  # noqa: F401

    show = "import ctypes, distill_tracker_ros.nodes.tracker_node as _; libc = ctypes.CDLL(None);"
    show += "libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, 'stdout'))"
    done = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.count("<heap nr=") == 1
