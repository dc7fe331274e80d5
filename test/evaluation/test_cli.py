"""The command line, in this process, with a model of a handful of nodes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import moving_square, write_square
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.cli import main
from distill_tracker_ros.evaluation.sequences import VideoFrames
from distill_tracker_ros.video import VideoWriter

FRAMES = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`square/` and `hidden/` (truth from the third frame on), `empty/` (no box at all), `square.mp4`."""
    folder = tmp_path_factory.mktemp("data")
    for name, hidden in (("square", 0), ("hidden", 2), ("empty", FRAMES)):
        write_square(folder / name, FRAMES, unknown=range(hidden))
    (folder / "notes").write_text("this is no video\n")
    with VideoWriter(folder / "square.mp4", 25.0) as video:
        for rgb, _ in moving_square(frames=FRAMES):
            video.write(np.ascontiguousarray(rgb[..., ::-1]))
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_track_a_video(data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    x, y, w, h = next(box for _, box in moving_square(frames=1))
    arguments = ["track", str(data / "square.mp4"), "--box", f"{x},{y},{w},{h}", "--model", model]
    assert main([*arguments, "--output", str(tmp_path), "--json", str(tmp_path / "t.json")]) == 0
    rows = rows_of(tmp_path / "tracks.csv")
    assert len(rows) == FRAMES
    assert rows[1]["stamp_ns"] == "40000000"  # the video's own 25 frames a second
    drawn = list(VideoFrames(tmp_path / "tracked.mp4"))
    assert len(drawn) == FRAMES
    assert cv2.imread(str(tmp_path / "plot.png")) is not None
    content = json.loads((tmp_path / "t.json").read_text())
    assert content["frames"] == FRAMES
    assert content["scores"] is None
    assert sum(content["states"].values()) == FRAMES
    assert "20 frames" in capsys.readouterr().out


def test_track_a_folder_from_its_first_box(data: Path, model: str, tmp_path: Path):
    output = str(tmp_path / "new" / "folder")
    json_file = tmp_path / "t.json"
    code = main(
        ["track", str(data / "hidden"), "--model", model, "--output", output, "--json", str(json_file)]
    )
    assert code == 0
    rows = rows_of(Path(output) / "tracks.csv")
    truth = [box for _, box in moving_square(frames=FRAMES)]
    assert len(rows) == FRAMES - 2
    assert [float(rows[0][key]) for key in "xywh"] == truth[2].tolist()
    assert json.loads(json_file.read_text())["scores"]["frames"] == FRAMES - 2


def test_tracking_twice_writes_the_same(data: Path, model: str, tmp_path: Path):
    for run in "ab":
        assert main(["track", str(data / "square"), "--model", model, "--output", str(tmp_path / run)]) == 0
    assert (tmp_path / "a" / "tracks.csv").read_bytes() == (tmp_path / "b" / "tracks.csv").read_bytes()


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ("track nowhere.mp4 --box 1,2,30,40", 1, "nowhere.mp4 does not exist"),
        ("track {data}/notes --box 1,2,30,40", 1, "is not a video that OpenCV can read"),
        ("track {data}/square.mp4", 1, "say where the target is in the first frame of square"),
        ("track {data}/square.mp4 --box 1,2,30", 2, "'1,2,30' is not a box"),
        ("track {data}/square.mp4 --box 1,2,nan,4", 2, "every number must be finite"),
        ("track {data}/square.mp4 --box 900,2,30,40", 1, "lies outside the frame of 320x240"),
        ("track {data}/square.mp4 --box 1,2,0,40", 1, "width and height must be at least"),
        ("track {data}/square.mp4 --box 1,2,30,40 --rate 0", 2, "must be a number above 0"),
        (
            "track {data}/square.mp4 --box 1,2,30,40 --groundtruth nowhere.txt",
            1,
            "nowhere.txt cannot be read",
        ),
        ("track {data}/hidden --box 1,2,30,40", 1, "the first frame has no true box to compare with"),
        ("track {data}/square.mp4 --box 1,2,30,40 --model nothing", 1, "no model 'nothing'"),
        ("track {data}/square.mp4 --box 1,2,30,40 --output {data}/square.mp4/x", 1, "square.mp4"),
        ("evaluate {data}/nothing", 1, "{data}/nothing does not exist"),
        ("evaluate {data}/empty", 1, "holds nothing to track: empty has no true box"),
        ("evaluate", 1, "name one source"),
        ("evaluate {data}/square --bag {data}/square", 1, "name one source"),
        (
            "evaluate {data} --box 1,2,30,40",
            1,
            "has 3 sequences: a box and a stamp to begin on are for a single",
        ),
        (
            "evaluate {data}/square --stamp 7",
            1,
            "has no frame with the stamp 7.000 s: they go from 0.000 to 0.633",
        ),
        ("evaluate {data}/square --topic /image", 1, "is no bag: topics belong to a bag"),
        ("evaluate {data}/square --tracker kfc", 1, "kfc"),
        (
            "evaluate {data}/square --tracker repeat --tracker repeat",
            1,
            "two trackers have the name 'repeat'",
        ),
        ("evaluate {data}/square --processes 0", 2, "'0' must be a whole number above 0"),
        ("evaluate {data}/square --results mine", 2, "'mine' must be NAME=PATH"),
        ("evaluate {data}/square --write-bag {data}/notes", 1, "{data}/notes exists"),
        ("evaluate {data}/square --write-results otb={data}/notes", 1, "{data}/notes exists"),
        (
            "evaluate {data}/square --write-results oth=x",
            2,
            "'oth' is no format of results: accepted are otb",
        ),
        (
            "evaluate {data}/square --box 900,2,30,40",
            1,
            "tiny: box left=900 top=2 width=30 height=40 lies outside",
        ),
        ("evaluate {data}/square --baseline csrt", 1, "--baseline 'csrt' is no tracker of this run: tiny"),
        ("evaluate {data}/square --format lasso", 2, "invalid choice: 'lasso'"),
        ("compare {data} {data}", 1, "it has no run.json"),
        ("report {data}", 1, "it has no run.json"),
        ("to-bag {data} out.mcap", 1, "3 sequences"),
        ("fly", 2, "invalid choice: 'fly'"),
    ],
)
def test_errors_are_one_line(
    data: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    code: int,
    words: str,
):
    monkeypatch.chdir(tmp_path)
    words_of_command, words = arguments.format(data=data).split(), words.format(data=data)
    if code == 1 and words_of_command[0] in ("track", "evaluate") and "--model" not in words_of_command:
        words_of_command += ["--model", model]
    try:
        found = main(words_of_command)
    except SystemExit as exit:  # argparse
        found = exit.code
    error = capsys.readouterr().err
    assert found == code
    assert words in error
    assert error.startswith("distill-tracker")
    assert error.count("\n") == 1


