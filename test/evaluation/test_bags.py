"""Bags of every kind as sequences: what was recorded comes back, and broken bags are read up to the break."""

from __future__ import annotations

import bz2
import random
import re
import sqlite3
import struct
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from zlib import crc32

import cv2
import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore
from stub_engine import StubEngine
from synthetic import moving_square

from distill_tracker_ros.evaluation.bags import is_bag
from distill_tracker_ros.evaluation.bags.reading import BagFrames, open_bag
from distill_tracker_ros.evaluation.bags.salvage import Salvage
from distill_tracker_ros.evaluation.bags.types import (
    COMPRESSED_IMAGE,
    DETECTION,
    DETECTIONS,
    IMAGE,
    ros1_types,
    ros2_types,
)
from distill_tracker_ros.evaluation.bags.unpacking import BrokenError, unpacked, zstd
from distill_tracker_ros.evaluation.replay import SessionTracker, replay
from distill_tracker_ros.evaluation.sequences import SequenceError

FRAMES = 30
SECOND = 1_000_000_000
PERIOD_NS = 40_000_000
STILL, BOXES = zip(*moving_square(FRAMES, 160, 120, out_of_view=[4]), strict=True)
# With noise, so that they differ from each other and are as large in a compressed bag as those of a camera.
RGB = [rgb ^ np.random.default_rng(i).integers(0, 8, rgb.shape, np.uint8) for i, rgb in enumerate(STILL)]
STAMPS = [5 * SECOND + index * PERIOD_NS for index in range(FRAMES)]

ROS1, ROS2 = ros1_types(), ros2_types()

Recorded = tuple[str, str, int, Any]  # topic, type, recording time, message


def header(store: Typestore, stamp_ns: int, frame_id: str = "cam") -> Any:
    stamp = store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND))
    fields = (0, stamp, frame_id) if store is ROS1 else (stamp, frame_id)
    return store.types["std_msgs/msg/Header"](*fields)


def raw_image(store: Typestore, rgb: np.ndarray, stamp_ns: int, frame_id: str = "cam") -> Any:
    height, width = rgb.shape[:2]
    bgr = np.ascontiguousarray(rgb[..., ::-1]).ravel()
    return store.types[IMAGE](header(store, stamp_ns, frame_id), height, width, "bgr8", 0, 3 * width, bgr)


def jpeg_image(store: Typestore, rgb: np.ndarray, stamp_ns: int) -> Any:
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return store.types[COMPRESSED_IMAGE](header(store, stamp_ns), "jpeg", jpeg)


def detection(box_xywh: Iterable[float], stamp_ns: int, id: str = "1") -> Any:
    make = ROS2.types
    x, y, w, h = box_xywh
    point = make["vision_msgs/msg/Point2D"](x + w / 2, y + h / 2)
    bbox = make["vision_msgs/msg/BoundingBox2D"](make["vision_msgs/msg/Pose2D"](point, 0.0), w, h)
    return make[DETECTION](header(ROS2, stamp_ns), [], bbox, id)


def array(detections: list[Any], stamp_ns: int) -> Any:
    return ROS2.types[DETECTIONS](header(ROS2, stamp_ns), detections)


def flight(store: Typestore = ROS2, make: Callable[..., Any] = raw_image) -> list[Recorded]:
    """The images of the square, 1 ms after their stamps."""
    msgtype = IMAGE if make is raw_image else COMPRESSED_IMAGE
    return [
        ("/image", msgtype, stamp + 1_000_000, make(store, rgb, stamp))
        for rgb, stamp in zip(RGB, STAMPS, strict=True)
    ]


def truth() -> list[Recorded]:
    return [
        ("/ground_truth", DETECTION, stamp + 2_000_000, detection(box, stamp))
        for box, stamp in zip(BOXES, STAMPS, strict=True)
        if np.isfinite(box).all()
    ]


def write_bag(
    path: Path,
    messages: list[Recorded],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    writer = Writer(path, version=8, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        topics: dict[str, Any] = {}
        for topic, msgtype, at_ns, msg in sorted(messages, key=lambda message: message[2]):
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, msgtype, typestore=ROS2)
            raw = msg if isinstance(msg, bytes) else ROS2.serialize_cdr(msg, msgtype)
            writer.write(topics[topic], at_ns, raw)
    return path


def storage_file(bag: Path) -> Path:
    return next(path for path in bag.iterdir() if path.name != "metadata.yaml")


def write_ros1_bag(
    path: Path, messages: list[Recorded], store: Typestore = ROS1, compressed: bool = False
) -> Path:
    writer = Ros1Writer(path)
    writer.chunk_threshold = 100_000
    if compressed:
        writer.set_compression(Ros1Writer.CompressionFormat.LZ4)
    with writer:
        topics: dict[str, Any] = {}
        for topic, msgtype, at_ns, msg in messages:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, msgtype, typestore=store)
            writer.write(topics[topic], at_ns, bytes(store.serialize_ros1(msg, msgtype)))
    return path


