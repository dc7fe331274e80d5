"""The camera on a connection: a thread that reads, answers, and opens what broke again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .camera import Camera, Facts
from .dialect import mavlink
from .reader import Reader
from .transport import Transport

POLL_S = 0.02  # between two looks at the time and at the tracker's answers
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0  # before a connection is opened again


class Log(Protocol):
    """Lines of an event, a sentence and fields."""

    def info(self, event: str, sentence: str, /, **fields: Any) -> None: ...
    def warning(self, event: str, sentence: str, /, **fields: Any) -> None: ...
    def error(self, event: str, sentence: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True)
class LinkFacts:
    """What is known of the link, for diagnostics."""

    trouble: str  # why the connection is not open; empty if it is
    bad_bytes: int
    camera: Facts


class Link:
    """Runs a camera on a connection from `start` to `stop`."""

    def __init__(self, name: str, open: Callable[[], Transport], camera: Camera, log: Log) -> None:
        """
        Args:
            name: of the connection, for people.
            open: opens it; an error is told, and it is called again later.
        """
        self._name, self._open, self._camera, self._log = name, open, camera, log
        self._reader = Reader()
        self._codec = mavlink.MAVLink(None)
        self._trouble = "not opened yet"
        self._lock = threading.Lock()  # of the camera
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mavlink", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def facts(self) -> LinkFacts:
        with self._lock:
            camera = self._camera.facts(time.monotonic())
        return LinkFacts(self._trouble, self._reader.bad_bytes, camera)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                transport = self._open()
            except (OSError, ValueError) as error:  # ValueError: a host that is no name
                self._tell_trouble(f"{self._name} cannot be opened: {error}")
            else:
                wait_s = self._serve(transport, wait_s)
                transport.close()
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _serve(self, transport: Transport, wait_s: float) -> float:
        """Until the connection breaks or it is to stop; how long to wait before it is opened again."""
        self._trouble = ""
        self._log.info("link_open", f"{self._name} is open")
        try:
            while not self._stop.is_set():
                data = transport.read(POLL_S)
                wait_s = FIRST_WAIT_S if data else wait_s
                for message in self._answers(data):
                    transport.write(message)
        except OSError as error:
            self._tell_trouble(f"{self._name} is broken: {error}")
        return wait_s

    def _tell_trouble(self, text: str) -> None:
        self._trouble = text
        self._log.warning("link_closed", f"{text}; it is tried again")

    def _answers(self, data: bytes) -> Iterable[bytes]:
        """What is to be sent now, packed. No message from outside ends the thread."""
        packed: list[bytes] = []
        now_s = time.monotonic()
        steps: list[Callable[[], list[Any]]] = [partial(self._camera.tick, now_s)]
        for message in self._reader.feed(data, now_s):
            steps.append(partial(self._camera.receive, message, now_s))
        with self._lock:
            for step in steps:
                try:
                    packed += [self._pack(message) for message in step()]
                except Exception as error:
                    text = f"a message could not be answered ({type(error).__name__}: {error})"
                    self._log.error("mavlink_failed", text)
        return packed

    def _pack(self, message: Any) -> bytes:
        codec = self._codec
        codec.srcSystem, codec.srcComponent = self._camera.address
        data: bytes = message.pack(codec)
        codec.seq = (codec.seq + 1) % 256
        return data
