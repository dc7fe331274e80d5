"""Sequences and tracks as rosbag2 recordings, for `ros2 bag play`, RViz or Foxglove; needs no ROS."""

from __future__ import annotations

import collections.abc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from tqdm import tqdm

from ...core.boxes import Boxes
from ...core.frame import Pixels
from ...core.tracker import TrackState
from ...drawing import draw_box, draw_track
from ...messages import fill_box
from ..replay import DEFAULT_RATE_HZ, stamps_ns
from ..runs import TrackedSequence
from ..sequences import Frames, Sequence
from . import IMAGE_TOPIC, TRUTH_TOPIC, BagWriteError, Encoding
from .reading import BagFrames, ImageHeader
from .types import COMPRESSED_IMAGE, DETECTION, DETECTIONS, IMAGE, ros2_types

DETECTIONS_TOPIC = "/tracker/detections"
OVERLAY_TOPIC = "/tracker/overlay/compressed"
FRAME_ID = "camera"  # of images that come from no bag
TARGET_ID = "1"  # as the node calls its first target
START_NS = 1_000_000_000  # first stamp of images that have none: a stamp of zero says that there is none
JPEG_QUALITY = 90

_STORAGE = {".mcap": StoragePlugin.MCAP, ".db3": StoragePlugin.SQLITE3, "": StoragePlugin.MCAP}
_ENDLESS = QosTime(9_223_372_036, 854_775_807)
# What a player will offer: it fits best-effort subscribers as well as reliable ones.
_RELIABLE = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _ENDLESS,
    _ENDLESS,
    QosLiveliness.AUTOMATIC,
    _ENDLESS,
    False,
)


@dataclass(frozen=True)
class Topic:
    """A topic of a bag, with one message a frame."""

    name: str
    msgtype: str
    message: Callable[[int], bytes]  # index of the frame -> the message in CDR; IndexError past the last


def write_sequence(
    path: Path,
    sequence: Sequence,
    image_topic: str = IMAGE_TOPIC,
    truth_topic: str = TRUTH_TOPIC,
    encoding: Encoding = "bgr8",
    start_ns: int = START_NS,
) -> None:
    """The frames of a sequence as images, and its true boxes, if it has them, as Detection2DArray.

    A frame in which the target cannot be seen has an empty array.

    Args:
        path: see `write_bag`.
        image_topic: "jpeg" goes as CompressedImage to `<image_topic>/compressed`, the others as Image.
        start_ns: stamp of the first frame of a sequence without stamps; the others follow at its rate.

    Raises:
        BagWriteError: see `write_bag`, or an unknown encoding.
        SequenceError: a frame cannot be read; nothing is written.
    """
    if encoding not in get_args(Encoding):
        raise BagWriteError(f"encoding {encoding!r}: accepted are {', '.join(get_args(Encoding))}")
    headers, frames = image_headers(sequence, start_ns), sequence.frames
    name = f"{image_topic}/compressed" if encoding == "jpeg" else image_topic
    topics = [Topic(name, image_msgtype(encoding), lambda i: encode_image(frames[i], headers[i], encoding))]
    if sequence.truth_xywh is not None:
        truth, visible = sequence.truth_xywh, sequence.visible
        topics.append(
            Topic(
                truth_topic,
                DETECTIONS,
                lambda i: encode_detection(truth[i] if visible[i] else None, 1.0, headers[i], sequence.name),
            )
        )
    write_bag(path, topics, headers)


def write_detections(
    path: Path,
    tracked: TrackedSequence,
    frames: Frames | None = None,
    *,
    images: bool = False,
    overlays: bool = False,
) -> None:
    """What a tracker made of a sequence, as the node would have published it: one Detection2DArray a frame.

    It has the header of its image, and is empty while the target is LOST.

    Args:
        path: see `write_bag`.
        frames: those that were tracked on, row by row; those of a bag give their headers. Only images and
            overlays need them.
        images: add the images; those of a bag as they are.
        overlays: add pictures (JPEG) into which the boxes are drawn, the true ones in white.

    Raises:
        BagWriteError: see `write_bag`, or images or overlays without frames.
        SequenceError: a frame cannot be read; nothing is written.
    """
    headers = _headers(frames, tracked.stamps_ns, START_NS)[: len(tracked)]

    def detection(row: int) -> bytes:
        found = None if tracked.states[row] == TrackState.LOST else tracked.boxes_xywh[row]
        return encode_detection(found, float(tracked.confidence[row]), headers[row])

    topics = [Topic(DETECTIONS_TOPIC, DETECTIONS, detection)]
    if images or overlays:
        if frames is None:
            raise BagWriteError(f"{path}: images and overlays need the frames that were tracked on")
        pictures = frames
        if images:
            topics.insert(0, recorded_images(pictures, headers))
        if overlays:

            def overlay(row: int) -> bytes:
                return encode_image(_drawn(pictures[row], tracked, row), headers[row], "jpeg")

            topics.append(Topic(OVERLAY_TOPIC, COMPRESSED_IMAGE, overlay))
    write_bag(path, topics, headers)


