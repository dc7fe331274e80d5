"""Running a node until it ends: signals, errors in callbacks, exit code."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


class NodeError(RuntimeError):
    """A node cannot start or cannot go on; the text says why."""


def run(make_node: Callable[[], Node]) -> int:
    """Spin a node until SIGINT, SIGTERM or the end of its context; exit code 0, or 1 after a NodeError.

    Any other exception in a callback is logged, and the node lives on. rclpy's handlers of signals are left
    out: they end the context under the callbacks' feet.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (RuntimeError, ValueError, ParameterException) as error:  # RuntimeError: also those of rcl
        print(f"error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    spinner = _Spinner(node, stop)
    stop.wait()
    spinner.end()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if spinner.failed else 0


class _Spinner:
    """Runs the callbacks of a node in threads, and leaves the main thread to the signals."""

    def __init__(self, node: Node, stop: threading.Event) -> None:
        self.failed = False
        self._node, self._stop = node, stop
        self._executor = MultiThreadedExecutor(num_threads=2)
        self._executor.add_node(node)
        self._wake = node.create_guard_condition(lambda: None)
        self._thread = threading.Thread(target=self._spin, name="spinner")
        self._thread.start()

    def end(self) -> None:
        """Return when the last callback has returned."""
        if rclpy.ok():
            self._wake.trigger()
        self._thread.join()
        # Up to Jazzy `shutdown` does not wait for its threads, and callbacks trip over what it destroys.
        self._executor._executor.shutdown(wait=True)
        self._executor.shutdown()

    def _spin(self) -> None:
        while rclpy.ok() and not self._stop.is_set():
            try:
                self._executor.spin_once()
            except NodeError as error:
                self._node.get_logger().fatal(str(error))
                self.failed = True
                break
            except Exception as error:
                if rclpy.ok():  # otherwise it is about the context that has just ended
                    self._node.get_logger().error(f"a callback failed: {error}\n{traceback.format_exc()}")
        self._stop.set()