def assert_is_the_flight(bag: Any, frames: int = FRAMES) -> None:
    assert len(bag.frames) == frames
    assert bag.stamps_ns.tolist() == STAMPS[:frames]
    for rgb, expected in zip(bag.frames, RGB, strict=False):
        np.testing.assert_array_equal(rgb, expected)


@pytest.fixture(scope="module")
def mcap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bag with a truth."""
    return write_bag(tmp_path_factory.mktemp("bags") / "flight", flight() + truth())


@pytest.mark.parametrize(
    "compression",
    [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE],
)
@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_what_was_recorded_comes_back(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode
) -> None:
    if (storage, compression) == (StoragePlugin.SQLITE3, CompressionMode.STORAGE):
        pytest.skip("SQLite does not compress")
    bag = open_bag(write_bag(tmp_path / "flight", flight() + truth(), storage, compression))
    assert (bag.name, bag.rate_hz, bag.broken) == ("flight", 25.0, "")
    assert_is_the_flight(bag)
    assert bag.truth_xywh is not None
    np.testing.assert_allclose(bag.truth_xywh, BOXES)


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_single_file_without_its_metadata(tmp_path: Path, storage: StoragePlugin) -> None:
    path = storage_file(write_bag(tmp_path / "flight", flight(), storage))
    path = path.rename(tmp_path / f"alone{path.suffix}")
    bag = open_bag(path)
    assert_is_the_flight(bag)
    assert (bag.name, bag.truth_xywh, bag.visible.any()) == ("alone", None, False)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_ros_1_bag(tmp_path: Path, compressed: bool) -> None:
    bag = open_bag(write_ros1_bag(tmp_path / "flight.bag", flight(ROS1), compressed=compressed))
    assert_is_the_flight(bag)
    assert isinstance(bag.frames, BagFrames)
    assert {h.frame_id for h in bag.frames.headers} == {"cam"}
    assert [h.recorded_ns for h in bag.frames.headers] == [stamp + 1_000_000 for stamp in STAMPS]
    for index in (0, 7):
        expected = ROS2.serialize_cdr(raw_image(ROS2, RGB[index], STAMPS[index]), IMAGE)
        assert bag.frames.cdr(index) == bytes(expected)


def test_the_truth_of_ros_1_has_another_layout(tmp_path: Path) -> None:
    """vision_msgs of Noetic: the centre is a geometry_msgs/Pose2D, and there is no id."""
    store = ROS1
    definition = (
        "std_msgs/Header header\nvision_msgs/BoundingBox2D bbox\n"
        + "=" * 80
        + "\nMSG: vision_msgs/BoundingBox2D\ngeometry_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n"
    )
    old = type(store)()
    old.register(store.fielddefs)
    old.register(get_types_from_msg(definition, DETECTION))
    x, y, w, h = BOXES[0]
    centre = old.types["geometry_msgs/msg/Pose2D"](x + w / 2, y + h / 2, 0.0)
    bbox = old.types["vision_msgs/msg/BoundingBox2D"](centre, w, h)
    box = old.types[DETECTION](header(store, STAMPS[0]), bbox)
    path = tmp_path / "flight.bag"
    write_ros1_bag(path, [*flight(store), ("/ground_truth", DETECTION, STAMPS[0], box)], old)
    bag = open_bag(path)
    assert bag.truth_xywh is not None
    np.testing.assert_allclose(bag.truth_xywh[0], BOXES[0])
    assert bag.visible.tolist() == [True] + [False] * (FRAMES - 1)


@pytest.mark.parametrize("ros1", [False, True])
def test_jpeg_images(tmp_path: Path, ros1: bool) -> None:
    if ros1:
        path = write_ros1_bag(tmp_path / "a.bag", flight(ROS1, jpeg_image))
    else:
        path = write_bag(tmp_path / "a", flight(make=jpeg_image))
    bag = open_bag(path)
    assert bag.frames.msgtype == COMPRESSED_IMAGE  # type: ignore[attr-defined]
    for index, rgb in enumerate(RGB):
        assert np.abs(bag.frames[index].astype(int) - rgb).mean() < 5
        view = bag.frames.view(index)
        assert (view.width, view.height) == (160, 120)
        assert view.cut(0, 0, 160, 120, shrink=4.0).shape == (30, 40, 3)  # decoded coarsely, as in the node


def test_the_view_is_the_message_of_the_node(mcap: Path) -> None:
    frames = open_bag(mcap).frames
    assert type(frames.view(3)).__name__ == "MessageFrame"
    np.testing.assert_array_equal(frames.view(3).cut(10, 20, 30, 40), RGB[3][20:60, 10:40])


def test_messages_are_passed_on_as_they_are(mcap: Path) -> None:
    frames = open_bag(mcap).frames
    assert isinstance(frames, BagFrames)
    assert (frames.topic, frames.msgtype) == ("/image", IMAGE)
    for index in (0, 5, 2):
        msg = raw_image(ROS2, RGB[index], STAMPS[index])
        assert frames.cdr(index) == bytes(ROS2.serialize_cdr(msg, IMAGE))


def test_big_endian_messages(tmp_path: Path) -> None:
    """The byte order of a message is that of the computer that recorded it."""
    messages = [
        (topic, kind, at, bytes(ROS2.serialize_cdr(msg, kind, little_endian=False)))
        for topic, kind, at, msg in flight()
    ]
    assert_is_the_flight(open_bag(write_bag(tmp_path / "flight", messages)))


def test_frames_are_read_in_any_order(mcap: Path) -> None:
    frames = open_bag(mcap).frames
    order = [*range(FRAMES), *reversed(range(FRAMES)), 3, 3, 9, 1, 2, -1]
    for index in order:
        np.testing.assert_array_equal(frames[index], RGB[index])
    for index in (FRAMES, FRAMES + 3):
        with pytest.raises(IndexError):
            frames[index]
    with pytest.raises(IndexError):
        frames.view(-1)


def test_a_part_of_a_bag_is_still_a_bag(mcap: Path) -> None:
    """With its headers and messages; backwards too."""
    part = open_bag(mcap).part(slice(8, 2, -2))
    assert isinstance(part.frames, BagFrames)
    assert [header.stamp_ns for header in part.frames.headers] == [STAMPS[i] for i in (8, 6, 4)]
    for number, index in enumerate((8, 6, 4)):
        np.testing.assert_array_equal(part.frames[number], RGB[index])
        stamp = struct.unpack_from("<iI", part.frames.cdr(number), 4)
        assert stamp == divmod(STAMPS[index], SECOND)
    with pytest.raises(IndexError):
        part.frames.view(3)


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_images_of_the_same_recording_time(tmp_path: Path, storage: StoragePlugin) -> None:
    """A reader is sent to a time, and several images may have it."""
    messages = [(topic, kind, 7 * SECOND, msg) for topic, kind, _, msg in flight()]
    bag = open_bag(write_bag(tmp_path / "flight", messages, storage))
    for index in (3, 11, 0, 10, 5):
        np.testing.assert_array_equal(bag.frames[index], RGB[index])


def test_stamps_that_jump_are_left_as_they_are(tmp_path: Path) -> None:
    """Time went back in the fifth frame, and one stamp came twice: nothing is dropped or moved."""
    jumping = STAMPS[:4] + [2 * SECOND] + STAMPS[5:8] + [STAMPS[7]] + STAMPS[9:]
    messages = [
        ("/image", IMAGE, at, raw_image(ROS2, rgb, stamp))
        for rgb, at, stamp in zip(RGB, STAMPS, jumping, strict=True)
    ]
    bag = open_bag(write_bag(tmp_path / "flight", messages))
    assert bag.stamps_ns is not None and bag.stamps_ns.tolist() == jumping
    assert bag.rate_hz == 25.0
    for rgb, expected in zip(bag.frames, RGB, strict=True):
        np.testing.assert_array_equal(rgb, expected)


def test_images_without_a_stamp_have_the_time_of_recording(tmp_path: Path) -> None:
    messages = [("/image", IMAGE, at, raw_image(ROS2, RGB[0], 0)) for at in STAMPS[:3]]
    bag = open_bag(write_bag(tmp_path / "flight", messages))
    assert bag.stamps_ns is not None and bag.stamps_ns.tolist() == STAMPS[:3]
    assert isinstance(bag.frames, BagFrames)
    msg: Any = ROS2.deserialize_cdr(bag.frames.cdr(1), IMAGE)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == divmod(STAMPS[1], SECOND)
    np.testing.assert_array_equal(msg.data, RGB[0][..., ::-1].ravel())


def test_a_single_image_has_no_rate(tmp_path: Path) -> None:
    bag = open_bag(write_bag(tmp_path / "flight", flight()[:1]))
    assert (len(bag.frames), bag.rate_hz) == (1, None)


def test_the_truth_is_joined_by_stamps(tmp_path: Path) -> None:
    """An array may hold other objects; boxes without an image and images without a box are no error."""
    messages = flight()
    for index in (1, 2, 5):
        other = detection((1, 2, 3, 4), STAMPS[index], "other")
        found = [detection(BOXES[index], STAMPS[index], "7")]
        messages.append(("/a/ground_truth", DETECTIONS, STAMPS[index], array([*found, other], STAMPS[index])))
    messages.append(("/a/ground_truth", DETECTIONS, STAMPS[3], array([], STAMPS[3])))
    lonely = detection((5, 5, 5, 5), STAMPS[6] + 1, "7")
    messages.append(("/a/ground_truth", DETECTIONS, STAMPS[6], array([lonely], STAMPS[6] + 1)))
    bag = open_bag(write_bag(tmp_path / "flight", messages))
    assert bag.truth_xywh is not None
    assert np.flatnonzero(bag.visible).tolist() == [1, 2, 5]
    np.testing.assert_allclose(bag.truth_xywh[[1, 2, 5]], [BOXES[i] for i in (1, 2, 5)])


def test_the_truth_topic_can_be_named(tmp_path: Path) -> None:
    messages = flight() + [("/boxes", *rest) for _, *rest in truth()]
    path = write_bag(tmp_path / "flight", messages)
    assert open_bag(path).truth_xywh is None
    bag = open_bag(path, truth_topic="/boxes")
    np.testing.assert_allclose(bag.truth_xywh, BOXES)
    np.testing.assert_allclose(open_bag(path, "image", "boxes").truth_xywh, BOXES)


def test_two_topics_that_are_called_the_truth_are_none(tmp_path: Path) -> None:
    messages = flight() + truth() + [("/b/ground_truth", *rest) for _, *rest in truth()]
    assert open_bag(write_bag(tmp_path / "flight", messages)).truth_xywh is None


def test_a_truth_that_belongs_to_no_image_is_refused(tmp_path: Path) -> None:
    boxes = [("/ground_truth", DETECTION, s, detection(BOXES[0], s + 7)) for s in STAMPS[:2]]
    path = write_bag(tmp_path / "flight", flight() + boxes)
    with pytest.raises(SequenceError, match="none of the 2 boxes on /ground_truth has the stamp of an image"):
        open_bag(path)


def test_a_rotated_true_box_is_refused(tmp_path: Path) -> None:
    box = detection(BOXES[0], STAMPS[0])
    box.bbox.center.theta = 0.5
    path = write_bag(tmp_path / "flight", [*flight(), ("/ground_truth", DETECTION, STAMPS[0], box)])
    with pytest.raises(
        SequenceError, match=r"a detection on /ground_truth: the box is rotated \(theta = 0.5"
    ):
        open_bag(path)


def test_several_image_topics_have_to_be_told_apart(tmp_path: Path) -> None:
    messages = flight() + [("/right", *rest) for _, *rest in flight()[:3]]
    path = write_bag(tmp_path / "flight", messages)
    with pytest.raises(SequenceError, match="several topics of images: choose one of /image, /right"):
        open_bag(path)
    assert len(open_bag(path, "/right").frames) == 3
    with pytest.raises(SequenceError, match=r"there is no topic /left; topics of .* are: /image, /right"):
        open_bag(path, "/left")


def test_a_topic_of_another_type_is_named(mcap: Path) -> None:
    with pytest.raises(
        SequenceError, match="/ground_truth is of type vision_msgs/msg/Detection2D; topics of"
    ):
        open_bag(mcap, "/ground_truth")
    with pytest.raises(
        SequenceError, match=r"/image is of type sensor_msgs/msg/Image; .* are: /ground_truth"
    ):
        open_bag(mcap, truth_topic="/image")


def test_a_bag_without_images(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "flight", truth())
    with pytest.raises(
        SequenceError, match=r"no topic of images .* its topics are /ground_truth \(vision_msgs"
    ):
        open_bag(path)


def test_topics_of_types_that_nobody_knows_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "flight"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        odd = writer.add_connection(
            "/odd", "my_msgs/msg/Odd", msgdef="this is no definition", rihs01="RIHS01_0"
        )
        writer.write(odd, 1, b"\0\1\0\0abc")
        images = writer.add_connection("/image", IMAGE, typestore=ROS2)
        for _, _, at_ns, msg in flight():
            writer.write(images, at_ns, ROS2.serialize_cdr(msg, IMAGE))
    assert_is_the_flight(open_bag(path))


def test_images_that_cannot_be_used_are_named_when_they_are_read(tmp_path: Path) -> None:
    messages = flight()[:4]
    messages[1][3].encoding = "32FC1"
    messages[2][3].step = 3
    raw = bytes(ROS2.serialize_cdr(messages[3][3], IMAGE))
    messages[3] = ("/image", IMAGE, STAMPS[3], raw[: len(raw) // 2])
    frames = open_bag(write_bag(tmp_path / "flight", messages)).frames
    np.testing.assert_array_equal(frames[0], RGB[0])
    with pytest.raises(SequenceError, match=r"flight: image 1 on /image: encoding '32FC1'"):
        frames[1]
    with pytest.raises(SequenceError, match="image 2 on /image: .* has a step of 3"):
        frames.view(2)
    with pytest.raises(SequenceError, match="image 3 on /image: Invalid sequence length"):
        frames[3]


def test_a_picture_that_is_damaged_does_not_end_the_sequence(tmp_path: Path) -> None:
    """Neither one that is refused at once nor one that shows its damage when it is decoded."""
    messages = flight(make=jpeg_image)
    messages[3][3].data = messages[3][3].data[:200]
    tables = messages[8][3].data.tobytes().replace(b"\xff\xdb", b"\xff\xfe")
    messages[8][3].data = np.frombuffer(tables, np.uint8)
    bag = open_bag(write_bag(tmp_path / "flight", messages + truth()))
    tracked = replay(SessionTracker(StubEngine()), bag)
    assert len(tracked) == FRAMES and tracked.stamps_ns.tolist() == STAMPS
    assert tracked.broken.startswith("2 of 30 frames could not be used, the first is frame 3: ")


def test_a_message_that_is_too_short_for_a_header(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "flight", [("/image", IMAGE, 1, b"\0\1\0\0\0\0")])
    with pytest.raises(SequenceError, match="an image of 6 bytes on /image is too short to be one"):
        open_bag(path)


def test_one_image_is_in_memory(tmp_path: Path) -> None:
    """A bag of 60 MB is opened and read with a few images' worth of memory."""
    rgb = np.random.default_rng(0).integers(0, 255, (500, 667, 3), np.uint8)  # 1 MB
    for storage in StoragePlugin:
        messages = [("/image", IMAGE, s, raw_image(ROS2, rgb, s)) for s in range(SECOND, SECOND + 60)]
        path = write_bag(tmp_path / storage.name, messages, storage)
        del messages
        tracemalloc.start()
        assert sum(1 for frame in open_bag(path).frames) == 60
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12e6, storage


