"""A look at a camera's topic with the eyes of the tracker: what comes, how often, how old, what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CompressedImage, Image

from ..doctor import ros_settings
from ..doctor.finding import Finding
from ..messages import ImageError, open_image, stamp_ns

KINDS = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # what the middleware says then
PATIENCE_S = 5.0  # for a publisher to be found, and for its first image
QUIET_S = 1.0  # for other publishers to be found, once there is one
AHEAD_S = 0.05  # of this machine's clock, that a stamp may be
OLD_S = 1.0  # an image that is older is of no use for following anything


@dataclass(frozen=True)
class Sample:
    """One image message that came."""

    arrived_ns: int  # by this machine's clock, which stamps are compared with
    stamp_ns: int  # 0 = none


def look(topic: str, seconds: float, reliability: str) -> Iterator[Finding]:
    """Listen to a topic as the tracker does, and say what must be mended.

    Args:
        topic: name as on a command line: a relative one is in the root namespace.
        seconds: how long to listen, from the first image on.
        reliability: the tracker's image_reliability.
    """
    context, topic = Context(), f"/{topic.lstrip('/')}"
    if not (domain := ros_settings.domain()).ok:  # not even an error would come of it
        yield Finding("ROS", False, f"it cannot start: ROS_DOMAIN_ID {domain.detail}")
        return
    try:
        validate_full_topic_name(topic)
    except InvalidTopicNameException as error:
        yield Finding(f"camera {topic}", False, f"it is no name of a topic: {' '.join(str(error).split())}")
        return
    try:
        rclpy.init(context=context)
        node = rclpy.create_node("doctor", context=context)
    except (RuntimeError, ValueError) as error:  # of rcl, for example without the keys of ROS security
        yield Finding("ROS", False, f"it does not start: {' '.join(str(error).split())}")
        rclpy.try_shutdown(context=context)
        return
    try:
        yield from _Look(node, topic, seconds, reliability).examine()
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


class _Look:
    def __init__(self, node: Node, topic: str, seconds: float, reliability: str) -> None:
        self._node, self._topic, self._seconds = node, topic, seconds
        self._qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])  # the tracker's
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._samples: list[Sample] = []
        self._newest: Any = None

    def examine(self) -> Iterator[Finding]:
        """One finding after the other, as far as it makes sense to look."""
        name = f"camera {self._topic}"
        self._spin(PATIENCE_S, lambda: bool(self._publishers()))
        if self._publishers():
            self._spin(QUIET_S)
            # The names of their nodes come after them, and not at all of publishers that are no ROS nodes.
            self._spin(PATIENCE_S, lambda: all(p.node_name != UNKNOWN for p in self._publishers()))
        publishers = self._publishers()
        if not publishers:
            yield Finding(name, False, f"nobody publishes it: {self._others()}")
            return
        kinds = sorted({publisher.topic_type for publisher in publishers})
        if len(kinds) > 1 or kinds[0] not in KINDS:
            accepted = " or ".join(KINDS)
            yield Finding(name, False, f"it carries {' and '.join(kinds)}: the tracker takes {accepted}")
            return
        transport = "raw" if KINDS[kinds[0]] is Image else "compressed"
        yield Finding(name, True, f"{kinds[0]}, which needs image_transport: {transport}")
        findings = [self._meeting(publisher) for publisher in publishers]
        yield from findings
        if not any(finding.ok for finding in findings):
            return
        self._listen(KINDS[kinds[0]])
        yield from judge_count(self._samples, self._seconds)
        if self._samples:
            yield _picture(self._newest)
            yield from judge_stamps(self._samples)

    def _listen(self, kind: type) -> None:
        subscription = self._node.create_subscription(kind, self._topic, self._on_image, self._qos)
        self._spin(PATIENCE_S, lambda: bool(self._samples))
        if self._samples:
            self._spin(self._seconds)
        self._node.destroy_subscription(subscription)

    def _on_image(self, msg: Any) -> None:
        self._samples.append(Sample(self._node.get_clock().now().nanoseconds, stamp_ns(msg.header.stamp)))
        self._newest = msg

    def _publishers(self) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(self._topic))

    def _meeting(self, publisher: Any) -> Finding:
        """Whether the tracker's subscription gets what a publisher sends."""
        known = publisher.node_name != UNKNOWN
        node = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}" if known else "without a name"
        name = f"publisher {node}"
        offer = publisher.qos_profile
        text = f"{offer.reliability.name.lower()}, {offer.durability.name.lower()}"
        compatibility, reason = qos_check_compatible(offer, self._qos)
        if compatibility == QoSCompatibility.ERROR:
            asked = self._qos.reliability.name.lower()
            what = f"{text}; with image_reliability: {asked} they never meet ({' '.join(reason.split())})"
            return Finding(name, False, f"{what}: set image_reliability: best_effort")
        return Finding(name, True, f"{text}: fits image_reliability: {self._qos.reliability.name.lower()}")

    def _others(self) -> str:
        """What there is instead, and what else may be the cause."""
        found = [name for name, kinds in self._node.get_topic_names_and_types() if set(kinds) & KINDS.keys()]
        if found:
            return f"image topics that there are: {', '.join(sorted(found))}"
        return "there is no image topic at all: is the camera's driver up, in the same ROS_DOMAIN_ID?"

    def _spin(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while not done() and (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))


