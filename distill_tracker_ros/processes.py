"""Nodes of this package as processes of their own, apart from every other ROS graph; they always end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from .command_line import CommandError
from .dds import prepare_large_images

_LAST_LINES = 8  # of a node's output, shown when it dies
_PATIENCE_S = 5.0  # for a node to end before it is made to

Parameter = bool | int | float | str


@contextlib.contextmanager
def own_graph(log_folder: Path) -> Iterator[None]:
    """Keep this process and its children to a ROS graph of their own on this machine, fit for large images.

    What the user has set (ROS_DOMAIN_ID, the middleware's profile) stays.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOG_DIR"] = str(log_folder.resolve())
    prepare_large_images()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class NodeProcess:
    """A node in a process of its own; its output goes to a file. Use it in a `with` block."""

    def __init__(
        self, module: str, log_folder: Path, *, namespace: str = "", **parameters: Parameter
    ) -> None:
        """
        Args:
            module: of distill_tracker_ros.nodes.
            log_folder: gets `<module>.log`.
            namespace: of the node, without slashes at its ends; empty = the root.
            parameters: of the node.
        """
        self.module = module
        self._log = log_folder / f"{module}.log"
        command = [sys.executable, "-m", f"distill_tracker_ros.nodes.{module}", "--ros-args"]
        if namespace:
            command += ["-r", f"__ns:=/{namespace}"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
        # An interrupt waits: a Popen that it breaks off leaves a process that nobody knows.
        with self._log.open("w", encoding="utf-8") as log, _interrupt_waits():
            # A session of its own: Ctrl-C reaches this process alone, which then ends the nodes in order.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            # Ends the node also where an interrupt comes before the `with` block is entered.
            self._finish = weakref.finalize(self, _end, self._process)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def check(self) -> None:
        """Raise CommandError if the node has ended with an error, with the last lines that it wrote."""
        if self._process.poll():
            raise self.failure(f"{self.module} ended with exit code {self._process.returncode}")

    def failure(self, what: str) -> CommandError:
        """An error that shows the last lines of the node's output."""
        lines = self._output().splitlines()[-_LAST_LINES:]
        return CommandError(f"{what}; its last lines ({self._log}): {' | '.join(lines) or 'none'}")

    def has_said(self, words: str) -> bool:
        """Whether these words are in what the node has written so far."""
        return words in self._output()

    def _output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End the node: by SIGINT, or if it does not listen, by SIGKILL."""
        self._finish()


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)


@contextlib.contextmanager
def _interrupt_waits() -> Iterator[None]:
    """Hold SIGINT back until the block has ended: a Popen that it breaks off leaves an unknown process."""
    came = False

    def remember(*_: object) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _yaml(value: Parameter) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)