def test_what_is_a_bag(tmp_path: Path, mcap: Path) -> None:
    assert is_bag(mcap) and is_bag(storage_file(mcap))
    assert is_bag(Path("a.bag")) and is_bag(Path("a.db3"))
    assert not is_bag(tmp_path) and not is_bag(Path("a.mp4")) and not is_bag(Path("a"))


# Broken bags.


def bags_of_all_formats(folder: Path) -> dict[str, Path]:
    stored = CompressionMode.STORAGE
    both = flight() + truth()
    return {
        "mcap": storage_file(write_bag(folder / "mcap", both)),
        "mcap.zstd": storage_file(write_bag(folder / "mcap_zstd", both, compression=stored)),
        "db3": storage_file(write_bag(folder / "db3", both, StoragePlugin.SQLITE3)),
        "bag": write_ros1_bag(folder / "a.bag", flight(ROS1)),
        "bag.lz4": write_ros1_bag(folder / "b.bag", flight(ROS1), compressed=True),
    }


FORMATS = ("mcap", "mcap.zstd", "db3", "bag", "bag.lz4")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    # MCAP is written in chunks of a megabyte: with smaller ones a cut leaves something.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rosbags.rosbag2.storage_mcap.McapWriter.write", _chunk_a_message)
        return bags_of_all_formats(tmp_path_factory.mktemp("whole"))


