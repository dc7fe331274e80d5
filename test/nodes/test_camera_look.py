"""`distill-tracker doctor --camera`: real publishers, good and bad, in real ROS."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Twist
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import Client, compressed_msg, domain_id, image_msg, running
from sensor_msgs.msg import CompressedImage, Image
from synthetic import background, moving_square
from waiting import wait_until

from distill_tracker_ros.doctor import Finding
from distill_tracker_ros.nodes import camera_look
from distill_tracker_ros.nodes.camera_look import Sample, judge_count, judge_stamps, look

pytestmark = pytest.mark.ros

SECONDS = 0.5
PERIOD_S = 0.05
RGB = background(64, 48)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(autouse=True)
def graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id()))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setattr(camera_look, "QUIET_S", 0.2)


@contextmanager
def camera(client: Client, topic: str, make: Callable[[int], Any], kind: type = Image) -> Iterator[None]:
    """Sends what is made of the time (ns), best effort, until the block ends."""
    publisher = client.node.create_publisher(kind, topic, BEST_EFFORT)
    end = threading.Event()

    def send() -> None:
        while not end.wait(PERIOD_S):
            publisher.publish(make(time.time_ns()))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        client.node.destroy_publisher(publisher)


def seen(topic: str, reliability: str = "best_effort") -> dict[str, Finding]:
    return {finding.name: finding for finding in look(topic, SECONDS, reliability)}


def faults(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.detail for name, finding in findings.items() if not finding.ok}


def test_a_good_camera(client: Client) -> None:
    with camera(client, "/good", lambda now_ns: image_msg(RGB, now_ns)):
        findings = seen("good")
    assert faults(findings) == {}
    assert list(findings) == ["camera /good", "publisher /test_client", "images", "picture", "stamps"]
    assert findings["camera /good"].detail == "sensor_msgs/msg/Image, which needs image_transport: raw"
    assert "best_effort, volatile: fits" in findings["publisher /test_client"].detail
    assert findings["picture"].detail == "64x48, 'rgb8', 0.01 MB, frame_id 'camera'"


def test_compressed_images(client: Client) -> None:
    jpeg = cv2.imencode(".jpg", RGB)[1].tobytes()
    with camera(client, "/c/compressed", lambda now_ns: compressed_msg(jpeg, now_ns), CompressedImage):
        findings = seen("/c/compressed")
    assert faults(findings) == {}
    assert "image_transport: compressed" in findings["camera /c/compressed"].detail


def test_a_reliable_subscription_never_meets_a_best_effort_camera(client: Client) -> None:
    with camera(client, "/mismatch", lambda now_ns: image_msg(RGB, now_ns)):
        findings = seen("/mismatch", "reliable")
    found = faults(findings)
    assert list(found) == ["publisher /test_client"]
    assert "they never meet" in found["publisher /test_client"]
    assert "set image_reliability: best_effort" in found["publisher /test_client"]
    assert "images" not in findings, "there is nothing to wait for"


def test_nobody_publishes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with camera(client, "/front/image_raw", lambda now_ns: image_msg(RGB, now_ns)):
        found = faults(seen("/frnt/image_raw"))
    expected = "nobody publishes it: image topics that there are: /front/image_raw"
    assert found == {"camera /frnt/image_raw": expected}
    monkeypatch.setattr(camera_look, "PATIENCE_S", 0.5)
    assert "there is no image topic at all" in faults(seen("/image"))["camera /image"]


def test_a_topic_of_another_type(client: Client) -> None:
    with camera(client, "/cmd_vel", lambda now_ns: Twist(), Twist):
        found = faults(seen("/cmd_vel"))
    assert "it carries geometry_msgs/msg/Twist: the tracker takes" in found["camera /cmd_vel"]


def test_what_is_no_topic() -> None:
    assert "it is no name of a topic" in faults(seen("/camera one"))["camera /camera one"]


def test_a_camera_that_says_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_look, "PATIENCE_S", 3.0)
    publisher = client.node.create_publisher(Image, "/silent", BEST_EFFORT)
    found = faults(seen("/silent"))
    client.node.destroy_publisher(publisher)
    assert "none came in 3 s, though the QoS fits" in found["images"]


def test_images_without_stamps_and_with_too_few_bytes(client: Client) -> None:
    def broken(now_ns: int) -> Image:
        msg = image_msg(RGB, 0)
        msg.height = 100
        return msg

    with camera(client, "/broken", broken):
        found = faults(seen("/broken"))
    assert list(found) == ["picture", "stamps"]
    assert "has 9216 bytes of data: it needs 19200" in found["picture"]
    assert "images have none (zero): let the driver stamp them" in found["stamps"]


def test_the_command_looks_at_a_real_camera_node(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distill_tracker_ros import doctor
    from distill_tracker_ros.cli import main

    monkeypatch.setattr(doctor, "examine", lambda: iter([Finding("machine", True, "looked at elsewhere")]))
    for number, (rgb, _) in enumerate(moving_square(4)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rgb[..., ::-1])
    options = ["--seconds", "0.5", "--json", str(tmp_path / "d.json")]
    with running("video_node", tmp_path, path=str(tmp_path), loop=True, rate=20.0):
        wait_until(lambda: client.node.count_publishers("/image"), "the camera")
        code = main(["doctor", "--camera", "/image", *options])
    findings = json.loads((tmp_path / "d.json").read_text())
    assert code == 0, findings
    assert [finding["name"] for finding in findings][:3] == ["machine", "camera /image", "publisher /video"]
    out = capsys.readouterr().out.splitlines()
    assert len([line for line in out if line.startswith("OK ")]) == len(findings)

    monkeypatch.setenv("ROS_DOMAIN_ID", "900")
    assert main(["doctor", "--camera", "/image"]) == 1
    assert "MEND  ROS: it cannot start: ROS_DOMAIN_ID '900'" in capsys.readouterr().out


def test_ros_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"ENABLE": "true", "STRATEGY": "Enforce", "KEYSTORE": str(tmp_path)}.items():
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    (finding,) = look("/image", SECONDS, "best_effort")
    assert not finding.ok and "it does not start" in finding.detail and "security" in finding.detail.lower()


def samples(*pairs: tuple[float, float]) -> list[Sample]:
    """(arrived, stamp) in seconds."""
    return [Sample(round(1e9 * arrived), round(1e9 * stamp)) for arrived, stamp in pairs]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(100.0, 110.0), (100.1, 110.1)], "they lie 10.000 s ahead of this machine's clock"),
        ([(100.0, 90.0), (100.1, 90.1)], "images are 10.000 s old when they arrive"),
        ([(100.0, 99.9), (100.1, 99.9), (100.2, 100.1)], "1 of 3 images have a stamp that is not later"),
        ([(100.0, 0.0), (100.1, 100.0)], "1 of 2 images have none"),
    ],
)
def test_stamps_that_are_no_good(pairs: list[tuple[float, float]], words: str) -> None:
    (finding,) = judge_stamps(samples(*pairs))
    assert not finding.ok and words in finding.detail


def test_stamps_and_rates_that_are_good() -> None:
    pairs = samples((100.0, 99.97), (100.1, 100.07), (100.4, 100.37), (100.5, 100.47))
    (stamps,) = judge_stamps(pairs)
    assert stamps.ok and stamps.detail == "images are 30 ms old when they arrive"
    (count,) = judge_count(pairs, 3.0)
    assert count.detail == "4 in 3 s, usually 10 Hz, longest gap 0.300 s"
    assert np.all([finding.ok for finding in judge_count(pairs[:1], 3.0)])
