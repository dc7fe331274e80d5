"""Evaluation from the command line: the same boxes however it is run, and everything that it writes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import write_square
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.cli import main
from distill_tracker_ros.commands.evaluate import INCOMPLETE
from distill_tracker_ros.evaluation.bags.reading import open_bag
from distill_tracker_ros.evaluation.runs import RunFolder

FRAMES = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sequences: `square`; `hidden` for its first two frames; `late`, which is gone in its middle."""
    folder = tmp_path_factory.mktemp("data")
    write_square(folder / "square", FRAMES)
    write_square(folder / "hidden", FRAMES, out_of_view=range(2))
    write_square(folder / "late", FRAMES, out_of_view=range(9, 14))
    return folder


def evaluate(path: Path, out: Path, *options: str) -> int:
    return main(["evaluate", str(path), "--out", str(out), "--processes", "1", *options])


def track_bytes(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((run / "tracks").iterdir())}


def test_what_is_written(data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert evaluate(data, out, "--model", model, "--json", str(tmp_path / "j.json"), "--rate", "10") == 0
    found = json.loads((tmp_path / "j.json").read_text())
    assert found == json.loads((out / "evaluation.json").read_text())
    keys = ("success_auc", "precision_20px", "norm_precision", "op50", "op75", "frames", "fps")
    assert all(found[key] > 0 for key in keys)
    assert (found["sequences"], found["policy"], found["rate_hz"]) == (3, "clean", 10.0)
    assert set(found["per_sequence"]) == {"square", "hidden", "late"}
    assert all(found["per_sequence"]["square"][key] is not None for key in keys)
    assert found["per_sequence"]["square"]["precision_20px"] == 1.0  # the tiny model follows the square
    assert found["per_sequence"]["hidden"]["frames"] == FRAMES - 2
    tracks = RunFolder(out / "tiny").read().sequences
    assert [t.name for t in tracks] == ["hidden", "late", "square"]
    assert tracks[2].stamps_ns[1] == 10**8
    page = (out / "report.html").read_text()
    assert "tiny" in page and "late" in page and "<img" in page
    with (out / "results.csv").open() as file:
        assert {row["sequence"] for row in csv.DictReader(file)} >= {"square", "hidden", "late"}
    for name in ("success.png", "precision.png", "normalised_precision.png"):
        assert cv2.imread(str(out / name)) is not None
    text = capsys.readouterr().out
    assert "square" in text and "report.html" in text


def test_boxes_do_not_depend_on_the_number_of_processes(data: Path, model: str, tmp_path: Path):
    for processes in ("1", "2"):
        command = ["evaluate", str(data), "--model", model, "--processes", processes]
        assert main([*command, "--out", str(tmp_path / processes)]) == 0
    again = evaluate(data, tmp_path / "again", "--model", model)
    assert again == 0
    expected = track_bytes(tmp_path / "1" / "tiny")
    assert len(expected) == 3
    assert track_bytes(tmp_path / "2" / "tiny") == expected
    assert track_bytes(tmp_path / "again" / "tiny") == expected


def test_what_was_interrupted_goes_on(data: Path, model: str, tmp_path: Path):
    out = tmp_path / "out"
    assert evaluate(data, out, "--model", model) == 0
    run = out / "tiny"
    before = track_bytes(run)
    (run / "about" / "late.json").unlink()  # as if it had ended in the middle of this one
    (run / "tracks" / "late.csv").write_text("frame")
    kept = (run / "times" / "square.csv").read_bytes()
    assert evaluate(data, out, "--model", model) == 0
    assert track_bytes(run) == before
    assert (run / "times" / "square.csv").read_bytes() == kept  # times differ from run to run: not done again


def test_a_killed_evaluation_keeps_what_is_finished(data: Path, model: str, tmp_path: Path):
    program = (
        "import os, sys\n"
        "from distill_tracker_ros.evaluation import runs\n"
        "from distill_tracker_ros.cli import main\n"
        "write, done = runs.RunFolder.write, []\n"
        "def once(self, tracked):\n"
        "    write(self, tracked); os._exit(9)\n"
        "runs.RunFolder.write = once\n"
        "main(sys.argv[1:])\n"
    )
    command = ["evaluate", str(data), "--model", model, "--out", str(tmp_path), "--processes", "1"]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, timeout=120)
    assert done.returncode == 9
    assert len(RunFolder(tmp_path / "tiny").finished) == 1
    assert main(command) == 0
    assert len(RunFolder(tmp_path / "tiny").finished) == 3