def _chunk_a_message(self: Any, *message: Any) -> None:
    _write(self, *message)
    if len(self.chunk.msgs) == 2:  # an image and a box
        self.close_chunk()


from rosbags.rosbag2.storage_mcap import McapWriter  # noqa: E402

_write = McapWriter.write


@pytest.mark.parametrize("format", FORMATS)
def test_salvage_reads_whole_bags_as_the_library_does(whole: dict[str, Path], format: str) -> None:
    salvage = Salvage(whole[format])
    library = open_bag(whole[format])
    assert salvage.broken == library.broken == ""
    image = [c for c in salvage.connections if c.topic == "/image"]
    found = list(salvage.messages(image))
    assert [recorded_ns for _, recorded_ns, _ in found] == [stamp + 1_000_000 for stamp in STAMPS]
    assert isinstance(library.frames, BagFrames)
    if "bag" not in format:
        assert [raw for *_, raw in found] == [library.frames.cdr(index) for index in range(FRAMES)]
    assert len(list(salvage.messages(image, start=STAMPS[20]))) == FRAMES - 20


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.25, 0.4, 0.5, 0.63, 0.75, 0.9, 0.97])
def test_a_bag_that_is_cut_off_is_read_up_to_the_break(
    tmp_path: Path, whole: dict[str, Path], format: str, share: float
) -> None:
    content = whole[format].read_bytes()
    path = tmp_path / f"cut{whole[format].suffix}"
    path.write_bytes(content[: int(share * len(content))])
    try:
        bag = open_bag(path)
    except SequenceError as error:
        assert share <= 0.25
        assert str(error).startswith(f"{path} holds nothing that can be read: cut.")
        return
    assert share >= 0.1
    frames = len(bag.frames)
    assert share * FRAMES - 3 < frames <= share * FRAMES + 1
    assert isinstance(bag.frames, BagFrames)
    assert bag.broken.startswith("cut.")
    assert bag.frames.broken == bag.broken
    assert_is_the_flight(bag, frames)
    np.testing.assert_array_equal(bag.frames[0], RGB[0])  # it can be read again
    if bag.truth_xywh is not None:  # the last image may have lost its box
        np.testing.assert_allclose(bag.truth_xywh[:-1], np.array(BOXES)[: frames - 1])


