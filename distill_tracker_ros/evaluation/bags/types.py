"""The message types that bags hold, without ROS: layouts of common_interfaces and of vision_msgs 4.1."""

from __future__ import annotations

from functools import cache

from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
DETECTION = "vision_msgs/msg/Detection2D"
DETECTIONS = "vision_msgs/msg/Detection2DArray"

# vision_msgs is no part of common_interfaces. Comments are left out: they do not count for the type hash.
_VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose"
    ),
    "Detection2D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox2D bbox\nstring id"
    ),
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
}


@cache
def ros2_types() -> Typestore:
    """The types of ROS 2 Jazzy, which those used here share with Humble, and vision_msgs."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in _VISION_MSGS.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


@cache
def ros1_types() -> Typestore:
    """The types of ROS 1 Noetic."""
    return get_typestore(Stores.ROS1_NOETIC)


def is_ros1(connection: Connection) -> bool:
    """Whether the messages of a topic are serialised as ROS 1 does it."""
    return isinstance(connection.ext, ConnectionExtRosbag1)


def types_of(connection: Connection) -> Typestore:
    """The types of a topic: as the bag itself defines them, for they may be older, else as they are here."""
    definition = connection.msgdef
    if definition.format is not MessageDefinitionFormat.MSG:
        return ros1_types() if is_ros1(connection) else ros2_types()
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition.data, connection.msgtype))
    return store
