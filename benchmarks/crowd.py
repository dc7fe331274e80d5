"""Operators, as a process of their own beside the nodes: two pages and a ground station.

One page shows every picture, the other one stopped reading; the ground station asks for boxes at 10 Hz. It
prints the UDP port of the ground station, then `ready`, and at the end of its input what has come since.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import struct
import sys
import threading
import time
from contextlib import suppress

import aiohttp
from pymavlink import mavutil

STATUS_INTERVAL_US = 100_000
_LOOK_S = 0.2  # of the ground station at the end
_AGAIN_S = 0.2  # until a page tries to connect again


class GroundStation:
    """Asks the first camera that it hears for the boxes."""

    def __init__(self) -> None:
        self.statuses = 0
        os.environ["MAVLINK20"] = "1"  # or pymavlink speaks MAVLink 1, which has no such boxes
        mavutil.set_dialect("common")
        self._link = mavutil.mavlink_connection("udpin:127.0.0.1:0", source_system=255)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._link.port.getsockname()[1])

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._link.close()

    def _run(self) -> None:
        mavlink, next_s, camera = mavutil.mavlink, time.monotonic(), None
        while not self._stop.is_set():
            if camera and time.monotonic() >= next_s:
                next_s += 1.0
                kind, none = mavlink.MAV_TYPE_GCS, mavlink.MAV_AUTOPILOT_INVALID
                self._link.mav.heartbeat_send(kind, none, 0, 0, mavlink.MAV_STATE_ACTIVE)
            message = self._link.recv_match(blocking=True, timeout=_LOOK_S)
            if message is None:
                continue
            self.statuses += message.get_type() == "CAMERA_TRACKING_IMAGE_STATUS"
            if message.get_type() == "HEARTBEAT" and camera is None:
                camera = message.get_srcSystem(), message.get_srcComponent()
                wanted = mavlink.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS
                command = mavlink.MAV_CMD_SET_MESSAGE_INTERVAL
                self._link.mav.command_long_send(
                    *camera, command, 0, wanted, STATUS_INTERVAL_US, 0, 0, 0, 0, 0
                )


class Page:
    """A browser with the page open."""

    def __init__(self, url: str, reads: bool) -> None:
        """`reads`: go on after the first picture."""
        self.pictures = 0
        self._url, self._reads = url, reads

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers={"Origin": self._url}) as session:
            while True:
                with suppress(aiohttp.ClientError):  # the server is not there yet
                    async with session.ws_connect(f"{self._url}/ws", max_msg_size=0) as socket:
                        await self._look(socket)
                await asyncio.sleep(_AGAIN_S)

    async def _look(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_json({"type": "hello", "token": ""})
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                self.pictures += 1
                (length,) = struct.unpack_from(">I", message.data)
                frame = json.loads(message.data[4 : 4 + length])["frame"]
                await socket.send_json({"type": "shown", "frame": frame})
                if not self._reads:
                    await asyncio.Event().wait()


async def watch(url: str, station: GroundStation) -> dict[str, float]:
    """Pictures and boxes that came, a second, from when everybody got some until standard input ends."""
    pages = [Page(url, reads=True), Page(url, reads=False)]
    tasks = [asyncio.create_task(page.run()) for page in pages]
    while not (all(page.pictures for page in pages) and station.statuses):
        await asyncio.sleep(_LOOK_S)
    print("ready", flush=True)
    began_s, pictures, statuses = time.monotonic(), pages[0].pictures, station.statuses
    await asyncio.to_thread(sys.stdin.read)
    seconds = time.monotonic() - began_s
    found = {
        "pictures_hz": (pages[0].pictures - pictures) / seconds,
        "boxes_hz": (station.statuses - statuses) / seconds,
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the page, without a slash at its end")
    arguments = parser.parse_args()
    station = GroundStation()
    print(station.port, flush=True)
    try:
        print(json.dumps(asyncio.run(watch(arguments.url, station))), flush=True)
    finally:
        station.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
