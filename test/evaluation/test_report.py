"""Tables and plots of results."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill_tracker_ros.core.tracker import Track, TrackState
from distill_tracker_ros.evaluation import plots, report
from distill_tracker_ros.evaluation.replay import Replay
from distill_tracker_ros.evaluation.report import Result

BOX = np.array([10.0, 20, 30, 40])


def result(name: str, wrong: int = 0, hidden: int = 0, frames: int = 11) -> Result:
    """The last `wrong` boxes are elsewhere; the first `hidden` frames after the first have no truth."""
    truth = np.tile(BOX, (frames, 1))
    predicted = truth.copy()
    predicted[frames - wrong :] += [500, 0, 0, 0]
    truth[1 : 1 + hidden] = np.nan
    tracks = [
        Track(box, 0.9, TrackState.TRACKING, i * 10**8, i * 10**8, i) for i, box in enumerate(predicted)
    ]
    return Result(name, Replay(tracks, np.full(frames, 4.0)), truth)


def test_rows_are_sequences_and_their_mean():
    cells = report.rows([result("good"), result("half", wrong=5, frames=10)])
    assert [row[:4] for row in cells] == [
        ("good", "11", "0.952", "1.000"),
        ("half", "10", "0.476", "0.500"),
        ("mean", "21", "0.714", "0.750"),
    ]
    assert all(row[-2:] == ("4.0", "250.0") for row in cells)


def test_the_other_policy_has_a_row_where_it_matters():
    cells = report.rows([result("seen"), result("hidden", hidden=4, frames=10)])
    assert cells[-2][:3] == ("mean", "17", "0.952")
    assert cells[-1][:3] == ("mean, compat-default", "21", f"{(20 / 21 + 0.6 * 20 / 21) / 2:.3f}")


def test_no_result_is_an_error():
    with pytest.raises(ValueError, match="no sequence"):
        report.rows([])


def test_a_single_frame_has_no_speed():
    assert report.rows([result("still", frames=1)])[0][-2:] == ("-", "-")
    assert report.speed([]) == {"step_ms_median": None, "step_ms_p95": None, "fps": None}


def test_speed_counts_the_whole_time():
    speed = report.speed([10.0, 10.0, 40.0])
    assert speed["step_ms_median"] == 10.0
    assert speed["fps"] == pytest.approx(50.0)  # not the mean of 100, 100 and 25


def test_tables():
    cells = [("a", "1"), ("longer", "22")]
    assert report.text_table(("name", "n"), cells).splitlines() == [
        "name     n",
        "------  --",
        "a        1",
        "longer  22",
    ]
    assert report.markdown_table(("name", "n"), cells).splitlines() == [
        "| name | n |",
        "| --- | ---: |",
        "| a | 1 |",
        "| longer | 22 |",
    ]


def test_the_summary_is_json_and_agrees_with_the_table():
    summary = json.loads(json.dumps(report.summary([result("good"), result("half", wrong=5, frames=10)])))
    assert summary["mean"]["success_auc"] == pytest.approx(np.mean(summary["mean"]["success_curve"]))
    assert summary["sequences"]["half"]["precision_20px"] == 0.5
    assert summary["mean"]["precision_20px"] == 0.75


def test_tracks_are_written_and_read_back(tmp_path: Path):
    report.write_tracks(tmp_path / "t.csv", result("half", wrong=1, frames=3).replay.tracks)
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.TRACK_COLUMNS
    assert [row["x"] for row in rows] == ["10.000", "10.000", "510.000"]
    assert rows[2]["stamp_ns"] == "200000000"
    assert rows[2]["state"] == "TRACKING"


def ink(path: Path) -> float:
    """Share of the pixels of a picture that are not white."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return float((picture.min(axis=-1) < 250).mean())


def test_curves_are_drawn(tmp_path: Path):
    one = {"good": result("good").curves()}
    two = {**one, "half": result("half", wrong=5).curves()}
    for draw in (plots.success_plot, plots.precision_plot):
        draw(tmp_path / "one.png", one)
        draw(tmp_path / "two.png", two)
        assert ink(tmp_path / "two.png") > ink(tmp_path / "one.png") > 0


def test_doubt_is_shaded(tmp_path: Path):
    times = np.arange(10) / 10
    sure = [TrackState.TRACKING] * 10
    doubt = [*sure[:4], TrackState.UNCERTAIN, TrackState.LOST, TrackState.LOST, None, *sure[:2]]
    plots.track_plot(tmp_path / "sure.png", times, np.full(10, 0.5), sure)
    plots.track_plot(tmp_path / "doubt.png", times, np.full(10, 0.5), doubt, np.full(10, np.nan), "title")
    assert ink(tmp_path / "doubt.png") > ink(tmp_path / "sure.png") + 0.1


def test_a_single_frame_can_be_drawn(tmp_path: Path):
    plots.track_plot(tmp_path / "one.png", [0.0], [1.0], [TrackState.TRACKING])
    assert ink(tmp_path / "one.png") > 0