def judge_count(samples: list[Sample], seconds: float) -> Iterator[Finding]:
    """Whether images came, and at what rate."""
    if not samples:
        advice = (
            "is the camera paused? A raw image above 0.5 MB needs the DDS profile in the camera's process"
        )
        yield Finding("images", False, f"none came in {PATIENCE_S:g} s, though the QoS fits: {advice}")
        return
    text = f"{len(samples)} in {seconds:g} s"
    if gaps_ns := [later.arrived_ns - earlier.arrived_ns for earlier, later in pairwise(samples)]:
        usual_s, longest_s = max(median(gaps_ns), 1) / 1e9, max(gaps_ns) / 1e9
        text += f", usually {1 / usual_s:.3g} Hz, longest gap {longest_s:.3f} s"
    yield Finding("images", True, text)


def judge_stamps(samples: list[Sample]) -> Iterator[Finding]:
    """Whether the stamps are times that the tracker can work with."""
    missing = sum(not sample.stamp_ns for sample in samples)
    if missing:
        what = f"{missing} of {len(samples)} images have none (zero)"
        advice = "let the driver stamp them, or a target that is marked late starts on the wrong image"
        yield Finding("stamps", False, f"{what}: {advice}")
        return
    stamps = [sample.stamp_ns for sample in samples]
    back = sum(later <= earlier for earlier, later in pairwise(stamps))
    if back:
        what = f"{back} of {len(samples)} images have a stamp that is not later than the one before"
        yield Finding("stamps", False, f"{what}: is there a second publisher, or a driver that sends twice?")
        return
    age_s = median(sample.arrived_ns - sample.stamp_ns for sample in samples) / 1e9
    if age_s < -AHEAD_S:
        what = f"they lie {-age_s:.3f} s ahead of this machine's clock"
        yield Finding("stamps", False, f"{what}: synchronise the clocks of both machines (chrony)")
    elif age_s > OLD_S:
        what = f"images are {age_s:.3f} s old when they arrive, by their stamps"
        advice = "synchronise the clocks (chrony), or find what delays them; a bag needs use_sim_time"
        yield Finding("stamps", False, f"{what}: {advice}")
    else:
        yield Finding("stamps", True, f"images are {1e3 * age_s:.0f} ms old when they arrive")


def _picture(msg: Image | CompressedImage) -> Finding:
    """Whether the tracker can use the pixels."""
    kind = msg.format if isinstance(msg, CompressedImage) else msg.encoding
    try:
        frame = open_image(msg)
        frame.cut(0, 0, frame.width, frame.height, shrink=8.0)
    except ImageError as error:
        return Finding("picture", False, str(error))
    text = f"{frame.width}x{frame.height}, {kind!r}, {len(msg.data) / 1e6:.2f} MB"
    return Finding("picture", True, f"{text}, frame_id {msg.header.frame_id!r}")
