"""The whole chain over TCP and over a serial line."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import socket
import threading
import tty
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from mavlink_flight import VEHICLE, flying, overlap
from ros_harness import Client
from station_process import free_port, ground_station

from distill_tracker_ros.runtime.load import shipped_models

pytestmark = pytest.mark.ros


@pytest.mark.skipif("eatrack_nano" not in shipped_models(), reason="models/eatrack_nano is not there")
def test_over_tcp_with_the_shipped_model(client: Client, folder: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    with (
        ground_station(f"tcpin:127.0.0.1:{port}", VEHICLE) as station,
        flying(client, folder, f"tcp:127.0.0.1:{port}", station, "eatrack_nano") as flight,
    ):
        flight.mark()
        status = station.message("CAMERA_TRACKING_IMAGE_STATUS", tracking_status=1)
        assert overlap(flight, status) > 0.5


def test_over_a_serial_line(client: Client, folder: Path) -> None:
    port = free_port()
    own, other = os.openpty()
    tty.setraw(own)
    ended = threading.Event()
    line = threading.Thread(target=carry, args=(own, port, ended))
    with ground_station(f"udpin:127.0.0.1:{port}", VEHICLE) as station:
        line.start()
        try:
            with flying(client, folder, f"{os.ttyname(other)}:57600", station) as flight:
                flight.mark()
                status = station.message("CAMERA_TRACKING_IMAGE_STATUS", tracking_status=1)
                assert overlap(flight, status) > 0.5
        finally:
            ended.set()
            line.join()
            os.close(own)
            os.close(other)


def carry(terminal: int, port: int, ended: threading.Event) -> None:
    """Bytes between a terminal and a ground station's UDP port, as a radio does."""
    os.set_blocking(terminal, False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as radio:
        radio.connect(("127.0.0.1", port))
        radio.setblocking(False)
        while not ended.wait(0.005):
            with suppress(BlockingIOError):
                radio.send(os.read(terminal, 4096))
            with suppress(BlockingIOError, ConnectionRefusedError):
                os.write(terminal, radio.recv(4096))
