"""A flight of real nodes, recorded as docs/bags.md says, is evaluated afterwards without typing a box."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import re
import shlex
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from ros_harness import RELIABLE, ROOT, Client, compressed_msg, running
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import CameraInfo, CompressedImage
from synthetic import moving_square
from tiny_bundle import write_tiny_bundle
from vision_msgs.msg import BoundingBox2D
from waiting import wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import SetTarget
from distill_tracker_ros.cli import main
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.evaluation.bags.reading import open_bag
from distill_tracker_ros.evaluation.runs import RunFolder
from distill_tracker_ros.messages import fill_box

pytestmark = pytest.mark.ros

DOCS = (ROOT / "docs" / "bags.md").read_text()
SECOND = 1_000_000_000
FRAMES = list(moving_square(20))
MARKED = 4  # the frame on which the target is set


def commands(beginning: str) -> list[list[str]]:
    """The words of the commands in the documentation that begin so."""
    lines = re.findall(rf"^{re.escape(beginning)}.*$", DOCS, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def types() -> Typestore:
    """Those of the messages, from their definitions."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for package in ("test/vision_msgs", "distill_tracker_msgs"):
        for file in sorted((ROOT / package / "msg").glob("*.msg")):
            name = f"{Path(package).name}/msg/{file.stem}"
            store.register(get_types_from_msg(file.read_text(), name))
    return store


class Recorder:
    """`ros2 bag record`, which does not come with the wheels: what the nodes publish, byte for byte."""

    def __init__(self, client: Client, topics: list[str]) -> None:
        self.messages: list[tuple[str, int, bytes]] = []  # topic, time of arrival, CDR
        known: dict[str, list[str]] = {}

        def all_there() -> bool:
            known.update(client.node.get_topic_names_and_types())
            return known.keys() >= set(topics)

        wait_until(all_there, f"the topics {topics}")
        self._types = {topic: known[topic][0] for topic in topics}
        for topic, name in self._types.items():
            package, _, kind = name.split("/")
            client.node.create_subscription(
                getattr(import_module(f"{package}.msg"), kind),
                topic,
                lambda cdr, topic=topic: self.messages.append((topic, time.time_ns(), bytes(cdr))),
                QoSProfile(depth=1000),
                raw=True,
            )

    def write(self, path: Path) -> None:
        store = types()
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
            connections = {
                topic: bag.add_connection(topic, kind, typestore=store) for topic, kind in self._types.items()
            }
            for topic, arrived_ns, cdr in self.messages:
                bag.write(connections[topic], arrived_ns, cdr)


def fly(client: Client, topics: list[str]) -> Recorder:
    """Show the frames to the tracker one by one, and mark the target in one of them."""
    camera = client.node.create_publisher(CompressedImage, "/camera/image_raw/compressed", RELIABLE)
    infos = client.node.create_publisher(CameraInfo, "/camera/camera_info", RELIABLE)
    statuses = client.listen(TrackerStatus, "/tracker/status")
    recorder = Recorder(client, topics)
    wait_until(lambda: camera.get_subscription_count() > 1, "an active tracker and the recorder")
    for number, (rgb, truth) in enumerate(FRAMES):
        jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        image = compressed_msg(jpeg.tobytes(), 5 * SECOND + number * SECOND // 10)
        infos.publish(CameraInfo(header=image.header, width=rgb.shape[1], height=rgb.shape[0]))
        camera.publish(image)
        wait_until(lambda sent=number: len(statuses) > sent, f"the result of frame {number}")
        if number == MARKED:
            box = BoundingBox2D()
            fill_box(box, truth)
            answer = client.call(SetTarget, "/tracker/set_target", stamp=image.header.stamp, box=box)
            assert answer.success, answer.message

    def recorded(topic: str) -> int:
        return sum(each[0] == topic for each in recorder.messages)

    results = ("/tracker/detections", "/tracker/status", "/camera/image_raw/compressed")
    wait_until(lambda: all(recorded(topic) == len(FRAMES) for topic in results), "the recorder")
    wait_until(lambda: recorded("/diagnostics"), "a diagnosis")
    return recorder


def test_a_recorded_flight_is_evaluated(tmp_path: Path) -> None:
    record = "ros2 bag record -s mcap -o flight "
    (topics,) = (words[len(record.split()) :] for words in commands(record))
    model = str(write_tiny_bundle(tmp_path / "tiny"))
    remaps = ["--ros-args", "-r", "image:=/camera/image_raw", "-r", "camera_info:=/camera/camera_info"]
    settings: dict[str, Any] = {"model": model, "autostart": True, "image_transport": "compressed"}
    client = Client()
    try:
        with running("tracker_node", tmp_path, *remaps, image_reliability="reliable", **settings):
            recorder = fly(client, topics)
    finally:
        client.close()
    recorder.write(tmp_path / "flight")

    evaluate = commands("distill-tracker evaluate")[0][2:]
    out = tmp_path / "out"
    options = ["--model", model, "--out", str(out), "--processes", "1"]
    assert main(["evaluate", str(tmp_path / evaluate[0]), *evaluate[1:], *options]) == 0

    bag = open_bag(tmp_path / "flight", truth_topic="/tracker/detections")
    assert bag.truth_xywh is not None and len(bag.frames) == len(FRAMES)
    assert bag.visible.tolist() == [number > MARKED for number in range(len(FRAMES))]
    (tracked,) = RunFolder(out / "tiny").read().sequences
    recorded, truth = bag.truth_xywh[MARKED + 1 :], np.array([box for _, box in FRAMES[MARKED + 1 :]])
    np.testing.assert_allclose(tracked.boxes_xywh[0], recorded[0], atol=1e-4)  # it is where tracking begins
    assert (iou(recorded, truth) > 0.9).all() and (iou(tracked.boxes_xywh, truth) > 0.9).all()
    assert json.loads((out / "evaluation.json").read_text())["success_auc"] > 0.9
