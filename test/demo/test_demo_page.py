"""The page with a video: the nodes run, a browser would find the page, and Ctrl-C ends them all."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import cv2
import psutil
import pytest
from synthetic import moving_square
from tiny_bundle import write_tiny_bundle
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.demo.page import main
from distill_tracker_ros.video import VideoWriter

pytestmark = pytest.mark.ros
pytest.importorskip("aiohttp", reason="aiohttp is missing: it is among the operators' requirements")


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def arguments(tmp_path: Path, port: int) -> list[str]:
    video, model = tmp_path / "square.mp4", write_tiny_bundle(tmp_path / "tiny")
    with VideoWriter(video, 25.0) as writer:
        for rgb, _ in moving_square(frames=10):
            writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    given = {"video": video, "model": model, "port": port, "output": tmp_path / "out"}
    return [f"--{name}={value}" for name, value in given.items()]


def test_the_page_is_served_until_it_is_interrupted(arguments: list[str], port: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distill_tracker_ros.demo.page", *arguments]
    domain = os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "ROS_DOMAIN_ID": domain}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"the page is at http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_S) as page:
            assert b"<canvas" in page.read()
        nodes = psutil.Process(process.pid).children(recursive=True)
        log = tmp_path / "out" / "log" / "tracker_node.log"
        wait_until(lambda: "model 'tiny' loaded" in log.read_text(), "the tracker")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    assert len(nodes) == 3 and not any(node.is_running() for node in nodes)


def test_a_port_in_use_is_told_in_one_line(
    arguments: list[str], port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port} of 127.0.0.1 is in use" in line


def test_a_video_that_is_none_is_told_in_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "square.mp4").write_text("no video")
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("page: ") and "square.mp4" in line
