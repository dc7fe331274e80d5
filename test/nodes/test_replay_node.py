"""A recording through the live tracker: real processes, and the same boxes as offline in lockstep."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import csv
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from ros_harness import ROOT, Client, running
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from synthetic import moving_square
from waiting import wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_ros import dds
from distill_tracker_ros.evaluation.bags.reading import BagFrames, open_bag
from distill_tracker_ros.evaluation.bags.types import DETECTIONS, IMAGE
from distill_tracker_ros.evaluation.bags.writing import (
    Topic,
    encode_detection,
    encode_image,
    image_headers,
    write_bag,
    write_sequence,
)
from distill_tracker_ros.evaluation.replay import SessionTracker, replay
from distill_tracker_ros.evaluation.runs import RunFolder
from distill_tracker_ros.evaluation.sequences import Frames, Sequence
from distill_tracker_ros.messages import stamp_ns
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.onnx_engine import OnnxOptions

pytestmark = pytest.mark.ros
pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")

FRAMES = 40
RESULT = re.compile(r"(\w+): success AUC ([\d.]+), (\d+) frames, (\d+) dropped, (\d+) late; written to (\S+)")


class ListFrames(Frames):
    def __init__(self, frames: tuple[np.ndarray, ...]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def _read(self, index: int) -> np.ndarray:
        return self._frames[index]


def square(rate_hz: float, **changes: Any) -> Sequence:
    frames, boxes = zip(*moving_square(FRAMES, **changes), strict=True)
    return Sequence("square", ListFrames(frames), np.array(boxes), rate_hz)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def result(output: str) -> tuple[float, int, int, int]:
    """Success AUC, frames, dropped, late, as they were printed."""
    found = RESULT.search(output)
    assert found, output
    return float(found[2]), int(found[3]), int(found[4]), int(found[5])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_in_lockstep_the_node_gives_the_boxes_of_the_offline_replay(bundle: Path, tmp_path: Path) -> None:
    """Byte for byte, over a raw bag in which the target is hidden at first, then gets lost and is found."""
    bag = tmp_path / "flight.mcap"
    write_sequence(bag, square(10.0, out_of_view=[0, 1, *range(12, 26)]))
    node = {"model": str(bundle), "autostart": True, "use_sim_time": True, "image_reliability": "reliable"}
    player = {"path": str(bag), "lockstep": True, "output": str(tmp_path / "live")}
    with (
        running("tracker_node", tmp_path, **node, onnx__intra_op_threads=1),
        running("replay_node", tmp_path, **player) as process,
    ):
        assert process.wait() == 0
        auc, frames, dropped, late = result(process.output)
    assert (frames, dropped, late) == (FRAMES - 2, 0, 0)

    engine = load_engine(bundle, "onnxruntime", OnnxOptions(intra_op_threads=1))
    offline = RunFolder(tmp_path / "offline")
    offline.begin({"label": "offline"})
    offline.write(replay(SessionTracker(engine), open_bag(bag).from_first_box()))
    for kind in ("tracks", "truth"):
        files = [tmp_path / run / kind / "flight.csv" for run in ("live", "offline")]
        assert files[0].read_bytes() == files[1].read_bytes()
    states = {row["state"] for row in rows(tmp_path / "live" / "tracks" / "flight.csv")}
    assert states == {"TRACKING", "UNCERTAIN", "LOST"}

    run = RunFolder(tmp_path / "live").read()
    assert run.label == "tiny live" and run.conditions["lockstep"] is True
    assert run.sequences[0].frame_size == (320, 240)
    assert np.isfinite(run.sequences[0].times.step_ms[1:]).all()
    told = json.loads((tmp_path / "live" / "live" / "flight.json").read_text())
    assert told["success_auc"] == pytest.approx(auc, abs=1e-3)


def test_in_real_time_every_frame_is_accounted_for(client: Client, bundle: Path, tmp_path: Path) -> None:
    """A bag of JPEG images, and a tracker that the player starts and ends."""
    bag, live = tmp_path / "flight.mcap", tmp_path / "live"
    write_sequence(bag, square(100.0), encoding="jpeg")
    settings = {"path": str(bag), "model": str(bundle), "speed": 2.0, "output": str(live)}
    with running("replay_node", tmp_path, **settings) as player:
        assert player.wait() == 0
        auc, frames, dropped, late = result(player.output)
    assert frames == FRAMES
    processed = [row for row in rows(live / "times" / "flight.csv") if row["engine_ms"] != "nan"]
    assert len(processed) == FRAMES - 1 - dropped
    assert 0 <= late <= len(processed)
    assert auc > 0
    run = RunFolder(live).read()
    assert run.conditions["speed"] == 2.0
    assert len(run.sequences[0]) == FRAMES
    assert "target '1' is followed" in (live / "log" / "tracker_node.log").read_text()
    wait_until(lambda: "tracker" not in client.node.get_node_names(), "the end of the tracker")


def test_it_plays_what_was_recorded_and_can_be_interrupted(
    client: Client, bundle: Path, tmp_path: Path
) -> None:
    bag = tmp_path / "flight.mcap"
    write_sequence(bag, square(2.0))
    recorded = open_bag(bag)
    assert isinstance(recorded.frames, BagFrames) and recorded.stamps_ns is not None
    images, clocks = client.listen(Image, "/image"), client.listen(Clock, "/clock")
    statuses = client.listen(TrackerStatus, "/tracker/status")
    settings = {"path": str(bag), "model": str(bundle), "output": str(tmp_path / "live")}
    with running("replay_node", tmp_path, **settings) as player:
        wait_until(lambda: len({stamp_ns(msg.header.stamp) for msg in images}) > 2, "images")
        wait_until(lambda: statuses and statuses[-1].targets, "tracking")
        assert player.stop(signal.SIGINT) == 0
        assert not RESULT.search(player.output)
    stamps = recorded.stamps_ns.tolist()
    for msg in images:
        frame = stamps.index(stamp_ns(msg.header.stamp))
        assert msg == deserialize_message(recorded.frames.cdr(frame), Image)
    times = [stamp_ns(clock.clock) for clock in clocks]
    assert times == sorted(times) and stamps[0] <= times[0] < times[-1] <= stamps[-1]
    assert len(set(times)) > 20  # it runs between the images, too
    assert not (tmp_path / "live" / "about").exists()
    wait_until(lambda: "tracker" not in client.node.get_node_names(), "the end of the tracker")


def test_images_that_the_tracker_cannot_use_do_not_stop_it(bundle: Path, tmp_path: Path) -> None:
    """Some have an encoding that is refused, one comes twice: in lockstep, too, the next one is sent."""
    sequence = square(25.0)
    headers = list(image_headers(sequence))
    headers[20] = headers[20]._replace(stamp_ns=headers[19].stamp_ns)

    def image(index: int) -> bytes:
        message = encode_image(sequence.frames[index], headers[index], "rgb8")
        return message.replace(b"rgb8", b"what") if index in (8, 9) else message

    truth = sequence.truth_xywh
    assert truth is not None
    boxes = Topic(
        "/ground_truth", DETECTIONS, lambda index: encode_detection(truth[index], 1.0, headers[index])
    )
    bag = tmp_path / "flight.mcap"
    write_bag(bag, [Topic("/image", IMAGE, image), boxes], headers)
    settings = {"path": str(bag), "model": str(bundle), "output": str(tmp_path / "live")}
    with running("replay_node", tmp_path, **settings, lockstep=True) as player:
        assert player.wait() == 0
        assert result(player.output)[1:] == (FRAMES, 3, 0)


def test_a_profile_for_large_images_unless_the_user_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dds.VARIABLE, "mine.xml")
    dds.prepare_large_images()
    assert os.environ[dds.VARIABLE] == "mine.xml"
    monkeypatch.delenv(dds.VARIABLE)
    dds.prepare_large_images()
    assert "segment_size" in Path(os.environ[dds.VARIABLE]).read_text()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "/nowhere/a.mcap"}, "path = '/nowhere/a.mcap': /nowhere/a.mcap does not exist"),
        ({"path": str(ROOT / "setup.py")}, "path = "),
        ({"path": "BAG", "image_topic": "/front"}, "there is no topic /front; topics of"),
        ({"path": "BARE"}, "bare has no true box to start from"),
        (
            {"path": "BAG", "model": "nothing"},
            "no model 'nothing': accepted are a folder with a manifest.yaml",
        ),
        ({"path": "BAG", "speed": 0.0}, "speed"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    whole, bare = tmp_path / "bag.mcap", tmp_path / "bare.mcap"
    write_sequence(whole, square(25.0))
    write_sequence(bare, Sequence("bare", square(25.0).frames))
    settings = {
        **settings,
        "path": {"BAG": str(whole), "BARE": str(bare)}.get(settings["path"], settings["path"]),
    }
    with running("replay_node", tmp_path, **settings) as player:
        assert player.wait() == 1
        line = player.output.splitlines()[-1]
        assert line.startswith("error: ") and words in line
