"""A MAVLink camera on the desk: messages in wire format, a clock and a tracker that are moved by hand."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.mavlink.camera import Camera
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.mavlink.options import MavlinkOptions
from distill_tracker_ros.mavlink.tracker import Box, Report, Seen

VEHICLE, CAMERA = 7, 100
STATION = (255, 190)
WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class Said:
    """An answer of the tracker."""

    success: bool
    message: str = ""
    retry: bool = False


@dataclass
class HandTracker:
    """Notes what it is asked; the test answers."""

    report: Report | None = field(default_factory=lambda: Report(WIDTH, HEIGHT, ()))
    silent_s: float = 0.0
    calls: list[tuple[str, Any, Future[Any]]] = field(default_factory=list)

    def follow(self, box_xywh: Box, id: str) -> Future[Any]:
        return self._call("follow", (id, tuple(round(v, 3) for v in box_xywh)))

    def drop(self, id: str) -> Future[Any]:
        return self._call("drop", id)

    def _call(self, name: str, about: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((name, about, future))
        return future

    def answer(self, success: bool, message: str = "", retry: bool = False) -> None:
        """Of the last call."""
        self.calls[-1][2].set_result(Said(success, message, retry))

    def sees(self, *targets: tuple[str, TrackState, Box]) -> None:
        seen = tuple(Seen(id, state, box, "nothing looks enough like it") for id, state, box in targets)
        self.report = Report(WIDTH, HEIGHT, seen)


class Lines:
    """What would be logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, event: str, sentence: str, /, **fields: Any) -> None:
        self.lines.append((event, sentence))

    warning = error = info


class Desk:
    """The camera, and who talks to it. What it sends is packed, and read again as a ground station would."""

    def __init__(self, **options: Any) -> None:
        self.options = MavlinkOptions(**{"system_id": VEHICLE, **options})
        self.tracker, self.log = HandTracker(), Lines()
        self.camera = Camera(lambda: self.options, self.tracker, self.log)
        self.now_s = 1000.0
        self._codec = mavlink.MAVLink(None)

    def send(self, message: Any, sender: tuple[int, int] = STATION, old: bool = False) -> list[Any]:
        """A message to the camera; what it sends at once. `old`: as MAVLink 1."""
        self._codec.srcSystem, self._codec.srcComponent = sender
        received = self._codec.decode(bytearray(message.pack(self._codec, force_mavlink1=old)))
        return self._read(self.camera.receive(received, self.now_s))

    def wait(self, seconds: float = 0.0) -> list[Any]:
        """Time passes in steps as the link makes them; all that the camera sends of itself."""
        sent = []
        steps = max(1, math.ceil(seconds / 0.02))
        for _ in range(steps):
            self.now_s += seconds / steps
            sent += self._read(self.camera.tick(self.now_s))
        return sent

    def meet(self) -> None:
        """A ground station is there, and what is told at the start is over."""
        self.send(gcs_heartbeat())
        self.wait(0.1)

    def _read(self, messages: list[Any]) -> list[Any]:
        codec = mavlink.MAVLink(None)
        codec.srcSystem, codec.srcComponent = self.camera.address
        return [codec.decode(bytearray(message.pack(codec))) for message in messages]


def gcs_heartbeat() -> Any:
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_GCS, mavlink.MAV_AUTOPILOT_INVALID, 0, 0, mavlink.MAV_STATE_ACTIVE, 3
    )


def vehicle_heartbeat() -> Any:
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_PX4, 0, 0, mavlink.MAV_STATE_ACTIVE, 3
    )


def command(
    id: int,
    *params: float,
    confirmation: int = 0,
    system: int = VEHICLE,
    component: int = CAMERA,
) -> Any:
    """A COMMAND_LONG; parameters that are left out are 0."""
    values = [*params, *[0.0] * (7 - len(params))]
    return mavlink.MAVLink_command_long_message(system, component, id, confirmation, *values)


def command_int(id: int, *params: float, system: int = VEHICLE, component: int = CAMERA) -> Any:
    """The same as a COMMAND_INT."""
    a, b, c, d, x, y, z = [*params, *[0] * (7 - len(params))]
    return mavlink.MAVLink_command_int_message(system, component, 0, id, 0, 0, a, b, c, d, int(x), int(y), z)


def fields(message: Any) -> dict[str, Any]:
    """Every field of a message; a nan is the text 'nan', so that it is equal to itself."""
    content = message.to_dict()
    content.pop("mavpackettype")
    return {name: _comparable(value) for name, value in content.items()}


def _comparable(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else round(value, 5)
    if isinstance(value, list):
        return bytes(value).rstrip(b"\0").decode()
    return value


def kinds(messages: list[Any]) -> list[str]:
    return [message.get_type() for message in messages]


def results(messages: list[Any]) -> list[int]:
    """Of the COMMAND_ACKs among them."""
    return [message.result for message in messages if message.get_type() == "COMMAND_ACK"]


def texts(messages: list[Any]) -> list[str]:
    """Of the STATUSTEXTs, pieces joined."""
    sentences: list[str] = []
    for message in messages:
        if message.get_type() == "STATUSTEXT":
            if message.chunk_seq:
                sentences[-1] += message.text
            else:
                sentences.append(message.text)
    return sentences
