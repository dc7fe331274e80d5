"""A video as a camera, and as the camera of the tracker: real processes."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import re
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ros_harness import RELIABLE, ROOT, Client, running
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool
from synthetic import moving_square
from waiting import wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import SetTarget
from distill_tracker_ros.messages import open_image, stamp_ns

pytestmark = pytest.mark.ros

FRAMES = 12


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PNGs whose names sort wrongly as text, and their boxes."""
    folder = tmp_path_factory.mktemp("images")
    for number, (rgb, _) in enumerate(moving_square(FRAMES)):
        cv2.imwrite(str(folder / f"{number}.png"), rgb[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def pixels() -> list[Any]:
    return [rgb for rgb, _ in moving_square(FRAMES)]


def rgb_of(msg: Any) -> Any:
    frame = open_image(msg)
    return frame.cut(0, 0, frame.width, frame.height)


def test_every_image_arrives_in_order_once_and_the_node_ends(
    client: Client, images: Path, pixels: list[Any], tmp_path: Path
) -> None:
    raw, compressed = client.listen(Image, "/image"), client.listen(CompressedImage, "/image/compressed")
    infos = client.listen(CameraInfo, "/camera_info")
    settings = {"path": str(images), "rate": 25.0, "transport": "both", "stamps": "video", "frame_id": "cam"}
    with running("video_node", tmp_path, wait_for_subscriber=True, **settings) as process:
        assert process.wait() == 0
        assert f"{FRAMES} images sent" in process.output
    wait_until(lambda: min(len(raw), len(compressed), len(infos)) >= FRAMES, "all images")
    assert len(raw) == len(compressed) == len(infos) == FRAMES
    assert [(info.header, info.width, info.height) for info in infos] == [(m.header, 320, 240) for m in raw]
    for msg, picture, rgb in zip(raw, compressed, pixels, strict=True):
        assert (msg.encoding, msg.step, msg.header.frame_id) == ("bgr8", 960, "cam")
        np.testing.assert_array_equal(rgb_of(msg), rgb)
        assert np.abs(rgb_of(picture).astype(int) - rgb).mean() < 8
        assert msg.header == picture.header
    stamps = np.array([stamp_ns(msg.header.stamp) for msg in raw])
    assert np.diff(stamps).tolist() == [40_000_000] * (FRAMES - 1)


@pytest.mark.parametrize("encoding", ["rgb8", "mono8"])
def test_encoding_size_and_loop(client: Client, images: Path, tmp_path: Path, encoding: str) -> None:
    messages = client.listen(Image, "/image")
    settings = {"path": str(images), "rate": 60.0, "loop": True, "size": "160x120", "encoding": encoding}
    with running("video_node", tmp_path, **settings) as process:
        wait_until(lambda: len(messages) > 2 * FRAMES, "more images than there are")
        assert process.stop() == 0
    assert {(m.width, m.height, m.encoding, len(m.data)) for m in messages} == {
        (160, 120, encoding, 160 * 120 * (1 if encoding == "mono8" else 3))
    }
    stamps = [stamp_ns(m.header.stamp) for m in messages]
    assert stamps == sorted(set(stamps))


def test_paused_it_repeats_the_first_image_with_its_stamp(
    client: Client, images: Path, pixels: list[Any], tmp_path: Path
) -> None:
    messages = client.listen(Image, "/image")
    with running("video_node", tmp_path, path=str(images), rate=50.0, start_paused=True) as process:
        wait_until(lambda: len(messages) >= 3, "repetitions")
        assert len({stamp_ns(m.header.stamp) for m in messages}) == 1
        np.testing.assert_array_equal(rgb_of(messages[-1]), pixels[0])
        answer = client.call(SetBool, "/video/pause", data=False)
        assert answer.success and answer.message == "playing, 1 images sent"
        assert process.wait() == 0
        assert f"{FRAMES} images sent" in process.output
    stamps = [stamp_ns(m.header.stamp) for m in messages]
    wait_until(lambda: len({stamp_ns(m.header.stamp) for m in messages}) == FRAMES, "all images")
    np.testing.assert_array_equal(rgb_of(messages[-1]), pixels[-1])
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"path": "/nowhere/a.mp4"}, "path = '/nowhere/a.mp4': /nowhere/a.mp4 does not exist"),
        ({"path": str(ROOT / "setup.py")}, "is not a video"),
        ({"path": "IMAGES", "size": "wide"}, "size = 'wide': accepted is WIDTHxHEIGHT, for example 1280x720"),
        ({"path": "IMAGES", "encoding": "yuv422"}, "encoding = 'yuv422': accepted is bgr8 or rgb8 or mono8"),
    ],
)
def test_what_cannot_be_played_is_one_sentence(
    images: Path, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    settings = {name: value.replace("IMAGES", str(images)) for name, value in settings.items()}
    with running("video_node", tmp_path, **settings) as process:
        assert process.wait() == 1
        line = process.output.splitlines()[-1]
        assert line.startswith("error: ") and words in line


def test_a_broken_image_in_the_middle_ends_it_with_a_sentence(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(
            (images / f"{number}.png").read_bytes() if number < 2 else b"x"
        )
    with running("video_node", tmp_path, path=str(folder), rate=50.0) as process:
        assert process.wait() == 1
        assert "2.png is not a readable image" in process.output


def test_the_tracker_survives_its_camera(client: Client, images: Path, tmp_path: Path) -> None:
    """The camera is killed while it plays, and comes back with pictures of another size."""
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "tiny")
    statuses = client.listen(TrackerStatus, "/tracker/status", RELIABLE)
    diagnostics = client.listen(DiagnosticArray, "/diagnostics", RELIABLE)
    camera = {"path": str(images), "rate": 20.0, "loop": True}
    settings = {"model": str(bundle), "autostart": True, "image_reliability": "reliable"}
    with running("tracker_node", tmp_path, **settings) as tracker:
        with running("video_node", tmp_path, start_paused=True, **camera) as process:
            wait_until(lambda: statuses, "the first image")
            box = _first_box()
            assert client.call(SetTarget, "/tracker/set_target", box=box, id="a").success
            client.call(SetBool, "/video/pause", data=False)
            wait_until(lambda: statuses[-1].targets and statuses[-1].targets[0].age_frames > 5, "tracking")
            assert statuses[-1].targets[0].state == 1
            process.kill()
        wait_until(lambda: _says(diagnostics, r"no image for .* on /image"), "the alarm")
        processed = statuses[-1].frames_processed
        with running("video_node", tmp_path, size="640x480", **camera):
            wait_until(lambda: statuses[-1].frames_processed > processed + 3, "images again")
        assert [t.id for t in statuses[-1].targets] == ["a"]
        rescaled = "the frame changed from 320x240 to 640x480: boxes were rescaled"
        assert any(status.message == rescaled for status in statuses)
        last = statuses[-1]
        assert last.frames_received - last.frames_processed - last.frames_dropped - last.frames_rejected <= 2
        assert tracker.stop(signal.SIGINT) == 0


def _first_box() -> Any:
    from vision_msgs.msg import BoundingBox2D

    _, (x, y, w, h) = next(moving_square(1))
    msg = BoundingBox2D(size_x=w, size_y=h)
    msg.center.position.x, msg.center.position.y = x + w / 2, y + h / 2
    return msg


def _says(diagnostics: list[DiagnosticArray], pattern: str) -> bool:
    return bool(diagnostics) and any(re.search(pattern, s.message) for s in diagnostics[-1].status)
