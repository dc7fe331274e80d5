"""The demo as a newcomer runs it: the project's clip, the shipped model, real nodes."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import os
from pathlib import Path

import cv2
import pytest
from test_recording import KEYS

from distill_tracker_ros.command_line import DEFAULT_MODEL
from distill_tracker_ros.demo.clip import FRAMES
from distill_tracker_ros.demo.run import main
from distill_tracker_ros.evaluation.sequences import VideoFrames
from distill_tracker_ros.runtime.load import shipped_models

LEAST_SUCCESS_AUC = 0.60

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(DEFAULT_MODEL not in shipped_models(), reason=f"models/{DEFAULT_MODEL} is not there"),
]


def test_the_demo_tracks_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100))
    assert main(["--output", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "summary.json").read_text())
    assert list(numbers) == KEYS
    assert numbers["frames"] == FRAMES == 300
    assert numbers["model"] == DEFAULT_MODEL
    assert numbers["success_auc"] >= LEAST_SUCCESS_AUC
    assert numbers["detections"] > 0
    assert len((tmp_path / "detections.csv").read_text().splitlines()) == FRAMES + 1
    assert len(list(VideoFrames(tmp_path / "tracking.mp4"))) == FRAMES
    assert cv2.imread(str(tmp_path / "plot.png")) is not None
