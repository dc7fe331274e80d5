"""Running a node until it ends: signals, errors in callbacks, exit code."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import rclpy
from rclpy.context import Context
from rclpy.exceptions import ParameterException
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Task

# That run callbacks: for images, a service that waits for the tracker, diagnostics, and the watchdog, whose
# turn must come whatever the others wait for.
THREADS = 4


class Ending:
    """That the process is to end: told by a signal or by any thread, waited for by the main thread.

    No lock is waited for. The handler of a signal that comes just before that would never run, and an Event
    that it sets waits for what the interrupted `wait` holds. A signal always gets its byte into a socket.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waking, self._woken = socket.socketpair()
        self._waking.setblocking(False)

    def listen(self, *signals: signal.Signals) -> None:
        """Be set by these signals from now on; for the main thread."""
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_: self.set())

    def set(self) -> None:
        self._is_set = True
        with suppress(BlockingIOError):  # it is full of bytes that wake as well
            self._waking.send(b"\0")

    def is_set(self) -> bool:
        return self._is_set

    def wait(self) -> None:
        """Return when it is set."""
        while not self._is_set:
            self._woken.recv(1)


_stop = Ending()  # one for the process, as signals are


class NodeError(RuntimeError):
    """A node cannot start or cannot go on; the text says why."""


def run(make_node: Callable[[], Node]) -> int:
    """Spin a node until SIGINT, SIGTERM or the end of its context; exit code 0, or 1 after a NodeError.

    Any other exception in a callback is logged, and the node lives on. rclpy's handlers of signals are left
    out: they end the context under the callbacks' feet.
    """
    _stop.listen(signal.SIGINT, signal.SIGTERM)
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (RuntimeError, ValueError, ParameterException) as error:  # RuntimeError: also those of rcl
        print(f"error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    spinner = _Spinner(node, _stop)
    _stop.wait()
    spinner.end()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if spinner.failed else 0


def ending() -> bool:
    """Whether this process was told to end, which waits for callbacks: long work in one gives up then."""
    return _stop.is_set()


class _Spinner:
    """Runs the callbacks of a node in threads, and leaves the main thread to the signals."""

    def __init__(self, node: Node, stop: Ending) -> None:
        self.failed = False
        self._node, self._stop = node, stop
        self._executor = CallbackPool(self._call)
        self._executor.add_node(node)
        self._wake = node.create_guard_condition(lambda: None)
        self._thread = threading.Thread(target=self._spin, name="spinner")
        self._thread.start()

    def end(self) -> None:
        """Return when the last callback has returned."""
        if rclpy.ok():
            self._wake.trigger()
        self._thread.join()
        # `shutdown` of up to Jazzy does not wait for callbacks, and they trip over what it destroys.
        self._executor.finish()
        self._executor.shutdown()

    def _spin(self) -> None:
        while rclpy.ok() and not self._stop.is_set():
            self._executor.spin_once()
        self._stop.set()

    def _call(self, callback: Task) -> None:
        try:
            callback()
            if callback.done():
                callback.result()
        except NodeError as error:
            self._node.get_logger().fatal(str(error))
            self.failed = True
            self._stop.set()
        except Exception as error:
            if rclpy.ok():  # otherwise it is about the context that has just ended
                self._node.get_logger().error(f"a callback failed: {error}\n{traceback.format_exc()}")


class CallbackPool(Executor):
    """Runs callbacks in some threads: while one waits for the tracker, another one takes images.

    rclpy's own MultiThreadedExecutor (up to Jazzy) does not wait until a thread has begun the callback that
    it was handed: finding it not begun, it hands it over again, without end, and by that keeps Python's lock
    from the very thread that is to begin. Images waited for 100 ms, and those in between were lost.
    """

    def __init__(self, call: Callable[[Task], None], context: Context | None = None) -> None:
        """`call`: runs a callback, and does what is to be done about its errors."""
        super().__init__(context=context)
        self._call = call
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="callback")

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for a callback that is ready and for a thread that begins it."""
        try:
            callback, _, _ = self.wait_for_ready_callbacks(timeout_sec)
        except (ExternalShutdownException, ShutdownException, TimeoutException):
            return
        begun = threading.Event()
        self._threads.submit(self._begin, callback, begun)
        begun.wait()

    def finish(self) -> None:
        """Return when the last callback has returned."""
        self._threads.shutdown()

    def _begin(self, callback: Task, begun: threading.Event) -> None:
        begun.set()
        if not callback.done():  # it may be handed over twice before it marks itself as begun
            self._call(callback)
