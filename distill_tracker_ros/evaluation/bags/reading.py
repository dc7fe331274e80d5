"""Recordings of ROS 1 and ROS 2 as sequences, without ROS: each image is read when it is asked for."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from sys import intern
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader

from ...core.boxes import Boxes
from ...core.frame import Frame, Pixels
from ...messages import box_from_msg, open_image, stamp_ns
from ...runtime.plain_yaml import read_yaml
from ..sequences import FrameError, Frames, Sequence, SequenceError
from .salvage import Message, Salvage
from .types import (
    COMPRESSED_IMAGE,
    DETECTION,
    DETECTIONS,
    IMAGE,
    DefinitionError,
    is_ros1,
    ros1_types,
    ros2_types,
    types_of,
)
from .unpacking import without_qos

IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
TRUTH_TYPES = (DETECTION, DETECTIONS)
TRUTH_NAME = "ground_truth"  # a topic of that name has the truth, if nothing else is said


class Reader(Protocol):
    """What is needed of the readers of rosbags."""

    connections: list[Connection]

    def messages(self, connections: Collection[Connection], start: int) -> Iterator[Message]: ...

    def close(self) -> None: ...


class ImageHeader(NamedTuple):
    """What is kept in memory of an image."""

    recorded_ns: int  # when it was recorded
    stamp_ns: int  # of its header; if that is zero, when it was recorded
    frame_id: str


class BagFrames(Frames):
    """The images of one topic of a bag, in the order of their recording: none is left out or moved.

    Reading forwards is cheap; going back begins anew at the time of the image. One image is in memory.
    """

    def __init__(self, images: _Images, headers: tuple[ImageHeader, ...], places: range) -> None:
        """
        Args:
            headers: of these frames.
            places: of these frames in the recording.
        """
        self.headers = headers
        self._images, self._places = images, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> BagFrames: ...
    def __getitem__(self, index: int | slice) -> Pixels | Frames:
        if isinstance(index, slice):
            return BagFrames(self._images, self.headers[index], self._places[index])
        return super().__getitem__(index)

    @property
    def broken(self) -> str:
        """Why the bag ends before it should; empty if it is whole."""
        return _broken(self._images.reader)

    @property
    def topic(self) -> str:
        return self._images.topic[0].topic

    @property
    def msgtype(self) -> str:
        """sensor_msgs/msg/Image or sensor_msgs/msg/CompressedImage."""
        return self._images.topic[0].msgtype

    def view(self, index: int) -> Frame:
        """The frame as the tracker node sees it.

        Raises:
            FrameError: the image cannot be used.
            SequenceError: it cannot be read.
        """
        connection, raw = self._images.message(self._place(index))
        try:
            msg: Any = (
                ros1_types().deserialize_ros1(raw, connection.msgtype)
                if is_ros1(connection)
                else ros2_types().deserialize_cdr(raw, connection.msgtype)
            )
            return open_image(msg)
        except Exception as error:  # ImageError, and what damaged messages raise in the code of rosbags
            raise FrameError(f"{self._images.path}: image {index} on {self.topic}: {error}") from error

    def cdr(self, index: int) -> bytes:
        """The image message as ROS 2 serialises it: unchanged, but that it gets a stamp if it has none.

        Raises:
            SequenceError: it cannot be read.
        """
        connection, raw = self._images.message(self._place(index))
        if is_ros1(connection):
            raw = bytes(ros2_types().ros1_to_cdr(raw, connection.msgtype))
        stamp = divmod(self.headers[index].stamp_ns, 1_000_000_000)
        return raw[:4] + struct.pack(f"{_cdr_order(raw)}iI", *stamp) + raw[12:]

    def _read(self, index: int) -> Pixels:
        frame = self.view(index)
        return frame.cut(0, 0, frame.width, frame.height)

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self._images.path} has no image {index} on {self.topic}")
        return self._places[index]


class _Images:
    """The image messages of a bag by their place in the recording; the last one is kept."""

    def __init__(
        self, path: Path, reader: Reader, topic: list[Connection], recorded_ns: NDArray[np.int64]
    ) -> None:
        """
        Args:
            reader: open; it is closed with the last of these frames.
            topic: one connection for each of its publishers.
            recorded_ns: (N,) when each image was recorded.
        """
        self.path, self.reader, self.topic = path, reader, topic
        self._recorded_ns = recorded_ns
        weakref.finalize(self, reader.close)
        self._coming: Iterator[Message] = iter(())
        self._next = -1  # place of what is coming
        self._present: tuple[int, Connection, bytes] | None = None

    def message(self, place: int) -> tuple[Connection, bytes]:
        """
        Raises:
            SequenceError: it cannot be read any more.
        """
        if self._present is None or self._present[0] != place:
            if self._next != place:
                self._coming = self._from(place)
            self._next, self._present = place + 1, None  # let go of the old one before the new one comes
            try:
                connection, _, raw = next(self._coming)
            except Exception as error:  # rosbags passes on what its parsers and the system raise
                raise SequenceError(f"{self.path}: image {place} cannot be read again: {error!r}") from error
            self._present = place, connection, raw
        return self._present[1:]

    def _from(self, place: int) -> Iterator[Message]:
        """The images from this one on."""
        start = int(self._recorded_ns[place])
        before = int(np.count_nonzero(self._recorded_ns[:place] >= start))
        return islice(self.reader.messages(self.topic, start=start), before, None)


def open_bag(path: Path, image_topic: str = "", truth_topic: str = "") -> Sequence:
    """The images of a bag, with the true boxes if it has some. Reads the bag once; images are not decoded.

    A bag that is damaged or cut off is read up to the break, which `broken` of the sequence tells.

    Args:
        path: a folder with a metadata.yaml, or a single file: .mcap, .db3 or .bag.
        image_topic: of sensor_msgs/Image or CompressedImage; empty = the only one there is.
        truth_topic: of vision_msgs/Detection2D or Detection2DArray; empty = the only one whose name ends in
            `ground_truth`, if there is one. A box belongs to the images with its stamp; of several boxes
            those with the `id` of the very first count.

    Raises:
        SequenceError: nothing of the bag can be read, or it has no such topic.
    """
    if not path.exists():
        raise SequenceError(f"{path} does not exist: give a folder with metadata.yaml, .mcap, .db3 or .bag")
    try:
        return _opened(path, _reader(path), image_topic, truth_topic)
    except (SequenceError, PermissionError):
        raise
    except Exception:  # rosbags passes on whatever a damaged file makes of its parsers
        salvage = Salvage(path)
        if not salvage.connections:
            salvage.close()
            reason = salvage.broken or "it is empty"
            raise SequenceError(f"{path} holds nothing that can be read: {reason}") from None
        try:
            return _opened(path, salvage, image_topic, truth_topic)
        except SequenceError:
            raise
        except Exception as error:  # what the library makes of damaged definitions of messages
            raise SequenceError(f"{path} cannot be read: {error!r}") from error


def _opened(path: Path, reader: Reader, image_topic: str, truth_topic: str) -> Sequence:
    """Closes a reader that is of no use."""
    try:
        return _sequence(path, reader, image_topic, truth_topic)
    except BaseException:
        reader.close()
        raise


def _reader(path: Path) -> Reader:
    """
    Raises:
        Exception: rosbags cannot read it, or should not: `Salvage` can.
    """
    if path.is_dir():
        about = read_yaml(path / "metadata.yaml")["rosbag2_bagfile_information"]
        # The library unpacks files and messages without a bound.
        if str(about.get("compression_mode") or "none").lower() not in ("none", "storage"):
            raise ValueError("it is compressed")
    reader = Ros1Reader(path) if path.suffix == ".bag" else Ros2Reader(path)
    with without_qos():
        reader.open()
    return reader  # type: ignore[return-value]


def _sequence(path: Path, reader: Reader, image_topic: str, truth_topic: str) -> Sequence:
    images = _image_topic(path, reader.connections, image_topic)
    truths = _truth_topic(path, reader.connections, truth_topic)
    headers: list[ImageHeader] = []
    boxes = _TrueBoxes(path, truths) if truths else None
    for connection, recorded_ns, raw in reader.messages([*images, *truths], start=0):
        if connection.topic == images[0].topic:
            headers.append(_header(path, connection, recorded_ns, raw))
        elif boxes:
            boxes.add(raw)
    if not headers:
        reason = _broken(reader) or "it is empty"
        raise SequenceError(f"{path} has no image on {images[0].topic}: {reason}")
    stamps = np.array([header.stamp_ns for header in headers], np.int64)
    recorded = np.array([header.recorded_ns for header in headers], np.int64)
    truth = boxes.at(stamps) if boxes else None
    return Sequence(
        path.resolve().name if path.is_dir() else path.stem,
        BagFrames(_Images(path, reader, images, recorded), tuple(headers), range(len(headers))),
        truth,
        _rate_hz(stamps),
        stamps_ns=stamps,
        broken=_broken(reader),
    )


def _broken(reader: Reader) -> str:
    """Readers of rosbags read whole bags."""
    return reader.broken if isinstance(reader, Salvage) else ""


class _TrueBoxes:
    """The boxes of a target by their stamps, gathered message by message."""

    def __init__(self, path: Path, topic: list[Connection]) -> None:
        """
        Args:
            topic: one connection for each of its publishers.

        Raises:
            SequenceError: the bag defines the messages in a way that cannot be used.
        """
        self._path, self._topic = path, topic
        try:
            self._types = types_of(topic[0])
        except DefinitionError as error:
            raise SequenceError(f"{path}: {error}") from error
        self._id: str | None = None  # of the target: that of the first detection
        self._boxes: dict[int, Boxes] = {}

    def add(self, raw: bytes) -> None:
        """
        Raises:
            SequenceError: it is no message of that type, or a box is rotated or not finite.
        """
        kind = self._topic[0]
        deserialize = self._types.deserialize_ros1 if is_ros1(kind) else self._types.deserialize_cdr
        try:
            msg: Any = deserialize(raw, kind.msgtype)
            for detection in msg.detections if kind.msgtype == DETECTIONS else [msg]:
                id = getattr(detection, "id", "")  # ROS 1 has none
                self._id = id if self._id is None else self._id
                if id == self._id:
                    self._boxes.setdefault(stamp_ns(msg.header.stamp), _true_box(detection.bbox))
        except Exception as error:  # BoxError, and what damaged messages raise in the code of rosbags
            raise SequenceError(f"{self._path}: a detection on {kind.topic}: {error}") from error

    def at(self, stamps_ns: NDArray[np.int64]) -> Boxes:
        """(N, 4) the boxes with exactly these stamps, nan where there is none.

        Raises:
            SequenceError: there are boxes, and none of them has one of these stamps.
        """
        unknown = np.full(4, np.nan)
        boxes = np.array([self._boxes.get(int(stamp), unknown) for stamp in stamps_ns])
        if self._boxes and np.isnan(boxes).all():
            raise SequenceError(
                f"{self._path}: none of the {len(self._boxes)} boxes on {self._topic[0].topic} has the stamp "
                "of an image: they are joined by the stamps in their headers"
            )
        return boxes


def _true_box(bbox: Any) -> Boxes:
    """xywh, frame pixels, of any version of vision_msgs/BoundingBox2D: before 4.0 it had no `position`."""
    position = getattr(bbox.center, "position", bbox.center)
    center = SimpleNamespace(position=position, theta=bbox.center.theta)
    box: Any = SimpleNamespace(center=center, size_x=bbox.size_x, size_y=bbox.size_y)
    return box_from_msg(box)


def _header(path: Path, connection: Connection, recorded_ns: int, raw: bytes) -> ImageHeader:
    """The header of an image message, which is its first field, without the rest of the message."""
    if not 0 <= recorded_ns < 2**63:
        what = f"an image on {connection.topic} was recorded at {recorded_ns} ns"
        raise SequenceError(f"{path}: {what}: accepted is 0 to 2^63 - 1")
    try:
        if is_ros1(connection):
            _, seconds, nanoseconds, length = struct.unpack_from("<IIII", raw)
            text = raw[16 : 16 + length]
        else:
            seconds, nanoseconds, length = struct.unpack_from(f"{_cdr_order(raw)}iII", raw, 4)
            text = raw[16 : 16 + length - 1]  # without the zero at its end
    except (struct.error, IndexError) as error:
        where = f"an image of {len(raw)} bytes on {connection.topic}"
        raise SequenceError(f"{path}: {where} is too short to be one") from error
    stamp = seconds * 1_000_000_000 + nanoseconds
    return ImageHeader(recorded_ns, stamp or recorded_ns, intern(text.decode(errors="replace")))


def _cdr_order(raw: bytes) -> str:
    """The order of bytes of a message in CDR, for `struct`."""
    return "<" if raw[1] else ">"


def _image_topic(path: Path, connections: list[Connection], name: str) -> list[Connection]:
    """The publishers of the topic of that name, or of the only one that has images."""
    if not name:
        names = _names(connections, IMAGE_TYPES)
        if len(names) > 1:
            raise SequenceError(f"{path} has several topics of images: choose one of {', '.join(names)}")
        if not names:
            kinds = " or ".join(IMAGE_TYPES)
            there = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in connections})) or "none"
            raise SequenceError(f"{path} has no topic of images ({kinds}); its topics are {there}")
        name = names[0]
    return _topic(path, connections, name, IMAGE_TYPES)


def _truth_topic(path: Path, connections: list[Connection], name: str) -> list[Connection]:
    """The publishers of the topic of that name, or of the only one that is called the truth; or none."""
    if not name:
        names = [n for n in _names(connections, TRUTH_TYPES) if n.endswith(TRUTH_NAME)]
        if len(names) != 1:
            return []
        name = names[0]
    return _topic(path, connections, name, TRUTH_TYPES)


def _topic(path: Path, connections: list[Connection], name: str, types: tuple[str, ...]) -> list[Connection]:
    of_name = [c for c in connections if c.topic.strip("/") == name.strip("/")]
    if found := [c for c in of_name if c.msgtype in types]:
        return found
    problem = f"{name} is of type {of_name[0].msgtype}" if of_name else f"there is no topic {name}"
    there = ", ".join(_names(connections, types)) or "none"
    raise SequenceError(f"{path}: {problem}; topics of {' or '.join(types)} are: {there}")


def _names(connections: list[Connection], types: tuple[str, ...]) -> list[str]:
    return sorted({c.topic for c in connections if c.msgtype in types})


def _rate_hz(stamps_ns: NDArray[np.int64]) -> float | None:
    """From the median time between two images."""
    period_ns = float(np.median(np.diff(stamps_ns))) if len(stamps_ns) > 1 else 0.0
    return 1e9 / period_ns if period_ns > 0 else None
