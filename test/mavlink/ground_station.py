"""A ground station that treats a camera as QGroundControl does. It has a process of its own.

    python ground_station.py udpin:127.0.0.1:14550 VEHICLE

Orders come as lines of JSON, {"do": NAME, ...}, and everything that happens leaves as such lines,
{"event": NAME, ...}. It passes the vehicle's HEARTBEATs on as a router would.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

os.environ["MAVLINK20"] = "1"

from pymavlink import mavutil

INFORMATION, SETTINGS, STREAM, STREAM_STATUS, TRACKING = 259, 260, 269, 270, 275
REQUEST, REQUEST_INFORMATION, INTERVAL = 512, 521, 511
POINT, RECTANGLE, STOP = 2004, 2005, 2010
STATUS_INTERVAL_US = 500_000
CAMERAS = range(100, 106)
PATIENCE_S, MOST_TRIES = 1.2, 3  # for an acknowledgement
INFORMATION_RETRY_S, MOST_INFORMATION_TRIES = 2.0, 5
GONE_S = 5.0  # without a HEARTBEAT of the camera
USUAL_RADIUS = 0.05  # of a point without one


@dataclass
class Attempt:
    """A command that waits for its acknowledgement."""

    params: tuple[float, ...]
    due_s: float
    confirmation: int = 0


@dataclass
class Camera:
    """What is known of a camera."""

    heard_s: float
    asked_s: float = -math.inf
    tries: int = 0
    information: Any = None
    attempts: dict[int, Attempt] = field(default_factory=dict)  # by command


class GroundStation:
    """Its side of the conversation."""

    def __init__(self, connection: str, vehicle: int) -> None:
        self.vehicle = vehicle
        self.link = mavutil.mavlink_connection(
            connection, source_system=255, source_component=190, dialect="common"
        )
        self._router = mavutil.mavlink.MAVLink(self.link, vehicle, 1)
        self._cameras: dict[int, Camera] = {}
        self._marked: tuple[float, ...] = ()  # what was drawn last; the same is not sent again
        self._button = False
        self._talks = self._routes = True
        self._beat_s = 0.0
        self._acks_to_lose = 0

    def turn(self) -> None:
        """Listen for a moment, and do what is due."""
        now_s = time.monotonic()
        if now_s - self._beat_s >= 1.0:
            self._beat_s = now_s
            self._beat()
        message = self.link.recv_match(blocking=True, timeout=0.02)
        if message is not None and message.get_srcSystem() == self.vehicle:
            self._hear(message, time.monotonic())
        self._look_after_cameras(time.monotonic())

    def obey(self, order: dict[str, Any]) -> None:
        """Orders are methods."""
        name = order.pop("do")
        getattr(self, f"do_{name}")(**order)
        say("done", order=name)

    # Orders.

    def do_button(self, on: bool) -> None:
        """The tracking button, which is there if the camera tracks."""
        flags = next(iter(self._cameras.values())).information.flags
        assert flags & (512 | 1024), "there is no tracking button"
        self._button = on

    def do_rectangle(self, corners: list[float]) -> None:
        """Dragged in the video."""
        assert self._button
        if tuple(corners) != self._marked:
            self._marked = tuple(corners)
            self._command(RECTANGLE, *corners)
            self._command(INTERVAL, TRACKING, STATUS_INTERVAL_US)

    def do_point(self, x: float, y: float, radius: float) -> None:
        """Clicked in the video."""
        assert self._button
        self._marked = (x, y, radius)
        self._command(POINT, x, y, radius)
        self._command(INTERVAL, TRACKING, STATUS_INTERVAL_US)

    def do_stop(self) -> None:
        self._command(STOP)
        self._command(INTERVAL, TRACKING, -1)

    def do_command(self, id: int, params: list[float], confirmation: int = 0, **target: int) -> None:
        """One message, without a repetition."""
        component = target.get("component", self._camera_id)
        self._send(target.get("system", self.vehicle), component, id, confirmation, params)

    def do_bytes(self, data: str) -> None:
        self.link.write(bytes.fromhex(data))

    def do_lose_acks(self, count: int) -> None:
        self._acks_to_lose = count

    def do_talk(self, station: bool, vehicle: bool) -> None:
        """Whose HEARTBEATs are sent."""
        self._talks, self._routes = station, vehicle

    # The conversation.

    @property
    def _camera_id(self) -> int:
        return next(iter(self._cameras))

    def _beat(self) -> None:
        if self._talks:
            self.link.mav.heartbeat_send(mavutil.mavlink.MAV_TYPE_GCS, 8, 0, 0, 4)
        if self._routes:
            self._router.heartbeat_send(mavutil.mavlink.MAV_TYPE_QUADROTOR, 12, 0, 0, 4)

    def _hear(self, message: Any, now_s: float) -> None:
        kind, source = message.get_type(), message.get_srcComponent()
        if kind == "BAD_DATA" or source not in CAMERAS:
            return
        content = {name: _plain(getattr(message, name)) for name in message.get_fieldnames()}
        say("message", kind=kind, source=[message.get_srcSystem(), source], fields=content)
        if kind == "HEARTBEAT" and source not in self._cameras:
            self._cameras[source] = Camera(now_s)
        camera = self._cameras.get(source)
        if camera is None:
            return
        if kind == "HEARTBEAT":
            camera.heard_s = now_s
        elif kind == "COMMAND_ACK":
            self._acknowledged(camera, message, now_s)
        elif kind == "CAMERA_INFORMATION" and camera.information is None:
            camera.information = message
            say("camera", id=source)
            self._command(REQUEST, SETTINGS)
        elif kind == "CAMERA_SETTINGS" and camera.information.flags & 256:
            self._command(REQUEST, STREAM, 0)
        elif kind == "VIDEO_STREAM_INFORMATION":
            self._command(REQUEST, STREAM_STATUS, message.stream_id)
        elif kind == "CAMERA_TRACKING_IMAGE_STATUS":
            say("drawn", box=self._drawn(message))

    def _acknowledged(self, camera: Camera, message: Any, now_s: float) -> None:
        if self._acks_to_lose:
            self._acks_to_lose -= 1
        elif message.result == mavutil.mavlink.MAV_RESULT_IN_PROGRESS:
            if attempt := camera.attempts.get(message.command):
                attempt.due_s = now_s + 5 * PATIENCE_S
        else:
            camera.attempts.pop(message.command, None)

    def _look_after_cameras(self, now_s: float) -> None:
        for id, camera in list(self._cameras.items()):
            if now_s - camera.heard_s > GONE_S:
                del self._cameras[id]
                self._button, self._marked = False, ()
                say("camera_gone", id=id)
                continue
            if camera.information is None and now_s - camera.asked_s > INFORMATION_RETRY_S:
                self._ask_who_it_is(id, camera, now_s)
            for command, attempt in list(camera.attempts.items()):
                if now_s > attempt.due_s:
                    self._try_again(id, camera, command, attempt, now_s)

    def _ask_who_it_is(self, id: int, camera: Camera, now_s: float) -> None:
        """In the new way and the old way by turns."""
        if camera.tries < MOST_INFORMATION_TRIES:
            camera.asked_s, new = now_s, camera.tries % 2 == 0
            camera.tries += 1
            self._send(
                self.vehicle,
                id,
                REQUEST if new else REQUEST_INFORMATION,
                0,
                [INFORMATION if new else 1],
            )

    def _try_again(self, id: int, camera: Camera, command: int, attempt: Attempt, now_s: float) -> None:
        if attempt.confirmation >= MOST_TRIES:
            del camera.attempts[command]
            say("no_answer", command=command)
            return
        attempt.confirmation, attempt.due_s = attempt.confirmation + 1, now_s + PATIENCE_S
        self._send(self.vehicle, id, command, attempt.confirmation, list(attempt.params))

    def _command(self, command: int, *params: float) -> None:
        """To the camera, again and again until it answers."""
        id = self._camera_id
        self._cameras[id].attempts[command] = Attempt(params, time.monotonic() + PATIENCE_S)
        self._send(self.vehicle, id, command, 0, list(params))

    def _send(self, system: int, component: int, id: int, confirmation: int, params: list[float]) -> None:
        values = [*params, *[0.0] * (7 - len(params))]
        say("sent", command=id, confirmation=confirmation, params=params)
        self.link.mav.command_long_send(system, component, id, confirmation, *values)

    def _drawn(self, status: Any) -> list[float] | None:
        """The box over the video, corners in shares of it."""
        if not status.tracking_status or not self._button:
            return None
        if status.tracking_mode == mavutil.mavlink.CAMERA_TRACKING_MODE_RECTANGLE:
            corners = [status.rec_top_x, status.rec_top_y, status.rec_bottom_x, status.rec_bottom_y]
        else:
            radius = status.radius if status.radius > 0 else USUAL_RADIUS
            x, y = status.point_x, status.point_y
            corners = [x - radius, y - radius, x + radius, y + radius]
        return [each if math.isnan(each) else min(max(each, 0.0), 1.0) for each in corners]


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def _plain(value: Any) -> Any:
    """Bytes and lists of bytes as text."""
    if isinstance(value, list):
        value = bytes(value).rstrip(b"\0")
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else value


def main() -> None:
    station = GroundStation(sys.argv[1], int(sys.argv[2]))
    orders: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)
        os._exit(0)  # nobody gives orders any more

    threading.Thread(target=listen, daemon=True).start()
    say("ready")
    while True:
        station.turn()
        try:
            station.obey(json.loads(orders.get_nowait()))
        except Empty:
            pass
        except Exception as error:
            say("failed", why=repr(error))


if __name__ == "__main__":
    main()
