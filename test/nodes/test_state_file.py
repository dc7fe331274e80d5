"""Targets in a file: they come back as they were, and any other file is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub_engine import StubEngine
from synthetic import moving_square
from waiting import wait_until

from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import SavedTarget, Session
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.nodes.state_file import Keeper, StateFileError, load, save

STAMP_NS = 1_795_314_977_123_456_789


@pytest.fixture
def saved() -> tuple[SavedTarget, ...]:
    session = Session(StubEngine())
    (first, box), (second, _) = moving_square(2)
    session.set_target(ArrayFrame(first), box, STAMP_NS, "a/ü\n'", "Boot")
    session.set_target(ArrayFrame(first), box * 0.5, STAMP_NS)
    session.update(ArrayFrame(second), STAMP_NS + 1)
    return session.saved


def test_what_is_saved_comes_back_lost(tmp_path: Path, saved: tuple[SavedTarget, ...]) -> None:
    path = tmp_path / "new" / "tracker.npz"
    save(path, "stub", saved)
    restored = load(path, "stub")
    assert [each.target for each in restored] == [each.target for each in saved]
    for old, new in zip(saved, restored, strict=True):
        expected = replace(
            old.snapshot.track, state=TrackState.LOST, confidence=0.0, reason="the node was restarted"
        )
        assert new.snapshot.track.box_xywh.tolist() == expected.box_xywh.tolist()
        assert replace(new.snapshot.track, box_xywh=None) == replace(expected, box_xywh=None)
        assert new.snapshot.frame_size == old.snapshot.frame_size
        np.testing.assert_array_equal(new.snapshot.initial_crop, old.snapshot.initial_crop)
        np.testing.assert_array_equal(new.snapshot.latest_crop, old.snapshot.latest_crop)
    Session(StubEngine()).resume(restored)
    assert [file.name for file in path.parent.iterdir()] == ["tracker.npz"]


def test_no_targets_are_no_file(tmp_path: Path, saved: tuple[SavedTarget, ...]) -> None:
    path = tmp_path / "tracker.npz"
    assert load(path, "stub") == ()
    save(path, "stub", saved)
    save(path, "stub", ())
    assert not path.exists() and load(path, "stub") == ()


def test_another_model(tmp_path: Path, saved: tuple[SavedTarget, ...]) -> None:
    save(tmp_path / "t.npz", "stub", saved)
    with pytest.raises(StateFileError, match="is of the model 'stub', not of 'other'"):
        load(tmp_path / "t.npz", "other")


@pytest.mark.parametrize("length", [0, 1, 100, 5000, -1])
def test_a_file_that_broke_off(tmp_path: Path, saved: tuple[SavedTarget, ...], length: int) -> None:
    path = tmp_path / "t.npz"
    save(path, "stub", saved)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StateFileError, match="t.npz cannot be read: "):
        load(path, "stub")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box_xywh", [1, 2, float("nan"), 4]),
        ("box_xywh", [1, 2, 0, 4]),
        ("box_xywh", [1, 2, 3]),
        ("box_xywh", "text"),
        ("frame_size", [0, 480]),
        ("frame_size", [640]),
        ("frame_size", None),
        ("stamp_ns", "soon"),
        ("stamp_ns", float("inf")),
    ],
)
def test_numbers_that_are_none(tmp_path: Path, saved: tuple[SavedTarget, ...], key: str, value: Any) -> None:
    path = tmp_path / "t.npz"
    save(path, "stub", saved)
    with np.load(path) as arrays:
        content = dict(arrays)
    about = json.loads(content["about"].tobytes())
    about["targets"][0][key] = value
    content["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(path, **content)
    with pytest.raises(StateFileError, match="t.npz cannot be read: "):
        load(path, "stub")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harm",))

    np.savez(tmp_path / "t.npz", about=np.array([Evil()], object))
    with pytest.raises(StateFileError, match="cannot be read"):
        load(tmp_path / "t.npz", "stub")
    assert not (tmp_path / "harm").exists()


def test_a_description_that_is_nested_for_ever(tmp_path: Path) -> None:
    """Bug: the RecursionError of the reader came through, and the node did not start."""
    path = tmp_path / "t.npz"
    np.savez(path, about=np.frombuffer(b"[" * 100_000, np.uint8))
    with pytest.raises(StateFileError, match="t.npz cannot be read: RecursionError"):
        load(path, "stub")


def test_the_keeper_tells_and_goes_on(tmp_path: Path, saved: tuple[SavedTarget, ...]) -> None:
    (tmp_path / "state").write_text("in the way")
    keeper = Keeper(tmp_path / "state" / "t.npz", "stub")
    keeper.keep(saved)
    wait_until(lambda: keeper.problem, "the problem")
    assert "targets cannot be kept for a restart: " in keeper.problem
    (tmp_path / "state").unlink()
    keeper.keep(saved)
    wait_until(lambda: not keeper.problem, "the end of the problem")
    assert len(load(tmp_path / "state" / "t.npz", "stub")) == 2
    keeper.stop(forget=True)
    assert not (tmp_path / "state" / "t.npz").exists()