def test_a_changed_model_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_tiny_bundle(tmp_path / "tiny")
    with (folder / "search.onnx").open("ab") as file:
        file.write(b"\0")
    assert main(["track", str(data / "square"), "--model", str(folder), "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "search.onnx has the sha256" in error
    assert error.count("\n") == 1


def test_doctor_lists_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = main(["doctor", "--json", str(tmp_path / "d.json")])
    findings = json.loads((tmp_path / "d.json").read_text())
    out = capsys.readouterr().out.splitlines()
    assert len(out) == len(findings)
    for line, finding in zip(out, findings, strict=True):
        assert line.startswith("OK" if finding["ok"] else "MEND")
        assert finding["name"] in line
        assert finding["detail"]
    names = {finding["name"] for finding in findings}
    assert {"python", "numpy", "cv2", "onnxruntime providers", "ROS package rclpy", "/dev/shm"} <= names
    assert code == (0 if all(finding["ok"] for finding in findings) else 1)


@pytest.mark.parametrize(
    "arguments", [[], ["track"], ["evaluate"], ["compare"], ["report"], ["to-bag"], ["doctor"]]
)
def test_help_starts_with_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--help"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("Examples:\n  distill-tracker ")


def test_runs_without_ros(data: Path, model: str, tmp_path: Path):
    """A desk without ROS: nothing of it is imported, whatever is installed."""
    program = f"""
import sys
from distill_tracker_ros.cli import main
options = ["--model", {model!r}, "--output", {str(tmp_path)!r}]
square = {str(data / "square")!r}
code = main(["track", square, *options]) or main(["evaluate", square, *options])
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("rclpy", "torch", "sensor_msgs"))
sys.exit(f"loaded: {{loaded}}" if loaded else code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_without_rosbags_only_bags_are_out_of_reach(data: Path, model: str, tmp_path: Path):
    """A robot may lack it: it has no rosdep key."""
    program = f"""
import sys
sys.modules["rosbags"] = None
from distill_tracker_ros.cli import main
options = ["--model", {model!r}, "--output", {str(tmp_path)!r}]
code = main(["evaluate", {str(data / "square")!r}, *options])
sys.exit(code or main(["evaluate", {str(tmp_path / "flight.mcap")!r}, *options]))
"""
    (tmp_path / "flight.mcap").write_bytes(b"")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "bags need the Python package rosbags" in done.stderr
    assert done.stderr.count("\n") == 1
