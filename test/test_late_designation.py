"""An operator who sees old video marks a fast target: by the stamp of what was seen, the tracker catches up.

The target moves 20 px a frame at 30 Hz and the video is 300 ms old: what the operator marks is 180 px away.
"""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filmed import HEIGHT, WIDTH, Rgb, cut_out, film, ground
from ros_harness import RELIABLE, Client, image_msg, running
from sensor_msgs.msg import Image
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_ros.core.boxes import Boxes, iou
from distill_tracker_ros.messages import box_from_msg, stamp_ns
from distill_tracker_ros.nodes.tracker_client import TrackerClient
from distill_tracker_ros.runtime.load import ON_CPU

pytestmark = pytest.mark.ros
data = pytest.importorskip("skimage.data", reason="skimage, whose photographs are shown, is missing")

SECOND = 1_000_000_000
RATE_HZ, SPEED_PX, DELAY_MS = 30, 20, 300
SEEN, NEWEST, FRAMES = 5, 5 + DELAY_MS * RATE_HZ // 1000, 27
# A ground station knows no stamps: the present counts, and images have to come in time. All is slower then,
# for a busy machine to keep up: the video is 3 s old at 3 Hz.
SLOWER = 10


@pytest.fixture(scope="module")
def video() -> tuple[list[Rgb], Boxes]:
    """The frames, and where the target is in each."""
    number = np.arange(FRAMES)
    centres = np.stack([60 + SPEED_PX * number, HEIGHT / 2 + 30 * np.sin(number / 8)], axis=1)
    target = cut_out(data.astronaut(), (165, 30, 105, 130), 60, centres)
    return list(film(ground(data.grass()), [target])), target.boxes_xywh


class Camera:
    """Sends images to the tracker, and hears what it makes of them."""

    def __init__(self, client: Client) -> None:
        self._outlet = client.node.create_publisher(Image, "/image", RELIABLE)
        self.statuses: list[TrackerStatus] = client.listen(TrackerStatus, "/tracker/status")
        wait_until(self._outlet.get_subscription_count, "an active tracker")

    def show(self, rgb: Rgb, at_ns: int) -> TrackerStatus:
        """The status of this image."""
        before = len(self.statuses)
        self._outlet.publish(image_msg(rgb, at_ns))

        def told() -> list[TrackerStatus]:
            return [s for s in self.statuses[before:] if stamp_ns(s.header.stamp) == at_ns]

        return wait_until(told, "the status of an image")[0]


@contextmanager
def flying(folder: Path, **settings: Any) -> Iterator[tuple[Client, Camera]]:
    """The tracker with the shipped model; it loses no image."""
    settings = {"model": ON_CPU, "backend": "onnxruntime", "autostart": True, **settings}
    client = Client()
    try:
        with running("tracker_node", folder, image_reliability="reliable", **settings):
            yield client, Camera(client)
    finally:
        client.close()


def followed(camera: Camera, video: tuple[list[Rgb], Boxes], stamps: list[int]) -> list[float]:
    """The overlap (IoU) of the only target with the truth in each image after it was marked."""
    overlaps = []
    for number in range(NEWEST + 1, FRAMES):
        (target,) = camera.show(video[0][number], stamps[number]).targets
        overlaps.append(float(iou(box_from_msg(target.box), video[1][number])))
    print(f"overlaps: {np.round(overlaps, 2)}")
    return overlaps


@pytest.mark.parametrize("knows_the_stamp", [True, False])
def test_by_the_service(knows_the_stamp: bool, video: tuple[list[Rgb], Boxes], tmp_path: Path) -> None:
    """One image after the other, so that the machine's speed does not matter."""
    frames, truth = video
    stamps = [1_000 * SECOND + number * SECOND // RATE_HZ for number in range(FRAMES)]
    with flying(tmp_path) as (client, camera):
        operator = TrackerClient(client.node, DEADLINE_S)
        for number in range(NEWEST + 1):
            camera.show(frames[number], stamps[number])
        stamp = stamps[SEEN] if knows_the_stamp else 0
        answer = operator.set_target(truth[SEEN], stamp).result(2 * DEADLINE_S)
        assert answer.success, answer.message
        overlaps = followed(camera, video, stamps)
    assert min(overlaps) > 0.5 if knows_the_stamp else max(overlaps) < 0.05


@pytest.mark.parametrize("knows_the_delay", [True, False])
def test_by_mavlink(knows_the_delay: bool, video: tuple[list[Rgb], Boxes], tmp_path: Path) -> None:
    """A pilot draws the rectangle; the node knows how old the video is."""
    mavutil = pytest.importorskip("pymavlink.mavutil", reason="pymavlink is missing: see operators.txt")
    (frames, truth), link = video, mavutil.mavlink_connection("udpin:127.0.0.1:0", source_system=255)
    settings = {
        "connection": f"udpout:127.0.0.1:{link.port.getsockname()[1]}",
        "system_id": 1,
        "video_delay_ms": SLOWER * DELAY_MS if knows_the_delay else 0,
    }
    with (
        flying(tmp_path, history__seconds=10.0) as (client, camera),
        closing(link),
        running("mavlink_node", tmp_path, **settings),
    ):
        assert link.recv_match(type="HEARTBEAT", blocking=True, timeout=DEADLINE_S)
        wait_until(lambda: client.node.count_subscribers("/tracker/status") > 1, "the node")
        begin = time.time_ns()
        stamps = [begin + number * SLOWER * SECOND // RATE_HZ for number in range(-SEEN, FRAMES - SEEN)]
        for number in range(SEEN, NEWEST + 1):
            time.sleep(max(stamps[number] - time.time_ns(), 0) / SECOND)
            camera.show(frames[number], stamps[number])
        x, y, w, h = truth[SEEN]
        corners = x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT
        command = mavutil.mavlink.MAV_CMD_CAMERA_TRACK_RECTANGLE
        link.mav.command_long_send(1, 100, command, 0, *corners, 0, 0, 0)
        results = [mavutil.mavlink.MAV_RESULT_IN_PROGRESS]
        while results[-1] == mavutil.mavlink.MAV_RESULT_IN_PROGRESS:
            ack = link.recv_match(type="COMMAND_ACK", blocking=True, timeout=DEADLINE_S)
            assert ack is not None, "no acknowledgement came"
            results.append(ack.result)
        assert results[-1] == mavutil.mavlink.MAV_RESULT_ACCEPTED
        overlaps = followed(camera, video, stamps)
    assert min(overlaps) > 0.5 if knows_the_delay else max(overlaps) < 0.05