def test_another_model_does_not_go_on_with_this_run(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate(data / "square", tmp_path, "--model", model) == 0
    assert evaluate(data / "square", tmp_path, "--model", model, "--protocol", "tre") == 1
    assert "holds another run (protocol was 'one-pass', is 'tre')" in capsys.readouterr().err


def test_trackers_side_by_side(data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = ["--model", model, "--tracker", "repeat", "--tracker", "mil"]
    assert evaluate(data, tmp_path / "out", *names) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(found["runs"]) == ["tiny", "repeat", "mil"]
    assert (
        found["success_auc"] == found["runs"]["tiny"]["success_auc"] > found["runs"]["repeat"]["success_auc"]
    )
    assert (tmp_path / "out" / "comparison.png").exists()
    runs = [str(tmp_path / "out" / name) for name in ("tiny", "repeat")]
    capsys.readouterr()
    assert main(["compare", *runs, "--json", str(tmp_path / "c.json")]) == 0
    assert "no difference that this many sequences can show" in capsys.readouterr().out
    compared = json.loads((tmp_path / "c.json").read_text())
    assert compared["scores"]["success_auc"]["difference"] > 0
    page = tmp_path / "report.html"
    assert (
        main(["report", *runs, "--sequences", str(data), "--title", "side by side", "--out", str(page)]) == 0
    )
    assert "side by side" in page.read_text()


def test_boxes_of_another_tool_are_scored_as_ours_are(data: Path, model: str, tmp_path: Path):
    """Out in the format of another tool, in again: the same scores, and no tracker is run."""
    for format in ("otb", "got10k", "trackingnet"):
        out, written = (
            tmp_path / format,
            tmp_path / (f"{format}.zip" if format == "trackingnet" else f"{format}_files"),
        )
        assert evaluate(data, out, "--model", model, "--write-results", f"{format}={written}") == 0
        assert evaluate(data, tmp_path / f"{format}_in", "--results", f"theirs={written}") == 0
        ours = json.loads((out / "evaluation.json").read_text())
        theirs = json.loads((tmp_path / f"{format}_in" / "evaluation.json").read_text())
        assert theirs["success_auc"] == pytest.approx(ours["success_auc"], abs=5e-4)
        assert theirs["fps"] is None


def test_results_that_are_too_short_count_as_failures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    boxes = np.loadtxt(data / "square" / "groundtruth.txt", delimiter=",")
    (tmp_path / "theirs").mkdir()
    np.savetxt(tmp_path / "theirs" / "square.txt", boxes[: FRAMES // 2], delimiter=",")
    code = evaluate(data / "square", tmp_path / "out", "--results", f"theirs={tmp_path / 'theirs'}")
    assert code == INCOMPLETE
    assert f"square (theirs): it has {FRAMES // 2} boxes for {FRAMES} frames" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["success_auc"] == pytest.approx(20 / 21 / 2)


def test_a_sequence_that_cannot_be_read_to_its_end(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "data"
    for name in ("good", "bad"):
        (folder / name).mkdir(parents=True)
        for file in (data / "square").iterdir():
            (folder / name / file.name).write_bytes(file.read_bytes())
    (folder / "bad" / "12.png").write_bytes(b"no image")
    assert evaluate(folder, tmp_path / "out", "--model", model) == INCOMPLETE
    out = capsys.readouterr().out
    assert "incomplete: bad (tiny): frame 11:" in out and "12.png is not a readable image" in out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["per_sequence"]["bad"]["frames"] == 11
    assert found["per_sequence"]["good"]["frames"] == FRAMES


def test_a_true_box_outside_of_the_image_is_told(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "square"
    folder.mkdir()
    for file in (data / "square").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join([*lines[:7], "900,900,20,20", *lines[8:]]))
    assert evaluate(folder, tmp_path / "out", "--model", model) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(told) == 1
    assert told[0].startswith("distill-tracker: warning: square") and "frame 7" in told[0]


def test_a_box_and_a_stamp_instead_of_the_truth(data: Path, model: str, tmp_path: Path):
    boxes = np.loadtxt(data / "square" / "groundtruth.txt", delimiter=",")
    box = ",".join(f"{v:g}" for v in boxes[6])
    assert evaluate(data / "square", tmp_path, "--model", model, "--box", box, "--stamp", "0.2") == 0
    (tracked,) = RunFolder(tmp_path / "tiny").read().sequences
    assert len(tracked) == FRAMES - 6
    assert tracked.boxes_xywh[0] == pytest.approx(boxes[6], abs=1e-3)


@pytest.mark.parametrize("protocol, parts", [("tre", 5), ("vot", 1)])
def test_protocols(data: Path, model: str, tmp_path: Path, protocol: str, parts: int):
    assert evaluate(data / "square", tmp_path, "--model", model, "--protocol", protocol) == 0
    run = RunFolder(tmp_path / "tiny").read()
    assert len(run.sequences) == parts
    assert {t.parent for t in run.sequences} == {"square"}
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["sequences"] == 1
    assert found["protocol"] == protocol
    assert (found["vot"] is not None) == (protocol == "vot")


def boxes_of(run: Path, name: str) -> list[tuple[str, ...]]:
    """Everything of the tracks but the stamps, as text."""
    with (run / "tracks" / f"{name}.csv").open() as file:
        return [tuple(v for k, v in row.items() if k != "stamp_ns") for row in csv.DictReader(file)]


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ""])
def test_a_bag_gives_the_boxes_of_its_frames(data: Path, model: str, tmp_path: Path, suffix: str):
    bag = tmp_path / f"square{suffix}"
    assert main(["to-bag", str(data / "square"), str(bag)]) == 0
    assert evaluate(data / "square", tmp_path / "frames", "--model", model) == 0
    for run in ("once", "twice"):
        assert main(["evaluate", "--bag", str(bag), "--model", model, "--out", str(tmp_path / run)]) == 0
    expected = boxes_of(tmp_path / "frames" / "tiny", "square")
    assert len(expected) == FRAMES
    assert boxes_of(tmp_path / "once" / "tiny", "square") == expected
    assert track_bytes(tmp_path / "once" / "tiny") == track_bytes(tmp_path / "twice" / "tiny")


def test_detections_go_into_a_bag(data: Path, model: str, tmp_path: Path):
    bag, out = tmp_path / "square.mcap", tmp_path / "tracked.mcap"
    assert main(["to-bag", str(data / "square"), str(bag), "--encoding", "jpeg"]) == 0
    command = ["evaluate", "--bag", str(bag), "--model", model, "--out", str(tmp_path / "run")]
    assert main([*command, "--write-bag", str(out), "--bag-images", "--bag-overlay"]) == 0
    again = open_bag(out, "/image/compressed", "/tracker/detections")
    (tracked,) = RunFolder(tmp_path / "run" / "tiny").read().sequences
    assert again.stamps_ns.tolist() == tracked.stamps_ns.tolist()
    assert again.truth_xywh == pytest.approx(tracked.boxes_xywh, abs=1e-3)
    assert open_bag(out, "/tracker/overlay/compressed").frames[5].shape == again.frames[5].shape


def test_a_truncated_bag_is_scored_up_to_its_break(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bag = tmp_path / "square.mcap"
    assert main(["to-bag", str(data / "square"), str(bag)]) == 0
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size * 2 // 3])
    assert evaluate(bag, tmp_path / "out", "--model", model) == INCOMPLETE
    assert "incomplete: square (tiny):" in capsys.readouterr().out
    (tracked,) = RunFolder(tmp_path / "out" / "tiny").read().sequences
    assert 5 < len(tracked) < FRAMES
    assert tracked.broken


def test_a_report_of_a_live_run_finds_its_images(data: Path, model: str, tmp_path: Path):
    assert evaluate(data / "square", tmp_path, "--model", model) == 0
    about = tmp_path / "tiny" / "run.json"
    about.write_text(about.read_text().replace('"one-pass"', '"live"'))
    page = tmp_path / "live.html"
    command = ["report", str(about.parent), "--out", str(page)]
    assert main([*command, "--sequences", str(data / "square")]) == 0
    assert "<img" in page.read_text()
    assert main([*command, "--sequences", str(data / "late")]) == 0  # other ones: no pictures
    assert "<img" not in page.read_text()


def test_boxes_without_images_can_be_scored_against_but_not_tracked_on(
    data: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    truth = tmp_path / "truth"
    truth.mkdir()
    for name in ("square", "late"):
        (truth / f"{name}.txt").write_bytes((data / name / "groundtruth.txt").read_bytes())
    assert evaluate(truth, tmp_path / "a", "--model", model) == 1
    error = capsys.readouterr().err
    assert "has no images beside it" in error and "(and 1 more)" in error and error.count("\n") == 1
    boxes = np.loadtxt(data / "square" / "groundtruth.txt", delimiter=",")
    (tmp_path / "theirs").mkdir()
    for name in ("square", "late"):
        np.savetxt(tmp_path / "theirs" / f"{name}.txt", boxes, delimiter=",")
    assert evaluate(truth, tmp_path / "b", "--results", f"theirs={tmp_path / 'theirs'}") == 0
    assert json.loads((tmp_path / "b" / "evaluation.json").read_text())["sequences"] == 2
