"""Frames of a sample: visible ones only, in their order and within their gaps, by seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from training.data.picks import MAX_GAP, MIN_LENGTH, causal, trident, usable

Visible = np.ndarray
RULES = pytest.mark.parametrize("pick", [causal, trident])


def visible(length: int, share: float = 1.0, seed: int = 0) -> Visible:
    return np.random.default_rng(seed).random(length) < share


def picked(pick: Callable, seen: Visible, templates: int = 2, count: int = 300, **options: int) -> np.ndarray:
    """(count, T + 1)"""
    rng = np.random.default_rng(7)
    return np.array([pick(rng, seen, templates, **options) for _ in range(count)])


@RULES
@pytest.mark.parametrize("templates", [1, 2, 3])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_every_picked_frame_is_visible(pick: Callable, templates: int, share: float) -> None:
    seen = visible(900, share)
    frames = picked(pick, seen, templates)
    assert frames.shape == (300, templates + 1)
    assert seen[frames].all()


@RULES
def test_the_same_seed_picks_the_same_frames(pick: Callable) -> None:
    seen = visible(500, 0.4)
    one, two, other = (pick(np.random.default_rng(seed), seen, 3) for seed in (3, 3, 4))
    assert one == two != other


@RULES
@pytest.mark.parametrize("templates", [1, 2, 4])
def test_a_still_is_all_of_its_sample(pick: Callable, templates: int) -> None:
    assert pick(np.random.default_rng(0), np.array([True]), templates) == [0] * (templates + 1)


@RULES
def test_footage_without_its_target_is_refused(pick: Callable) -> None:
    with pytest.raises(ValueError, match="none of the 30 frames shows the target"):
        pick(np.random.default_rng(0), np.zeros(30, bool), 2)


@pytest.mark.parametrize("templates", [1, 2, 3])
def test_causal_templates_come_before_the_search_frame_and_near_it(templates: int) -> None:
    frames = picked(causal, visible(3000), templates, 2000)
    base, search = frames[:, -2], frames[:, -1]
    assert (np.diff(frames[:, :-1]) >= 0).all()
    assert ((search > base) & (search < base + MAX_GAP)).all()
    assert (frames[:, 0] >= base - MAX_GAP).all() and (frames[:, :-2] < base[:, None]).all()
    assert (search - base).max() == MAX_GAP - 1  # the whole interval is used
    assert (base >= templates - 1).all()
    if templates > 1:
        assert (base - frames[:, 0]).max() == MAX_GAP


def test_causal_intervals_widen_until_they_hold_visible_frames() -> None:
    """Three visible groups, further apart than the gap: only wider intervals join them."""
    seen = np.zeros(1200, bool)
    seen[[0, 300, 600]] = True
    frames = picked(causal, seen, 2, 50)
    assert (frames == [0, 300, 600]).all()
    near = np.zeros(1200, bool)
    near[[0, 203, 500, 700]] = True  # MAX_GAP + WIDENING joins 0 to 203 and 500 to 700, but not 203 to 500
    assert {tuple(pair) for pair in picked(causal, near, 1, 400)} == {(0, 203), (500, 700)}


def test_causal_ends_with_too_few_visible_frames() -> None:
    """Two frames for two templates and a search frame: the first stands for both templates."""
    seen = np.zeros(2000, bool)
    seen[[40, 1900]] = True
    assert (picked(causal, seen, 2, 20) == [40, 40, 1900]).all()
    seen[1900] = False
    assert (picked(causal, seen, 2, 20) == 40).all()
    assert (picked(trident, seen, 2, 20) == 40).all()


def test_causal_uses_every_frame_of_a_short_video_that_can_be_a_base() -> None:
    frames = picked(causal, visible(8), 2, 1000)
    assert set(frames[:, 1]) == set(range(1, 7)) and set(frames[:, 2]) == set(range(2, 8))


def test_the_dynamic_template_of_trident_lies_by_the_search_frame_on_the_side_of_the_first() -> None:
    first, dynamic, search = picked(trident, visible(3000, 0.8), 2, 3000).T
    after = first >= search
    assert ((dynamic >= search) & (dynamic < search + MAX_GAP))[after].all()
    assert ((dynamic < search) & (dynamic >= search - MAX_GAP))[~after].all()
    assert 0.45 < after.mean() < 0.55
    assert np.abs(first - search).max() > 5 * MAX_GAP  # the first template is not bound to the search frame
    assert (dynamic - search).max() > MAX_GAP - 5 and (dynamic - search).min() < 5 - MAX_GAP


def test_trident_widens_at_most_to_its_first_template() -> None:
    seen = np.zeros(1000, bool)
    seen[[100, 900]] = True
    first, dynamic, search = picked(trident, seen, 2, 200).T
    assert (dynamic[first < search] == 100).all() and (
        dynamic[first >= search] >= search[first >= search]
    ).all()
    assert (first < search).any()


def test_trident_widens_by_steps() -> None:
    """Of visible frames at distances 13 and 16, a gap of 10 that grows to 15 reaches the first alone."""
    seen = np.zeros(100, bool)
    seen[[34, 37, 50]] = True
    frames = picked(trident, seen, 2, 400, max_gap=10)
    assert set(frames[(frames[:, 0] == 34) & (frames[:, 2] == 50), 1]) == {37}


@RULES
def test_the_gap_is_a_parameter(pick: Callable) -> None:
    frames = picked(pick, visible(500), 2, 500, max_gap=7)
    assert np.abs(frames[:, 1] - frames[:, 2]).max() <= 7


@pytest.mark.parametrize(
    ("length", "seen", "spaced", "accepted"),
    [
        (MIN_LENGTH, 7, False, True),
        (MIN_LENGTH, 6, False, False),  # not more than 2 (T + 1)
        (MIN_LENGTH - 1, 19, False, False),
        (3, 3, True, True),
        (6, 2, True, True),
        (6, 1, True, False),
        (1, 1, False, True),
        (1, 0, False, False),
        (1, 1, True, True),
    ],
)
def test_footage_is_usable_if_it_shows_its_target_often(
    length: int, seen: int, spaced: bool, accepted: bool
) -> None:
    frames = np.arange(length) < seen
    assert usable(frames, 2, spaced) == accepted
