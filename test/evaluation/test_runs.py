"""Runs on disk: what is written is read again, what is damaged or different is named."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.runs import RunError, RunFolder, Times, TrackedSequence

CONDITIONS = {"label": "ours", "model": "tiny", "protocol": "one-pass"}


def tracked(name: str = "car", frames: int = 4) -> TrackedSequence:
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 99, (frames, 4))
    truth[1] = np.nan
    return TrackedSequence(
        name=name,
        truth_xywh=truth,
        visible=np.arange(frames) != 1,
        boxes_xywh=rng.uniform(1, 99, (frames, 4)).round(4),
        confidence=np.r_[np.nan, rng.uniform(0, 1, frames - 1).round(4)],
        states=np.array([TrackState.TRACKING] * (frames - 1) + [TrackState.LOST], np.int8),
        stamps_ns=np.arange(frames) * 33_333_333,
        times=Times(*rng.uniform(0, 9, (3, frames)).round(4)),
        events=("", "view", "view+activation", "")[:frames],
        frame_size=(640, 480),
        rate_hz=10.0,
        attributes=("scale variation", "occlusion, partial"),
        parent="cars",
        broken='the bag ends, "early"',
    )


def folder(path: Path) -> RunFolder:
    made = RunFolder(path / "run")
    made.begin(CONDITIONS)
    return made


def test_what_is_written_is_read(tmp_path: Path):
    written, run = tracked(), folder(tmp_path)
    run.write(written)
    read = run.read()
    assert (read.label, read.conditions) == ("ours", CONDITIONS)
    assert [s.name for s in read.sequences] == ["car"]
    for item in fields(TrackedSequence):
        a, b = getattr(written, item.name), getattr(read.sequences[0], item.name)
        if item.name == "times":
            assert all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Times))
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype == np.float64), item.name
        else:
            assert a == b, item.name


def test_the_same_tracks_are_the_same_bytes_however_long_they_took(tmp_path: Path):
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    times = tracked().times
    one.write(tracked())
    other.write(replace(tracked(), times=Times(times.before_ms + 1, times.engine_ms, times.after_ms)))
    for kind in ("tracks", "truth"):
        files = [run.path / kind / "car.csv" for run in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_goes_on_under_the_same_conditions_only(tmp_path: Path):
    run = folder(tmp_path)
    run.write(tracked())
    again = RunFolder(run.path)
    again.begin(dict(CONDITIONS))
    assert again.finished == ["car"]
    with pytest.raises(RunError, match=r"another run \(model was 'tiny', is 'large'\): name another folder"):
        again.begin({**CONDITIONS, "model": "large"})


def test_a_sequence_that_was_cut_off_while_writing_is_not_finished(tmp_path: Path):
    run = folder(tmp_path)
    run.write(tracked("car.1"))
    run.write(tracked("boat"))
    assert run.finished == ["boat", "car.1"]
    (run.path / "about" / "boat.json").rename(run.path / "about" / ".boat.json.77")
    assert run.finished == ["car.1"]
    assert [s.name for s in run.read().sequences] == ["car.1"]


def test_a_folder_without_a_run_is_named(tmp_path: Path):
    with pytest.raises(RunError, match=r"has no run\.json"):
        RunFolder(tmp_path).read()
    with pytest.raises(RunError, match="holds no finished sequence"):
        folder(tmp_path).read()


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("tracks", lambda text: text.replace("confidence", "score"), "must have the columns frame, stamp_ns"),
        ("tracks", lambda text: text[: len(text) // 2], "columns|rows|tracks"),
        ("tracks", lambda text: text.replace("LOST", "GONE"), "the files of car are damaged.*GONE"),
        ("truth", lambda text: text[: text.rindex("\n", 0, -1) + 1], "4 tracks, 3 true boxes and 4 times"),
        ("times", lambda text: "", "cannot be read"),
        ("times", lambda text: f"{'x' * 200_000}\n", "cannot be read: field larger than field limit"),
        ("about", lambda text: "{", "cannot be read"),
        ("about", lambda text: "[" * 100_000, "cannot be read: maximum recursion depth"),
        ("about", lambda text: "[]", "must hold an object"),
        ("about", lambda text: re.sub(r'"rate_hz": [\d.]+', f'"rate_hz": 1{"0" * 400}', text), "too large"),
        ("about", lambda text: re.sub(r'"rate_hz": [\d.]+', '"rate_hz": 0', text), "a rate of 0.0"),
        (
            "about",
            lambda text: re.sub(r'"attributes": \[.*?\]', '"attributes": [[1]]', text, flags=re.S),
            "no texts",
        ),
        ("about", lambda text: json.dumps({"rate_hz": 3}), "are damaged.*frame_size"),
    ],
)
def test_damage_is_named(tmp_path: Path, kind: str, change, message: str):
    run = folder(tmp_path)
    run.write(tracked())
    file = next((run.path / kind).iterdir())
    file.write_text(change(file.read_text()))
    with pytest.raises(RunError, match=message):
        run.read()
