"""The message types that bags hold, without ROS: layouts of common_interfaces and of vision_msgs 4.1."""

from __future__ import annotations

import keyword
from functools import cache
from typing import Any

from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ...core.texts import InputError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
DETECTION = "vision_msgs/msg/Detection2D"
DETECTIONS = "vision_msgs/msg/Detection2DArray"

LARGEST_DEFINITION = 50_000  # characters; that of a Detection2DArray has some thousand
LARGEST_ARRAY = 64  # elements; a covariance has 36

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


class DefinitionError(InputError):
    """A definition of a message in a bag that is not used; the text says why."""


def types_of(connection: Connection) -> Typestore:
    """The types of a topic: as the bag itself defines them, for they may be older, else as they are here.

    Raises:
        DefinitionError: the bag's definition is damaged, or nothing that a message of boxes needs.
    """
    definition = connection.msgdef
    if definition.format is not MessageDefinitionFormat.MSG:
        return ros1_types() if is_ros1(connection) else ros2_types()
    what = f"the definition of {connection.msgtype} in the bag"
    if len(definition.data) > LARGEST_DEFINITION:
        raise DefinitionError(f"{what} has more than {LARGEST_DEFINITION} characters")
    store = get_typestore(Stores.EMPTY)
    try:
        found = get_types_from_msg(definition.data, connection.msgtype)
        if not all(map(_is_tame, found.values())):
            raise ValueError("its fields are not those of boxes")
        store.register({name: ([], fields) for name, (_, fields) in found.items()})
    except Exception as error:  # a parser and a compiler of rosbags
        raise DefinitionError(f"{what} cannot be used: {error}") from error
    return store


def _is_tame(definition: tuple[Any, Any]) -> bool:
    """Whether a type can be had without harm: rosbags makes Python code of it.

    An array costs a line an element, and lists of messages without fields need no data, so that they may be
    of any length.
    """
    _, fields = definition
    arrays = [of for _, (kind, of) in fields if kind is Nodetype.ARRAY]
    names = [name for name, _ in fields]
    return (
        bool(fields)
        and all(element[0] is Nodetype.BASE and length <= LARGEST_ARRAY for element, length in arrays)
        and all(name.isidentifier() and not keyword.iskeyword(name) for name in names)
    )
