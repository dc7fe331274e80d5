"""What the demo refuses before it starts anything."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.demo.run import main
from distill_tracker_ros.processes import own_graph


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images; the first has no true box."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "late.txt").write_text("nan,nan,nan,nan\n1,2,30,40\n")
    (tmp_path / "short.txt").write_text("1,2,30,40\n")
    return folder


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ("--video nowhere.mp4 --box 1,2,30,40", 1, "nowhere.mp4 does not exist"),
        ("--video notes --box 1,2,30,40", 1, "notes is not a video that OpenCV can read"),
        ("--video images", 1, "say where the target is in the first frame of images"),
        ("--video images --box 1,2,30", 2, "'1,2,30' is not a box"),
        ("--video images --groundtruth late.txt", 1, "first frame of images has no true box"),
        ("--video images --groundtruth short.txt", 1, "has 1 lines for the 2 frames"),
        ("--video images --box 1,2,30,40 --model nothing", 1, "no model 'nothing'"),
        ("--video images --box 1,2,30,40 --rate nan", 2, "must be a number above 0"),
        ("--box 1,2,30,40", 2, "belong to --video"),
        ("--groundtruth short.txt", 2, "belong to --video"),
    ],
)
def test_errors_are_one_line(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    code: int,
    words: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("this is no video")
    found = arguments.split()
    if "--model" not in found:
        found += ["--model", str(write_tiny_bundle(tmp_path / "tiny"))]
    try:
        exit_code = main(found)
    except SystemExit as exit:  # argparse
        exit_code = exit.code
    error = capsys.readouterr().err
    assert exit_code == code
    assert words in error
    assert error.count("\n") == 1


def test_the_graph_is_apart_and_only_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    before = dict(os.environ)
    with own_graph(tmp_path / "log"):
        assert 1 <= int(os.environ["ROS_DOMAIN_ID"]) <= 101
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        assert Path(os.environ["ROS_LOG_DIR"]) == tmp_path / "log"
        assert "segment_size" in Path(os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"]).read_text()
    assert dict(os.environ) == before


def test_what_the_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "77")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    with own_graph(tmp_path):
        assert os.environ["ROS_DOMAIN_ID"] == "77"
        assert os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] == "/mine.xml"


def test_help_starts_with_examples(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("Examples:\n  python -m distill_tracker_ros.demo\n")