def write_bag(
    path: Path, topics: collections.abc.Sequence[Topic], headers: collections.abc.Sequence[ImageHeader]
) -> None:
    """A new bag with one message a frame on each topic; it is there whole or not at all.

    Args:
        path: NAME.mcap or NAME.db3 = a single file; a name without suffix = a folder with a metadata.yaml
            and an MCAP file.
        topics: in the order in which the messages of a frame are written.
        headers: of the frames.

    Raises:
        BagWriteError: the path exists, or has another suffix.
    """
    if path.suffix not in _STORAGE:
        raise BagWriteError(
            f"{path}: accepted are NAME.mcap and NAME.db3, or a name without suffix for a folder"
        )
    if path.exists():
        raise BagWriteError(f"{path} exists already: name another one, or remove it")
    with _new_bag(path) as bag:
        connections = [
            bag.add_connection(
                topic.name, topic.msgtype, typestore=ros2_types(), offered_qos_profiles=[_RELIABLE]
            )
            for topic in topics
        ]
        for index in tqdm(range(len(headers)), desc=path.name, unit="frame", disable=None):
            try:
                messages = [topic.message(index) for topic in topics]
            except IndexError:  # a video may have fewer frames than it says
                break
            for connection, message in zip(connections, messages, strict=True):
                bag.write(connection, headers[index].recorded_ns, message)


@contextmanager
def _new_bag(path: Path) -> Iterator[Writer]:
    """Aside first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
        folder = Path(aside) / path.stem
        # Version 8 is the newest that Humble reads as well as Jazzy.
        with Writer(folder, version=8, storage_plugin=_STORAGE[path.suffix]) as bag:
            yield bag
        made = folder / f"{path.stem}{path.suffix}" if path.suffix else folder
        made.rename(path)


# One frame.


def image_headers(sequence: Sequence, start_ns: int = START_NS) -> collections.abc.Sequence[ImageHeader]:
    """The headers of the frames of a sequence: a bag's own, else made from its stamps or its rate."""
    stamps = stamps_ns(sequence, sequence.rate_hz or DEFAULT_RATE_HZ)
    return _headers(sequence.frames, stamps, start_ns)


def _headers(
    frames: Frames | None, stamps: NDArray[np.int64], start_ns: int
) -> collections.abc.Sequence[ImageHeader]:
    if isinstance(frames, BagFrames):
        return frames.headers
    if len(stamps) and not stamps[0]:  # they are not those of a recording
        stamps = stamps + start_ns
    recorded = np.maximum.accumulate(stamps)  # the order of recording is that of the frames
    return [ImageHeader(*times, FRAME_ID) for times in zip(recorded.tolist(), stamps.tolist(), strict=True)]


def recorded_images(frames: Frames, headers: collections.abc.Sequence[ImageHeader]) -> Topic:
    """Frames as image messages: those of a bag as they are, others in bgr8."""
    if isinstance(frames, BagFrames):
        return Topic(frames.topic, frames.msgtype, frames.cdr)
    return Topic(IMAGE_TOPIC, IMAGE, lambda index: encode_image(frames[index], headers[index], "bgr8"))


def image_msgtype(encoding: Encoding) -> str:
    """The type of the messages that `encode_image` makes."""
    return COMPRESSED_IMAGE if encoding == "jpeg" else IMAGE


def encode_image(rgb: Pixels, header: ImageHeader, encoding: Encoding) -> bytes:
    """A picture, (H, W, 3) RGB uint8, as an image message in CDR."""
    head, msgtype = _header_msg(header), image_msgtype(encoding)
    if encoding == "jpeg":
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        msg = _msg(msgtype, head, "jpeg", jpeg)
    else:
        codes = {"bgr8": cv2.COLOR_RGB2BGR, "mono8": cv2.COLOR_RGB2GRAY}
        pixels = cv2.cvtColor(rgb, codes[encoding]) if encoding in codes else np.ascontiguousarray(rgb)
        height, width = pixels.shape[:2]
        step = pixels.size // height
        msg = _msg(msgtype, head, height, width, encoding, 0, step, pixels.ravel())
    return bytes(ros2_types().serialize_cdr(msg, msgtype))


def encode_detection(box_xywh: Boxes | None, score: float, header: ImageHeader, label: str = "") -> bytes:
    """One target (frame pixels), or none, as a Detection2DArray in CDR."""
    head = _header_msg(header)
    detections = []
    if box_xywh is not None:
        centre = _msg("vision_msgs/msg/Pose2D", _msg("vision_msgs/msg/Point2D", 0.0, 0.0), 0.0)
        bbox = _msg("vision_msgs/msg/BoundingBox2D", centre, 0.0, 0.0)
        fill_box(bbox, box_xywh)
        hypothesis = _msg("vision_msgs/msg/ObjectHypothesis", label or TARGET_ID, score)
        result = _msg("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis, _no_pose())
        detections.append(_msg(DETECTION, head, [result], bbox, TARGET_ID))
    return bytes(ros2_types().serialize_cdr(_msg(DETECTIONS, head, detections), DETECTIONS))


def _drawn(rgb: Pixels, tracked: TrackedSequence, row: int) -> Pixels:
    """The picture with the true box and the track."""
    bgr: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    draw_box(bgr, tracked.truth_xywh[row])
    state, confidence = TrackState(tracked.states[row]), float(tracked.confidence[row])
    draw_track(bgr, tracked.boxes_xywh[row], "", confidence, state)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]


def _header_msg(header: ImageHeader) -> Any:
    stamp = _msg("builtin_interfaces/msg/Time", *divmod(header.stamp_ns, 1_000_000_000))
    return _msg("std_msgs/msg/Header", stamp, header.frame_id)


def _no_pose() -> Any:
    origin = _msg("geometry_msgs/msg/Point", 0.0, 0.0, 0.0)
    upright = _msg("geometry_msgs/msg/Quaternion", 0.0, 0.0, 0.0, 1.0)
    pose = _msg("geometry_msgs/msg/Pose", origin, upright)
    return _msg("geometry_msgs/msg/PoseWithCovariance", pose, np.zeros(36))


def _msg(msgtype: str, *fields: Any) -> Any:
    """A message from its fields, in their order."""
    return ros2_types().types[msgtype](*fields)
