"""Real node processes, and a client in this process that talks to them. Everything waits with a deadline."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[1]
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


def domain_id() -> int:
    """A ROS domain for this test run; ROS_DOMAIN_ID chooses it."""
    return int(os.environ.get("ROS_DOMAIN_ID") or 10 + os.getpid() % 90)


class NodeProcess:
    """An executable of the package, with what it printed."""

    def __init__(
        self, module: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> None:
        command = [sys.executable, "-m", f"distill_tracker_ros.nodes.{module}", *arguments]
        self._start(command, folder, env)

    @classmethod
    def of(cls, command: list[str], folder: Path) -> NodeProcess:
        """Another command that runs nodes."""
        process = cls.__new__(cls)
        process._start(command, folder, None)
        return process

    def _start(self, command: list[str], folder: Path, env: Mapping[str, str] | None) -> None:
        self._log = folder / f"process_{time.monotonic_ns()}.log"
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain_id()),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder),
            "RCUTILS_COLORIZED_OUTPUT": "0",
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                env=environment | dict(env or {}),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Exit code."""
        return self._process.wait(deadline_s)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as an operator would; exit code. What does not end is killed, and TimeoutExpired raised."""
        if self.alive:
            self._process.send_signal(number)
        try:
            return self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        if self.alive:
            self._process.kill()
            self._process.wait(DEADLINE_S)


@contextmanager
def running(module: str, folder: Path, *arguments: str, **parameters: Any) -> Iterator[NodeProcess]:
    """A node process that is gone afterwards, whatever happens; `a__b` = parameter `a.b`."""
    settings = [f"{name.replace('__', '.')}:={_yaml(value)}" for name, value in parameters.items()]
    flags = [word for setting in settings for word in ("-p", setting)]
    process = NodeProcess(module, folder, *arguments, *(["--ros-args", *flags] if flags else []))
    try:
        yield process
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.stop()  # before it is killed: a killed node leaves its shared memory behind
        print(process.output)  # shown by pytest when the test failed


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


class Client:
    """A node in this process whose callbacks run in a thread of their own."""

    def __init__(self) -> None:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id())
        self.node = rclpy.create_node("test_client", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._clients: dict[str, Any] = {}

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        rclpy.shutdown(context=self._context)
        self._thread.join(DEADLINE_S)
        self._executor.shutdown()
        self.node.destroy_node()  # or its publishers stay in the graph until the garbage is collected

    def listen(self, kind: type, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """The messages that come on a topic from now on."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def call(self, kind: type, name: str, deadline_s: float = DEADLINE_S, **request: Any) -> Any:
        """The answer of a service."""
        is_new = name not in self._clients
        if is_new:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        assert client.wait_for_service(deadline_s), f"there is no service {name}"
        futures = [client.call_async(kind.Request(**request))]
        if is_new:
            # On a busy machine the service may not know its new client yet, and drops the answer: ask again.
            with suppress(AssertionError):
                wait_until(futures[0].done, f"an answer of {name}", deadline_s / 4)
            if not futures[0].done():
                futures.append(client.call_async(kind.Request(**request)))
        answered = wait_until(lambda: [f for f in futures if f.done()], f"an answer of {name}", deadline_s)
        return answered[0].result()


def time_msg(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def image_msg(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str = "camera") -> Image:
    height, width = rgb.shape[:2]
    data = array.array("B", np.ascontiguousarray(rgb).tobytes())
    msg = Image(width=width, height=height, encoding="rgb8", step=3 * width, data=data)
    msg.header.stamp, msg.header.frame_id = time_msg(stamp_ns), frame_id
    return msg


def compressed_msg(data: bytes, stamp_ns: int) -> CompressedImage:
    msg = CompressedImage(format="jpeg", data=array.array("B", data))
    msg.header.stamp = time_msg(stamp_ns)
    return msg
