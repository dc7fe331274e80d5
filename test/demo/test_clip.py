"""The demo's clip: the same on every machine run, with boxes that fit what is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill_tracker_ros.demo import clip
from distill_tracker_ros.evaluation.metrics import visible
from distill_tracker_ros.evaluation.sequences import open_sequence


@pytest.fixture(scope="module")
def truth() -> list[tuple[np.ndarray, float]]:
    """Box and visible share of every frame."""
    world = clip._world(clip.SEED)
    return [world.truth(index / clip.RATE_HZ) for index in range(clip.FRAMES)]


def test_a_frame_depends_on_nothing_but_seed_and_number():
    first = clip.shot(40)
    clip.shot(200)
    clip._world.cache_clear()
    again = clip.shot(40)
    assert first.bgr.shape == (720, 1280, 3)
    np.testing.assert_array_equal(again.bgr, first.bgr)
    np.testing.assert_array_equal(again.box_xywh, first.box_xywh)
    assert (clip.shot(41).bgr != first.bgr).mean() > 0.5  # the camera moves, the noise changes


@pytest.mark.parametrize("index", [0, 60, 110, 230, 299])
def test_the_box_fits_the_red_of_the_motorcycle(index: int):
    frame = clip.shot(index)
    blue, green, red = (frame.bgr[..., c].astype(int) for c in range(3))
    ys, xs = np.nonzero((red - green > 60) & (red - blue > 60))
    x, y, w, h = frame.box_xywh
    near = (abs(xs - x - w / 2) < 2 * w) & (abs(ys - y - h / 2) < 2 * h)
    xs, ys = xs[near], ys[near]
    assert len(xs) > 0.02 * w * h
    inside = (xs >= x - 2) & (xs <= x + w + 2) & (ys >= y - 2) & (ys <= y + h + 2)
    assert inside.mean() > 0.97
    assert np.ptp(xs) > 0.6 * w  # tank, mudguards and tail light span most of its length


def test_it_is_hidden_once_for_about_half_a_second(truth: list[tuple[np.ndarray, float]]):
    hidden = np.array([not visible(box) for box, _ in truth])
    changes = np.flatnonzero(np.diff(hidden.astype(int)))
    assert len(changes) == 2
    assert 12 <= hidden.sum() <= 18
    shares = np.array([share for _, share in truth])
    assert shares[0] == 1.0
    assert (shares[hidden] < 0.03).all()
    assert (shares > 0.98).sum() > 0.85 * clip.FRAMES


def test_it_is_a_task_for_a_tracker(truth: list[tuple[np.ndarray, float]]):
    """Scale, aspect and place change, and the box is always well inside of the frame."""
    boxes = np.array([box for box, _ in truth if visible(box)])
    sides = np.sqrt(boxes[:, 2] * boxes[:, 3])
    assert sides.max() > 2 * sides.min()
    aspect = boxes[:, 2] / boxes[:, 3]
    assert aspect.max() > 1.6 * aspect.min()
    assert np.ptp(boxes[:, 0]) > 200
    assert (boxes[:, :2] > 20).all()
    assert (boxes[:, :2] + boxes[:, 2:] < np.array([1260, 700])).all()


def test_another_seed_is_another_clip():
    assert (clip.shot(0, seed=7).bgr != clip.shot(0).bgr).mean() > 0.5


def test_the_clip_is_written_and_read_back(tmp_path: Path):
    video, boxes = clip.write(tmp_path / "new", frames=4)
    sequence = open_sequence(video, boxes)
    assert sequence.rate_hz == clip.RATE_HZ
    frames = list(sequence.frames)
    assert len(frames) == 4
    for index, rgb in enumerate(frames):
        frame = clip.shot(index)
        assert np.abs(rgb[..., ::-1].astype(int) - frame.bgr).mean() < 8  # what the codec loses
        np.testing.assert_allclose(sequence.truth_xywh[index], frame.box_xywh, atol=6e-4)
