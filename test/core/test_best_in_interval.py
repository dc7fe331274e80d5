"""The best view of an interval: what is taken, and when it becomes the template (M-15)."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.best_in_interval import BestInInterval
from distill_tracker_ros.core.config import BestInIntervalConfig
from distill_tracker_ros.core.update_rule import View

INITIAL = np.zeros((4, 4, 3), np.uint8)
NONE = np.zeros(0, np.float32)


def view(frame_number: int, confidence: float) -> View:
    """A view whose crop tells its frame; the model has no embedding."""
    return View(frame_number, confidence, np.full((4, 4, 3), frame_number, np.uint8), NONE)


def run(config: BestInIntervalConfig, confidences: list[float]) -> tuple[list[int], dict[int, int]]:
    """The frames (from 1) whose view was taken; frame -> frame of its new crop, 0 for the initial one."""
    rule, taken, refreshed = BestInInterval(config), [], {}
    for number, confidence in enumerate(confidences, start=1):
        wanted = rule.wants(number, confidence)
        assert rule.offer(view(number, confidence)) is wanted
        if wanted:
            taken.append(number)
        assert [view.frame_number for view in rule.views] == taken[-1:]
        latest = rule.refresh(number, INITIAL)
        if latest is not None:
            refreshed[number] = int(latest[0, 0, 0])
    return taken, refreshed


def published(config: BestInIntervalConfig, confidences: list[float]) -> dict[int, int]:
    """The memory of MixFormer, word for word: a running maximum that starts at -1 in every interval."""
    refreshed, best, candidate = {}, -1.0, 0
    for number, confidence in enumerate(confidences, start=1):
        best *= config.decay
        if confidence > 0.5 and confidence > best:
            best, candidate = confidence, number
        if number % config.interval_frames == 0:
            refreshed[number] = candidate
            best, candidate = -1.0, 0
    return refreshed


def test_without_a_confident_view_the_template_stays_the_initial_one() -> None:
    """M-15: scores of 0.5 at most, whatever the number of intervals."""
    taken, refreshed = run(BestInIntervalConfig(interval_frames=4), [0.5, 0.1, 0.49, 0.5] * 25)
    assert taken == [] and refreshed == dict.fromkeys(range(4, 101, 4), 0)


def test_the_best_of_every_interval_in_a_golden_sequence() -> None:
    """Equal is not better; the last frame of an interval counts; an interval without a view resets."""
    confidences = [0.6, 0.8, 0.7, 0.8, 0.55] + [0.4, 0.5, 0.3, 0.2, 0.1] + [0.51, 0.2, 0.3, 0.4, 0.9, 0.6]
    taken, refreshed = run(BestInIntervalConfig(interval_frames=5), confidences)
    assert taken == [1, 2, 11, 15, 16]
    assert refreshed == {5: 2, 10: 0, 15: 15}


@pytest.mark.parametrize(("decay", "taken"), [(1.0, [2]), (0.9, [2, 4]), (0.0, [2, 3, 4, 5])])
def test_a_best_that_decays_gives_way_to_newer_views(decay: float, taken: list[int]) -> None:
    """0.8 in frame 2 is 0.72 in frame 3 and 0.648 in frame 4; 0.65 in frame 4 is 0.585 in frame 5."""
    config = BestInIntervalConfig(interval_frames=10, decay=decay)
    assert run(config, [0.1, 0.8, 0.71, 0.65, 0.58])[0] == taken


@pytest.mark.parametrize("decay", [1.0, 0.97, 0.5])
def test_it_is_the_published_memory(decay: float) -> None:
    rng = np.random.default_rng(0)
    for interval in (1, 2, 7, 25):
        config = BestInIntervalConfig(interval_frames=interval, decay=decay)
        confidences = rng.uniform(0.2, 1.0, 200).tolist()
        assert run(config, confidences)[1] == published(config, confidences)


def test_a_best_view_of_an_old_interval_is_not_used() -> None:
    """When refreshing was switched off in between, so that intervals ended unasked."""
    rule = BestInInterval(BestInIntervalConfig(interval_frames=10))
    assert rule.offer(view(3, 0.95))
    latest = rule.refresh(20, INITIAL)
    assert latest is INITIAL
    assert rule.wants(21, 0.6)
