"""The node alone: services of this test stand in for a tracker and note what is asked; starts that fail."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from desk import command as packed_command
from mavlink_flight import ACCEPTED, HEIGHT, IN_PROGRESS, TEMPORARILY_REJECTED, VEHICLE, WIDTH, until_joined
from ros_harness import Client, NodeProcess, running, time_msg
from station_process import Station, free_port, ground_station
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.mavlink.dialect import mavlink
from distill_tracker_ros.messages import box_from_msg, stamp_ns
from distill_tracker_ros.nodes.mavlink_node import nearest

pytestmark = pytest.mark.ros


class Asked:
    """Answers for a tracker whose images are stamped 30 times a second."""

    def __init__(self, client: Client) -> None:
        self.requests: list[Any] = []
        self.stamps: list[int] = []
        self.slow = threading.Event()
        self.slow.set()
        node = client.node
        self._made = [
            node.create_service(SetTarget, "/tracker/set_target", self._answer),
            node.create_service(ClearTarget, "/tracker/clear_target", self._answer),
        ]
        self._statuses = node.create_publisher(TrackerStatus, "/tracker/status", 10)
        self._node = node
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _answer(self, request: Any, response: Any) -> Any:
        self.requests.append(request)
        assert self.slow.wait(DEADLINE_S)
        response.success, response.message = True, "done"
        return response

    def _publish(self) -> None:
        while not self._ended.wait(1 / 30):
            now_ns = time.time_ns() - 3_600_000_000_000  # the camera's clock is an hour behind
            self.stamps.append(now_ns)
            msg = TrackerStatus(width=WIDTH, height=HEIGHT, latency_ms=0.0)
            msg.header.stamp = time_msg(now_ns)
            self._statuses.publish(msg)

    def end(self) -> None:
        self.slow.set()
        self._ended.set()
        self._thread.join()
        # By the executor itself, which may be answering now.
        destroyed = self._node.executor.create_task(self._destroy)
        wait_until(destroyed.done, "the end of the services")

    def _destroy(self) -> None:
        for service in self._made:
            self._node.destroy_service(service)
        self._node.destroy_publisher(self._statuses)


@pytest.fixture
def asked(client: Client) -> Iterator[Asked]:
    asked = Asked(client)
    yield asked
    asked.end()


@contextmanager
def on_the_bench(folder: Path, **parameters: Any) -> Iterator[Station]:
    """The node alone, with a ground station that has found it."""
    port = free_port()
    with (
        ground_station(f"udpin:127.0.0.1:{port}", VEHICLE) as station,
        running("mavlink_node", folder, connection=f"udpout:127.0.0.1:{port}", **parameters) as node,
    ):
        until_joined(station)
        yield station
        assert node.alive


def test_the_delay_of_the_video_reaches_the_stamp_and_the_box_the_pixels(
    asked: Asked, tmp_path: Path
) -> None:
    with on_the_bench(tmp_path, video_delay_ms=400, video__crop_width=0.5, target_id="pilot") as station:
        known = len(asked.stamps)
        wait_until(lambda: len(asked.stamps) > known + 40, "images of more than the delay")
        asked.requests.clear()
        before_ns = asked.stamps[-1]
        since = station.do("command", id=2005, params=[0.25, 0.25, 0.5, 0.75])
        assert station.ack(2005, since)["result"] == ACCEPTED
        after_ns = asked.stamps[-1]
        request = asked.requests[0]
        stamp = stamp_ns(request.stamp)
        assert stamp in asked.stamps  # it is that of an image
        period_ns = max(np.diff(asked.stamps))
        assert before_ns - 400e6 - 2 * period_ns <= stamp <= after_ns - 400e6 + 2 * period_ns
        assert request.id == "pilot" and request.label == ""
        assert box_from_msg(request.box).tolist() == pytest.approx([40, 60, 40, 120])


def test_without_a_delay_the_newest_image_is_marked(asked: Asked, tmp_path: Path) -> None:
    with on_the_bench(tmp_path) as station:
        asked.requests.clear()
        station.ack(2004, station.do("command", id=2004, params=[0.5, 0.5, 0]))
        assert stamp_ns(asked.requests[0].stamp) == 0
        assert box_from_msg(asked.requests[0].box).tolist() == pytest.approx([144, 104, 32, 32])


def test_a_slow_tracker_is_in_progress_and_a_flood_waits_for_nothing(asked: Asked, tmp_path: Path) -> None:
    with on_the_bench(tmp_path, service_timeout_s=4.0) as station:
        asked.requests.clear()
        asked.slow.clear()
        codec = mavlink.MAVLink(None, 255, 190)
        marks = [
            packed_command(2005, 0.1, 0.1, 0.2, 0.2 + n / 1000, system=VEHICLE).pack(codec)
            for n in range(300)
        ]
        since = station.do("bytes", data=marks[0].hex())
        for mark in marks[1:]:
            station.do("bytes", data=mark.hex())
        wait_until(lambda: station.messages("COMMAND_ACK", since, result=IN_PROGRESS), "progress")
        assert len(asked.requests) == 1
        assert station.message("HEARTBEAT", len(station.events))  # it goes on meanwhile
        # 299 for being too many, and one because the tracker does not answer in time.
        refused = {"command": 2005, "result": TEMPORARILY_REJECTED}
        wait_until(lambda: len(station.messages("COMMAND_ACK", since, **refused)) == 300, "all answers")
        assert not station.messages("COMMAND_ACK", since, result=ACCEPTED)
        assert len(asked.requests) == 1


def test_without_a_tracker_a_mark_is_refused_for_now(tmp_path: Path) -> None:
    port = free_port()
    with (
        ground_station(f"udpin:127.0.0.1:{port}", VEHICLE) as station,
        running("mavlink_node", tmp_path, connection=f"udpout:127.0.0.1:{port}"),
    ):
        station.wait("camera")
        for id, params in ((2005, [0.1, 0.1, 0.2, 0.2]), (2010, [])):
            since = station.do("command", id=id, params=params)
            assert station.ack(id, since)["result"] == TEMPORARILY_REJECTED
        texts = [each.fields["text"] for each in station.messages("STATUSTEXT")]
        assert "no image yet: is the tracker active, does its came" in texts
        assert "no tracker answers at /tracker/clear_target: is it" in texts
        since = station.do("command", id=511, params=[275, 200_000])
        station.message("CAMERA_TRACKING_IMAGE_STATUS", since, tracking_status=2)


# Starts that fail.


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"connection": "COM3"}, "error: connection = 'COM3': accepted is udpout:HOST:PORT"),
        ({"video__uri": "http://x"}, "error: video.uri = 'http://x': accepted is rtsp://"),
        ({"component_id": 191}, "component_id"),
    ],
)
def test_what_cannot_be_is_one_sentence(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    with running("mavlink_node", tmp_path, **settings) as node:
        assert node.wait() == 1
        assert why in node.output and "Traceback" not in node.output


def test_without_pymavlink_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "pymavlink").mkdir()
    (tmp_path / "pymavlink" / "__init__.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    node = NodeProcess("mavlink_node", tmp_path, env={"PYTHONPATH": path})
    assert node.wait() == 1
    assert node.output.strip().splitlines() == [
        "distill_tracker_ros: pymavlink >= 2.4.42 is missing (not here): 'pip install -U pymavlink'"
    ]


@pytest.mark.parametrize(
    ("stamps", "wanted", "found"),
    [
        ((), 5, 5),
        ((10, 20), 5, 5),
        ((10, 20), 14, 10),
        ((10, 20), 16, 20),
        ((10, 20), 99, 20),
        ((10,), 10, 10),
    ],
)
def test_the_nearest_image(stamps: tuple[int, ...], wanted: int, found: int) -> None:
    assert nearest(stamps, wanted) == found
