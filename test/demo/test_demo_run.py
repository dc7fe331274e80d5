"""The whole demo: real nodes as processes, a model of a handful of nodes, a short video with known boxes."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from synthetic import moving_square
from test_recording import KEYS
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.demo.run import main
from distill_tracker_ros.evaluation.sequences import VideoFrames
from distill_tracker_ros.video import VideoWriter

pytestmark = pytest.mark.ros

FRAMES = 45
RATE_HZ = 25.0


@pytest.fixture(autouse=True)
def own_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`square.mp4`, with its boxes in `boxes.txt`."""
    folder = tmp_path_factory.mktemp("video")
    frames, boxes = zip(*moving_square(frames=FRAMES), strict=True)
    with VideoWriter(folder / "square.mp4", RATE_HZ) as writer:
        for rgb in frames:
            writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    np.savetxt(folder / "boxes.txt", boxes, fmt="%.3f", delimiter=",")
    return folder / "square.mp4"


def nodes_alive() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if any("distill_tracker_ros.nodes" in word for word in child.cmdline())
    ]


def test_a_video_goes_through_the_nodes(video: Path, model: Path, tmp_path: Path):
    truth = video.with_name("boxes.txt")
    arguments = ["--video", str(video), "--groundtruth", str(truth), "--model", str(model)]
    before = dict(os.environ)
    assert main([*arguments, "--output", str(tmp_path), "--json", str(tmp_path / "other.json")]) == 0
    assert dict(os.environ) == before
    assert nodes_alive() == []

    numbers = json.loads((tmp_path / "summary.json").read_text())
    assert list(numbers) == KEYS
    assert numbers == json.loads((tmp_path / "other.json").read_text())
    assert numbers["frames"] == FRAMES
    assert numbers["model"] == "tiny"
    assert numbers["backend"] == "onnxruntime"
    assert numbers["dropped"] <= FRAMES / 3
    assert numbers["detections"] + numbers["dropped"] == FRAMES - 1
    assert numbers["precision_20px"] > 0.9
    assert 0 < numbers["processing_ms_median"] <= numbers["latency_ms_median"] <= numbers["latency_ms_p95"]
    assert 0.5 * RATE_HZ < numbers["fps"] < 1.2 * RATE_HZ

    with (tmp_path / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
    # Frames are joined to their results by stamp: a frame that is off by one would be 5 px away.
    seen = [i for i, row in enumerate(rows) if row["state"] == "TRACKING"]
    centres = np.array([[float(r["x"]) + float(r["w"]) / 2, float(r["y"]) + float(r["h"]) / 2] for r in rows])
    boxes = np.loadtxt(truth, delimiter=",")
    errors = np.linalg.norm(centres - boxes[:, :2] - boxes[:, 2:] / 2, axis=1)
    assert np.median(errors[seen]) < 4.0

    assert len(list(VideoFrames(tmp_path / "tracking.mp4"))) == FRAMES
    assert cv2.imread(str(tmp_path / "plot.png")) is not None


def test_without_truth_there_is_no_score(video: Path, model: Path, tmp_path: Path):
    x, y, w, h = np.loadtxt(video.with_name("boxes.txt"), delimiter=",")[0]
    arguments = ["--video", str(video), "--box", f"{x},{y},{w},{h}", "--model", str(model), "--rate", "40"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "summary.json").read_text())
    assert numbers["success_auc"] is None
    assert numbers["precision_20px"] is None
    assert numbers["frames"] == FRAMES


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], tmp_path: Path) -> str:
    """The one sentence of a demo that must not succeed, and must leave nothing behind."""
    assert main([*arguments, "--output", str(tmp_path / "output")]) == 1
    assert nodes_alive() == []
    assert not (tmp_path / "output" / "summary.json").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("demo: ")
    return error


def test_a_box_outside_of_the_frame(
    video: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--video", str(video), "--box", "900,20,30,40", "--model", str(model)]
    error = fails(capsys, arguments, tmp_path)
    assert "the tracker refused the target: box left=900" in error
    assert "lies outside the frame of 320x240" in error


def test_a_video_that_breaks_off_ends_early(model: Path, tmp_path: Path):
    """What could be read counts: the file announces more."""
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (320, 240))
    for rgb, _ in moving_square(frames=FRAMES):
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    readable = len(list(VideoFrames(path)))
    x, y, w, h = next(box for _, box in moving_square(frames=1))
    output = tmp_path / "output"
    arguments = ["--video", str(path), "--box", f"{x},{y},{w},{h}", "--model", str(model)]
    assert main([*arguments, "--output", str(output)]) == 0
    numbers = json.loads((output / "summary.json").read_text())
    assert numbers["frames"] == readable < FRAMES


def test_a_tracker_that_cannot_start(
    video: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_tiny_bundle(tmp_path / "broken")
    with (folder / "search.onnx").open("ab") as file:
        file.write(b"\0")
    error = fails(capsys, ["--video", str(video), "--box", "9,9,30,40", "--model", str(folder)], tmp_path)
    assert "the tracker node could not configure" in error
    assert "search.onnx has the sha256" in error  # the node's own words, out of its log


def test_a_camera_that_dies(video: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The second image cannot be read: the video node ends with an error, and so does the demo."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (rgb, _) in enumerate(moving_square(frames=4)):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    (folder / "2.png").write_bytes(b"no image")
    error = fails(capsys, ["--video", str(folder), "--box", "9,9,30,40", "--model", str(model)], tmp_path)
    assert "video_node ended with exit code 1" in error
    assert "2.png is not a readable image" in error


def test_an_interrupted_demo_ends_its_nodes(video: Path, model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "distill_tracker_ros.demo", "--video", str(video), "--box", "9,9,30,40"]
    log = tmp_path / "log" / "video_node.log"
    process = subprocess.Popen(
        [*command, "--model", str(model), "--rate", "1", "--output", str(tmp_path)],
        # Tests that run in the background inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        children = wait_for_nodes(process, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
    finally:
        process.kill()


def wait_for_nodes(process: subprocess.Popen[bytes], log: Path) -> list[psutil.Process]:
    """Until both nodes of a demo run."""
    import time

    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        if log.exists() and len(children) == 2:
            return children
        time.sleep(0.05)
    raise AssertionError("the nodes of the demo did not start in time")
