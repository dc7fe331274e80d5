"""Bags that are written: what comes back of them, here and in ROS, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader, Writer
from synthetic import moving_square

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.bags.reading import BagFrames, open_bag
from distill_tracker_ros.evaluation.bags.types import COMPRESSED_IMAGE, DETECTIONS, IMAGE, ros2_types
from distill_tracker_ros.evaluation.bags.writing import (
    BagWriteError,
    Topic,
    encode_image,
    image_headers,
    write_bag,
    write_detections,
    write_sequence,
)
from distill_tracker_ros.evaluation.runs import Times, TrackedSequence
from distill_tracker_ros.evaluation.sequences import Frames, Sequence, SequenceError

FRAMES = 10
HIDDEN = (4, 5)
RGB, BOXES = zip(*moving_square(FRAMES, 160, 120, out_of_view=HIDDEN), strict=True)
TRUTH = np.array(BOXES)

# Of vision_msgs 4.1 and of the sensor_msgs of Jazzy, as Jazzy itself reports them.
TYPE_HASHES = {
    DETECTIONS: "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    IMAGE: "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    COMPRESSED_IMAGE: "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
}


class ListFrames(Frames):
    """Frames at hand; the length that they announce may be more."""

    def __init__(self, frames: tuple[np.ndarray, ...], announced: int | None = None) -> None:
        self._frames, self._announced = frames, announced

    def __len__(self) -> int:
        return len(self._frames) if self._announced is None else self._announced

    def _read(self, index: int) -> np.ndarray:
        return self._frames[index]


SQUARE = Sequence("square", ListFrames(RGB), TRUTH, 25.0)


def tracked(sequence: Sequence, **changes: Any) -> TrackedSequence:
    """A tracker that is a little off, and lost the target where it is hidden."""
    count = len(sequence.frames)
    states = np.full(count, TrackState.TRACKING, np.int8)
    states[3], states[list(HIDDEN)] = TrackState.UNCERTAIN, TrackState.LOST
    stamps = sequence.stamps_ns if sequence.stamps_ns is not None else np.arange(count) * 40_000_000
    values: dict[str, Any] = {
        "name": sequence.name,
        "truth_xywh": TRUTH,
        "visible": np.isfinite(TRUTH).all(axis=1),
        "boxes_xywh": np.nan_to_num(TRUTH, nan=9.0) + 1.5,
        "confidence": np.linspace(1.0, 0.1, count),
        "states": states,
        "stamps_ns": stamps,
        "times": Times(np.zeros(count), np.zeros(count), np.zeros(count)),
    }
    return TrackedSequence(**values | changes)


def messages(path: Path, topic: str) -> list[Any]:
    """The messages of a topic, read with the types that the bag itself defines."""
    with AnyReader([path]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages(connections)]


@pytest.mark.parametrize("name", ["square.mcap", "square.db3", "square"])
@pytest.mark.parametrize("encoding", ["bgr8", "rgb8"])
def test_a_sequence_comes_back_as_it_was(tmp_path: Path, name: str, encoding: Any) -> None:
    path = tmp_path / "new" / name
    write_sequence(path, SQUARE, encoding=encoding)
    assert path.is_dir() == (path.suffix == "")
    assert [p.name for p in path.parent.iterdir()] == [name]  # and nothing else
    bag = open_bag(path)
    assert (bag.name, bag.rate_hz, bag.broken) == ("square", 25.0, "")
    assert bag.stamps_ns is not None
    assert bag.stamps_ns.tolist() == [1_000_000_000 + i * 40_000_000 for i in range(FRAMES)]
    assert bag.truth_xywh is not None
    np.testing.assert_array_equal(bag.truth_xywh, TRUTH)
    for rgb, expected in zip(bag.frames, RGB, strict=True):
        np.testing.assert_array_equal(rgb, expected)
    assert messages(path, "/image")[0].encoding == encoding


def test_grey_images(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a.mcap", SQUARE, encoding="mono8")
    for rgb, expected in zip(open_bag(tmp_path / "a.mcap").frames, RGB, strict=True):
        grey = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(rgb, np.repeat(grey[:, :, None], 3, axis=2))


def test_jpeg_images(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_sequence(path, SQUARE, "/camera", "/boxes/ground_truth", "jpeg")
    bag = open_bag(path)
    assert isinstance(bag.frames, BagFrames)
    assert (bag.frames.topic, bag.frames.msgtype) == ("/camera/compressed", COMPRESSED_IMAGE)
    np.testing.assert_array_equal(bag.truth_xywh, TRUTH)
    for rgb, expected in zip(bag.frames, RGB, strict=True):
        assert np.abs(rgb.astype(int) - expected).mean() < 8
    assert {msg.format for msg in messages(path, "/camera/compressed")} == {"jpeg"}


def test_the_truth_is_one_detection_or_none(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a.mcap", SQUARE, start_ns=7)
    arrays = messages(tmp_path / "a.mcap", "/ground_truth")
    assert [len(array.detections) for array in arrays] == [i not in HIDDEN for i in range(FRAMES)]
    assert arrays[0].header.stamp.nanosec == 7 and arrays[0].header.frame_id == "camera"
    (found,) = arrays[0].detections
    assert found.header == arrays[0].header
    assert (found.id, found.results[0].hypothesis.class_id, found.results[0].hypothesis.score) == (
        "1",
        "square",
        1.0,
    )
    x, y, w, h = TRUTH[0]
    assert (found.bbox.center.position.x, found.bbox.center.position.y) == (x + w / 2, y + h / 2)
    assert (found.bbox.size_x, found.bbox.size_y, found.bbox.center.theta) == (w, h, 0.0)


def test_a_sequence_without_truth_has_no_boxes(tmp_path: Path) -> None:
    write_sequence(tmp_path / "a.mcap", Sequence("square", SQUARE.frames))
    bag = open_bag(tmp_path / "a.mcap")
    assert bag.truth_xywh is None
    assert bag.rate_hz == pytest.approx(30.0)
    with Reader(tmp_path / "a.mcap") as reader:
        assert list(reader.topics) == ["/image"]


def test_a_sequence_keeps_its_own_stamps(tmp_path: Path) -> None:
    """Also where they jump back: the frames stay in their order."""
    stamps = np.array([100, 200, 300, 250, 260, 270, 400, 400, 500, 600]) * 1_000_000
    write_sequence(tmp_path / "a.mcap", Sequence("a", SQUARE.frames, TRUTH, None, stamps_ns=stamps))
    bag = open_bag(tmp_path / "a.mcap")
    assert bag.stamps_ns is not None and bag.stamps_ns.tolist() == stamps.tolist()
    for rgb, expected in zip(bag.frames, RGB, strict=True):
        np.testing.assert_array_equal(rgb, expected)


def test_a_video_that_ends_early_is_written_up_to_its_end(tmp_path: Path) -> None:
    frames = ListFrames(RGB, announced=FRAMES + 3)
    write_sequence(tmp_path / "a.mcap", Sequence("a", frames))
    assert len(open_bag(tmp_path / "a.mcap").frames) == FRAMES


# What a tracker made of it.


@pytest.fixture
def bag(tmp_path: Path) -> Sequence:
    """A recording whose images have another frame_id and were recorded 3 ms late."""
    path = tmp_path / "flight.mcap"
    headers = [h._replace(recorded_ns=h.stamp_ns + 3_000_000, frame_id="cam") for h in image_headers(SQUARE)]
    write_bag(
        path, [Topic("/front/image", IMAGE, lambda i: encode_image(RGB[i], headers[i], "bgr8"))], headers
    )
    return open_bag(path)


def assert_detections(path: Path, run: TrackedSequence, frame_id: str) -> None:
    arrays = messages(path, "/tracker/detections")
    assert len(arrays) == len(run)
    for array, box, score, state, stamp_ns in zip(
        arrays, run.boxes_xywh, run.confidence, run.states, run.stamps_ns, strict=True
    ):
        stamp = array.header.stamp
        assert (stamp.sec * 1_000_000_000 + stamp.nanosec, array.header.frame_id) == (stamp_ns, frame_id)
        assert len(array.detections) == (state != TrackState.LOST)  # silent about a lost target
        for found in array.detections:
            centre = found.bbox.center.position
            np.testing.assert_allclose(
                [centre.x - box[2] / 2, centre.y - box[3] / 2, found.bbox.size_x, found.bbox.size_y], box
            )
            assert found.header == array.header
            (hypothesis,) = (result.hypothesis for result in found.results)
            assert (found.id, hypothesis.class_id, hypothesis.score) == ("1", "1", score)


def test_detections_have_the_headers_of_the_images(tmp_path: Path, bag: Sequence) -> None:
    out, run = tmp_path / "out.mcap", tracked(bag)
    write_detections(out, run, bag.frames)
    assert_detections(out, run, "cam")
    with Reader(out) as reader:
        assert list(reader.topics) == ["/tracker/detections"]
        recorded = [at_ns for _, at_ns, _ in reader.messages()]
    assert recorded == [stamp + 3_000_000 for stamp in run.stamps_ns.tolist()]


def test_images_are_copied_and_overlays_drawn(tmp_path: Path, bag: Sequence) -> None:
    out, run = tmp_path / "out.mcap", tracked(bag)
    write_detections(out, run, bag.frames, images=True, overlays=True)
    assert_detections(out, run, "cam")
    copy = open_bag(out, "/front/image")
    assert isinstance(copy.frames, BagFrames) and isinstance(bag.frames, BagFrames)
    assert [copy.frames.cdr(i) for i in range(FRAMES)] == [bag.frames.cdr(i) for i in range(FRAMES)]
    drawn = open_bag(out, "/tracker/overlay/compressed")
    np.testing.assert_array_equal(drawn.stamps_ns, bag.stamps_ns)
    difference = np.abs(drawn.frames[0].astype(int) - RGB[0])
    x, y, w, h = run.boxes_xywh[0].round().astype(int)
    assert difference[y, x : x + w].mean() > 40  # the edge of the box
    assert difference[:20, :60].mean() < 10  # far from it


def test_a_part_of_a_bag(tmp_path: Path, bag: Sequence) -> None:
    """Tracked from a later frame on, and it ended early."""
    part, whole = bag.part(slice(3, None)), tracked(bag)
    run = tracked(
        part,
        truth_xywh=TRUTH[3:8],
        boxes_xywh=whole.boxes_xywh[3:8],
        confidence=whole.confidence[3:8],
        states=whole.states[3:8],
        stamps_ns=whole.stamps_ns[3:8],
    )
    write_detections(tmp_path / "out.mcap", run, part.frames, images=True)
    assert_detections(tmp_path / "out.mcap", run, "cam")
    for rgb, expected in zip(open_bag(tmp_path / "out.mcap").frames, RGB[3:8], strict=True):
        np.testing.assert_array_equal(rgb, expected)


def test_detections_on_a_folder_of_images_fit_its_bag(tmp_path: Path) -> None:
    """The stamps are those that the same sequence gets as a bag."""
    run = tracked(SQUARE)
    write_detections(tmp_path / "out.mcap", run)
    write_detections(tmp_path / "all.mcap", run, SQUARE.frames, images=True)
    write_sequence(tmp_path / "square.mcap", SQUARE)
    stamps = open_bag(tmp_path / "square.mcap").stamps_ns
    assert stamps is not None
    shifted = tracked(SQUARE, stamps_ns=stamps)
    assert_detections(tmp_path / "out.mcap", shifted, "camera")
    assert_detections(tmp_path / "all.mcap", shifted, "camera")
    np.testing.assert_array_equal(open_bag(tmp_path / "all.mcap").frames[2], RGB[2])


def test_a_tracker_without_confidence(tmp_path: Path) -> None:
    run = tracked(SQUARE, confidence=np.full(FRAMES, np.nan))
    write_detections(tmp_path / "out.mcap", run, SQUARE.frames, overlays=True)
    arrays = messages(tmp_path / "out.mcap", "/tracker/detections")
    assert np.isnan(arrays[0].detections[0].results[0].hypothesis.score)


# The form.


@pytest.mark.parametrize("name", ["a.mcap", "a"])
def test_types_and_qos_are_those_of_ros_2(tmp_path: Path, name: str) -> None:
    write_detections(tmp_path / name, tracked(SQUARE), SQUARE.frames, images=True, overlays=True)
    with Reader(tmp_path / name) as reader:
        connections = list(reader.connections)
    assert {c.msgtype for c in connections} == set(TYPE_HASHES)
    for connection in connections:
        (qos,) = connection.ext.offered_qos_profiles  # type: ignore[union-attr]
        assert qos.reliability is QosReliability.RELIABLE
        assert qos.durability is QosDurability.VOLATILE
        assert ros2_types().hash_rihs01(connection.msgtype) == TYPE_HASHES[connection.msgtype]
    if name == "a":
        content = yaml.safe_load((tmp_path / "a" / "metadata.yaml").read_text())
        information = content["rosbag2_bagfile_information"]
        assert information["version"] == 8 and information["storage_identifier"] == "mcap"
        assert information["relative_file_paths"] == ["a.mcap"]
        for topic in information["topics_with_message_count"]:
            about = topic["topic_metadata"]
            assert about["type_description_hash"] == TYPE_HASHES[about["type"]]
            assert topic["message_count"] == FRAMES


@pytest.mark.ros
def test_ros_reads_the_messages(tmp_path: Path) -> None:
    """The generated types of ROS 2 deserialise what was written, to the same values."""
    pytest.importorskip("rclpy", reason="rclpy is missing: . install/setup.bash")
    pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not built: . install/setup.bash")
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage, Image
    from vision_msgs.msg import Detection2DArray

    from distill_tracker_ros.messages import box_from_msg, open_image

    path = tmp_path / "a.mcap"
    run = tracked(SQUARE)
    write_detections(path, run, SQUARE.frames, images=True, overlays=True)
    kinds = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, DETECTIONS: Detection2DArray}
    found: dict[str, list[Any]] = {}
    with Reader(path) as reader:
        for connection, _, raw in reader.messages():
            msg = deserialize_message(bytes(raw), kinds[connection.msgtype])
            found.setdefault(connection.topic, []).append(msg)
    assert {topic: len(msgs) for topic, msgs in found.items()} == {
        "/image": FRAMES,
        "/tracker/detections": FRAMES,
        "/tracker/overlay/compressed": FRAMES,
    }
    frame = open_image(found["/image"][3])
    np.testing.assert_array_equal(frame.cut(0, 0, 160, 120), RGB[3])
    default = Detection2DArray().detections
    assert found["/tracker/detections"][4].detections == default == []
    detection = found["/tracker/detections"][2].detections[0]
    np.testing.assert_allclose(box_from_msg(detection.bbox), run.boxes_xywh[2])
    assert detection.results[0].pose.pose.orientation.w == 1.0  # as in a new message


# What is refused.


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("a.mcap", "a"):
        path = tmp_path / name
        path.mkdir() if name == "a" else path.write_text("mine")
        with pytest.raises(BagWriteError, match="exists already: name another one, or remove it"):
            write_sequence(path, SQUARE)
    assert (tmp_path / "a.mcap").read_text() == "mine"
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("name", ["a.bag", "a.mp4", "a.mcap.zstd"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BagWriteError, match=r"accepted are NAME.mcap and NAME.db3, or a name without suffix"):
        write_sequence(tmp_path / name, SQUARE)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagWriteError, match="encoding 'yuv': accepted are bgr8, rgb8, mono8, jpeg"):
        write_sequence(tmp_path / "a.mcap", SQUARE, encoding="yuv")  # type: ignore[arg-type]


def test_overlays_need_frames(tmp_path: Path) -> None:
    with pytest.raises(BagWriteError, match="images and overlays need the frames that were tracked on"):
        write_detections(tmp_path / "a.mcap", tracked(SQUARE), overlays=True)


@pytest.mark.parametrize("name", ["a.mcap", "a"])
def test_what_fails_in_the_middle_leaves_nothing(tmp_path: Path, name: str) -> None:
    class Bad(ListFrames):
        def _read(self, index: int) -> np.ndarray:
            if index == 5:
                raise SequenceError("5.png is not a readable image")
            return super()._read(index)

    with pytest.raises(SequenceError, match="5.png"):
        write_sequence(tmp_path / name, Sequence("a", Bad(RGB)))
    assert list(tmp_path.iterdir()) == []


def test_frames_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is read before the one before it is in the bag."""
    events: list[str] = []

    class Watched(ListFrames):
        def _read(self, index: int) -> np.ndarray:
            events.append("read")
            return super()._read(index)

    monkeypatch.setattr(Writer, "write", lambda *_: events.append("write"))
    write_sequence(tmp_path / "a.mcap", Sequence("a", Watched(RGB)))
    assert events == ["read", "write"] * FRAMES
