"""What a process holds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distill_tracker_ros.nodes.resources import resources

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc is Linux's")


def test_memory_descriptors_and_threads_are_counted() -> None:
    before = resources()
    assert before is not None and before.memory_mb > 5 and before.threads >= 1
    block = bytearray(os.urandom(1) * 60_000_000)
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    release = threading.Event()
    threads = [threading.Thread(target=release.wait) for _ in range(7)]
    for thread in threads:
        thread.start()
    after = resources()
    release.set()
    for thread in threads:
        thread.join()
    for file in files:
        os.close(file)
    assert after is not None and len(block) == 60_000_000
    assert 50 < after.memory_mb - before.memory_mb < 80
    assert (after.descriptors - before.descriptors, after.threads - before.threads) == (20, 7)


def test_another_process_and_one_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        of_child = resources(process.pid)
        assert of_child is not None and of_child.threads == 1
    assert resources(process.pid) is None
