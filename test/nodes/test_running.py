"""How the callbacks of a node are run."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.node import Node
from ros_harness import ROOT, domain_id
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.nodes.running import THREADS, CallbackPool

pytestmark = pytest.mark.ros


@pytest.fixture
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=domain_id())
    yield context
    rclpy.shutdown(context=context)


def test_a_callback_that_waits_for_a_thread_is_not_handed_over_again_and_again(context: Context):
    """Doing so kept the threads from running: images came late or never."""
    node = Node("busy", context=context)
    free, begun = threading.Event(), []
    handed_over = 0

    def block() -> None:
        begun.append(threading.current_thread())
        free.wait(DEADLINE_S)

    for _ in range(THREADS + 1):  # one more than can run
        node.create_timer(0.001, block, callback_group=MutuallyExclusiveCallbackGroup())
    pool = CallbackPool(lambda callback: callback(), context)
    pool.add_node(node)

    def spin() -> None:
        nonlocal handed_over
        while not free.is_set():
            pool.spin_once(0.1)
            handed_over += 1

    spinner = threading.Thread(target=spin)
    spinner.start()
    wait_until(lambda: len(begun) == THREADS, "callbacks in all threads")
    spinner.join(0.3)
    assert len(begun) == THREADS
    assert handed_over <= 2 * THREADS
    free.set()
    spinner.join(DEADLINE_S)
    assert not spinner.is_alive()
    pool.finish()
    pool.shutdown()
    assert len(begun) > THREADS


ENDINGS = """
import signal
from distill_tracker_ros.nodes.running import Ending

for number in range(20_000):
    ending = Ending()
    ending.listen(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, (number % 100 + 1) / 1e6)
    ending.wait()
    assert ending.is_set()
print("none was missed")
"""


def test_no_signal_is_missed_whenever_it_comes() -> None:
    """Bug: one that came while the main thread began to wait was never heard, nor any after it."""
    command = [sys.executable, "-c", ENDINGS]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=3 * DEADLINE_S)
    assert done.stdout == "none was missed\n"


LONG_WORK = """
import time
from rclpy.node import Node
from distill_tracker_ros.nodes.running import ending, run

class Worker(Node):
    def __init__(self):
        super().__init__("worker")
        self.timer = self.create_timer(0.0, self.work)

    def work(self):
        self.timer.cancel()
        print("begun", flush=True)
        while not ending():
            time.sleep(0.01)
        print("given up", flush=True)

raise SystemExit(run(Worker))
"""


def test_long_work_in_a_callback_is_told_of_the_end() -> None:
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain_id())}
    command = [sys.executable, "-c", LONG_WORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0
            assert process.stdout.read() == "given up\n"
        finally:
            process.kill()