@pytest.mark.parametrize("format", ["mcap", "bag"])
def test_a_bag_without_its_index_has_lost_nothing(
    tmp_path: Path, whole: dict[str, Path], format: str
) -> None:
    content = whole[format].read_bytes()
    path = tmp_path / f"cut{whole[format].suffix}"
    path.write_bytes(content[:-30])
    bag = open_bag(path)
    assert bag.broken == ""
    assert_is_the_flight(bag)


@pytest.mark.parametrize(
    ("format", "magic"), [("mcap.zstd", b"\x28\xb5\x2f\xfd"), ("bag.lz4", b"\x04\x22\x4d\x18")]
)
def test_damage_in_the_middle_ends_the_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, magic: bytes
) -> None:
    """Bytes of a compressed chunk are wrong. (Noise is not compressed, and its errors do not show.)"""
    monkeypatch.setattr("rosbags.rosbag2.storage_mcap.McapWriter.write", _chunk_a_message)
    monkeypatch.setitem(globals(), "RGB", [np.tile(rgb[::8, ::8], (8, 8, 1)) for rgb in STILL])
    path = bags_of_all_formats(tmp_path)[format]
    content = bytearray(path.read_bytes())
    chunks = [found.start() for found in re.finditer(re.escape(magic), content)]
    at = chunks[len(chunks) // 2] + 40
    content[at : at + 64] = b"\xff" * 64
    path.write_bytes(content)
    bag = open_bag(path)
    assert FRAMES / 2 - 3 <= len(bag.frames) <= FRAMES / 2 + 1
    assert bag.broken.startswith(path.name)
    assert_is_the_flight(bag, len(bag.frames))


def test_a_checksum_that_does_not_fit_is_damage(tmp_path: Path, whole: dict[str, Path]) -> None:
    """Recorders of ROS 2 write one for each chunk; a wrong bit in a picture shows in nothing else."""
    content = bytearray(whole["mcap"].read_bytes())
    chunks, at = [], 8
    while content[at] != 0x0F:  # the end of the data
        (size,) = struct.unpack_from("<Q", content, at + 1)
        if content[at] == 0x06:
            chunks.append(at)
            struct.pack_into("<I", content, at + 33, crc32(content[at + 49 : at + 9 + size]))
        at += 9 + size
    path = tmp_path / "sum.mcap"
    path.write_bytes(content)
    assert_is_the_flight(open_bag(path))
    content[chunks[10] + 20_000] ^= 1
    path.write_bytes(content)
    bag = open_bag(path)
    assert bag.broken == "sum.mcap: a chunk is damaged: its checksum is another one"
    assert 5 < len(bag.frames) < 12
    assert_is_the_flight(bag, len(bag.frames))


def test_random_damage_is_never_more_than_a_sentence(tmp_path: Path, whole: dict[str, Path]) -> None:
    """Bytes anywhere are wrong: the bag is read, or refused by name."""
    generator = random.Random(1)
    for format in FORMATS:
        content = whole[format].read_bytes()
        path = tmp_path / f"hurt{whole[format].suffix}"
        for _ in range(25):
            hurt = bytearray(content)
            for _ in range(3):
                # The beginning and the end are where the structure is.
                span = generator.choice([200, 5000, len(hurt)])
                at = generator.randrange(span) - generator.choice([0, span])
                hurt[at % len(hurt)] = generator.randrange(256)
            path.write_bytes(hurt)
            try:
                frames = open_bag(path).frames
                for index in range(len(frames)):
                    frames.view(index)
            except SequenceError as error:
                assert "hurt." in str(error)


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("compression", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_a_compressed_bag_that_is_cut_off(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rosbags.rosbag2.storage_mcap.McapWriter.write", _chunk_a_message)
    path = write_bag(tmp_path / "flight", flight() + truth(), storage, compression)
    file = storage_file(path)
    content = file.read_bytes()
    file.write_bytes(content[: int(0.75 * len(content))])
    bag = open_bag(path)
    assert 0 < len(bag.frames) < FRAMES and file.name.removesuffix(".zstd") in bag.broken
    assert_is_the_flight(bag, len(bag.frames))


def split_bag(folder: Path, storage: StoragePlugin) -> Path:
    """A recording in three files of 10 images, as recorders make it when a file has become too large."""
    path = write_bag(folder / "flight", flight()[:10], storage)
    first = storage_file(path)
    names = [first.with_name(f"flight_{number}{first.suffix}").name for number in (8, 9, 10)]
    first.rename(path / names[0])
    for number, name in ((1, names[1]), (2, names[2])):
        part = write_bag(folder / f"part{number}", flight()[10 * number : 10 * number + 10], storage)
        storage_file(part).rename(path / name)
    metadata = (path / "metadata.yaml").read_text()
    listed = "".join(f"  - {name}\n" for name in names)
    (path / "metadata.yaml").write_text(metadata.replace(f"  - {first.name}\n", listed))
    return path


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_bag_in_several_files(tmp_path: Path, storage: StoragePlugin) -> None:
    path = split_bag(tmp_path, storage)
    bag = open_bag(path)
    assert bag.broken == ""
    assert_is_the_flight(bag)
    for index in (29, 0, 10):
        np.testing.assert_array_equal(bag.frames[index], RGB[index])


@pytest.mark.parametrize("metadata", [None, "storage_identifier: [", ""])
def test_a_bag_in_several_files_is_read_up_to_the_broken_one(tmp_path: Path, metadata: str | None) -> None:
    path = split_bag(tmp_path, StoragePlugin.SQLITE3)
    if metadata is not None:
        (path / "metadata.yaml").write_text(metadata)
    second = path / "flight_9.db3"
    second.write_bytes(second.read_bytes()[:5000])
    bag = open_bag(path)
    assert bag.broken.startswith("flight_9.db3: the database is cut off or damaged")
    assert_is_the_flight(bag, 10)


def test_a_missing_file_is_a_break(tmp_path: Path) -> None:
    path = split_bag(tmp_path, StoragePlugin.MCAP)
    (path / "flight_10.mcap").unlink()
    bag = open_bag(path)
    assert "flight_10.mcap" in bag.broken
    assert_is_the_flight(bag, 20)


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
@pytest.mark.parametrize("content", [b"", b"this is no bag" * 100])
def test_a_file_that_is_no_bag_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SequenceError, match=rf"{name} holds nothing that can be read: {name}"):
        open_bag(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="does not exist: give a folder with metadata.yaml, .mcap"):
        open_bag(tmp_path / "a.mcap")


# Hostile bags.


def bomb(kind: str, size: int) -> bytes:
    """Zeros, some thousand times smaller."""
    return {"zstd": zstd.compress, "lz4": lz4.frame.compress, "bz2": bz2.compress}[kind](bytes(size))


def peak_of(action: Callable[[], object]) -> int:
    """Bytes that were allocated at once."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["zstd", "lz4", "bz2"])
def test_no_more_is_unpacked_than_is_claimed_or_allowed(kind: str) -> None:
    packed = bomb(kind, 50_000_000)

    def refused(size: int | None, reason: str) -> None:
        with pytest.raises(BrokenError, match=reason):
            unpacked(kind, packed, size)

    assert peak_of(lambda: refused(1000, "it has more than 1000 bytes")) < 2_000_000
    assert peak_of(lambda: refused(2**40, "claims 1099511627776 bytes: accepted are up to 2684")) < 1e6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill_tracker_ros.evaluation.bags.unpacking.LARGEST", 2_000_000)
        assert peak_of(lambda: refused(None, "it has more than 2000000 bytes")) < 5_000_000
    assert unpacked(kind, packed, 50_000_000) == bytes(50_000_000)


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
@pytest.mark.parametrize("has_index", [True, False])
def test_a_bomb_in_an_mcap_is_not_unpacked(tmp_path: Path, kind: str, has_index: bool) -> None:
    """A chunk of a few kB that claims 1 MB and has 100; also with the index by which the library reads."""
    whole = storage_file(write_bag(tmp_path / "a", flight(), compression=CompressionMode.STORAGE))
    content = bytearray(whole.read_bytes())
    at = content.index(b"\x06", 9 + struct.unpack_from("<Q", content, 9)[0])
    (size,) = struct.unpack_from("<Q", content, at + 1)
    packed = bomb(kind, 100_000_000)
    chunk = content[at + 9 : at + 9 + 24] + bytes(4) + struct.pack("<I", len(kind)) + kind.encode()
    chunk += struct.pack("<Q", len(packed)) + packed
    path = tmp_path / "bomb.mcap"
    rest = content[at + 9 + size :] if has_index else b""
    path.write_bytes(content[: at + 1] + struct.pack("<Q", len(chunk)) + chunk + rest)

    def refused() -> None:
        with pytest.raises(SequenceError, match=r"bomb\.mcap"):
            open_bag(path)

    assert peak_of(refused) < 20_000_000


def test_a_bomb_in_a_ros_1_bag_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library passes no size on: there the bound is LARGEST."""
    monkeypatch.setattr("distill_tracker_ros.evaluation.bags.unpacking.LARGEST", 5_000_000)
    path = write_ros1_bag(tmp_path / "a.bag", flight(ROS1), compressed=True)
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("rosbags.rosbag1.writer.lz4_compress", lambda data, *_: bomb("lz4", 100_000_000))
        path = write_ros1_bag(tmp_path / "b.bag", flight(ROS1), compressed=True)
    assert path.read_bytes() != content

    def refused() -> None:
        with pytest.raises(SequenceError, match=r"b\.bag"):
            open_bag(path)

    assert peak_of(refused) < 30_000_000


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_a_bomb_in_a_compressed_bag_is_not_unpacked(
    tmp_path: Path, mode: CompressionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_tracker_ros.evaluation.bags.unpacking.LARGEST", 5_000_000)
    path = write_bag(tmp_path / "a", flight(), StoragePlugin.SQLITE3, mode)
    file, packed = storage_file(path), bomb("zstd", 100_000_000)
    if mode is CompressionMode.FILE:
        file.write_bytes(packed)
    else:
        with sqlite3.connect(file) as database:
            database.execute("UPDATE messages SET data = ?", [packed])

    def refused() -> None:
        with pytest.raises(SequenceError, match="holds nothing that can be read"):
            open_bag(path)

    assert peak_of(refused) < 20_000_000


@pytest.mark.parametrize("content", ["a bomb", "no such image", "interrupted"])
def test_a_bag_that_is_refused_leaves_no_file(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_tracker_ros.evaluation.bags.unpacking.LARGEST", 5_000_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = write_bag(tmp_path / "a", flight(), StoragePlugin.SQLITE3, CompressionMode.FILE)
    if content == "a bomb":
        storage_file(path).write_bytes(bomb("zstd", 100_000_000))
    if content == "interrupted":
        monkeypatch.setattr(
            "distill_tracker_ros.evaluation.bags.salvage._key", Mock(side_effect=KeyboardInterrupt)
        )
    with pytest.raises((SequenceError, KeyboardInterrupt)):
        open_bag(path, image_topic="/other")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("table", "made"),
    [
        ("messages", "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
         "FROM n) SELECT id, 1 AS topic_id, id AS timestamp, x'00' AS data FROM n"),
        ("schema", "CREATE VIEW schema AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
         "FROM n) SELECT id AS schema_version FROM n WHERE id < 0"),
        ("messages", "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp, "
         "data AS (zeroblob(900000000)))"),
    ],
)  # fmt: skip
def test_a_database_that_counts_for_ever_is_refused(tmp_path: Path, table: str, made: str) -> None:
    path = storage_file(write_bag(tmp_path / "a", flight()[:2], StoragePlugin.SQLITE3))
    with sqlite3.connect(path) as database:
        database.execute(f"DROP TABLE {table}")
        database.execute(made)
        if "TABLE" in made:
            database.execute("INSERT INTO messages (topic_id, timestamp) VALUES (1, 1)")

    def refused() -> None:
        try:
            open_bag(path)
        except SequenceError as error:
            assert path.name in str(error)

    assert peak_of(refused) < 20_000_000


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("float64[100000000] x", "its fields are not those of boxes"),
        ("vision_msgs/E[40] e\n" + "=" * 80 + "\nMSG: vision_msgs/E\nfloat64 x", "its fields are not"),
        ("vision_msgs/E[] e\n" + "=" * 80 + "\nMSG: vision_msgs/E\n", "its fields are not"),
        ("float64 import", "its fields are not those of boxes"),
        ("this is none", "cannot be used"),
        ("float64 x\n" * 10_000, "has more than 50000 characters"),
    ],
)  # fmt: skip
def test_a_definition_of_a_message_is_not_believed(tmp_path: Path, definition: str, reason: str) -> None:
    """rosbags makes Python code of it, of any length."""
    path = tmp_path / "flight"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/image", IMAGE, typestore=ROS2)
        for _, _, at_ns, msg in flight()[:2]:
            writer.write(images, at_ns, ROS2.serialize_cdr(msg, IMAGE))
        odd = writer.add_connection("/ground_truth", DETECTION, msgdef=definition, rihs01="RIHS01_0")
        writer.write(odd, 1, b"\0\1\0\0" + b"\xff" * 100)
    with pytest.raises(SequenceError, match=f"the definition of {DETECTION} in the bag.*{reason}"):
        open_bag(path)


def test_metadata_that_stand_for_gigabytes_are_passed_over(tmp_path: Path) -> None:
    """The library would write the aliases out into its error."""
    path = write_bag(tmp_path / "flight", flight())
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, 12))]
    text = (path / "metadata.yaml").read_text()
    text = text.replace("compression_mode: ''", "compression_mode: message")
    text = text.replace("compression_format: ''", "compression_format: *a11")
    (path / "metadata.yaml").write_text("\n".join(lines) + "\n" + text)
    assert "*a11" in (path / "metadata.yaml").read_text()
    assert_is_the_flight(open_bag(path))


def test_a_time_that_cannot_be_is_named(tmp_path: Path) -> None:
    """MCAP has 64 bits without a sign for it."""
    path = storage_file(write_bag(tmp_path / "a", flight()[:1]))
    content = path.read_bytes()
    recorded = struct.pack("<Q", STAMPS[0] + 1_000_000)
    path.write_bytes(content.replace(recorded, struct.pack("<Q", 2**64 - 1)))
    with pytest.raises(SequenceError, match="recorded at 18446744073709551615 ns: accepted is 0|is empty"):
        open_bag(path)
