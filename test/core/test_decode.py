"""Window, argmax, and the score of the chosen cell."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.decode import hann_window, peak


def cell_maps(grid: int) -> tuple[np.ndarray, np.ndarray]:
    """No score, and boxes whose centre is the corner of their cell: cx = column / G, cy = row / G."""
    box_map = np.full((4, grid, grid), 0.2, np.float32)
    box_map[0] = np.arange(grid)[None, :] / grid
    box_map[1] = np.arange(grid)[:, None] / grid
    return np.full((grid, grid), 0.01, np.float32), box_map


@pytest.mark.parametrize("grid", [1, 2, 7, 16])
def test_the_raised_cell_is_returned_whichever_it_is(grid: int) -> None:
    """B-1."""
    for row in range(grid):
        for column in range(grid):
            score_map, box_map = cell_maps(grid)
            score_map[row, column] = 0.9
            found = peak(score_map, box_map, np.ones((grid, grid), np.float32))
            assert found.confidence == pytest.approx(0.9)
            np.testing.assert_allclose(found.box_cxcywh, [column / grid, row / grid, 0.2, 0.2], rtol=1e-6)


def test_hann_window_has_the_published_values() -> None:
    golden = [0.033764, 0.130496, 0.277131, 0.453866, 0.636831, 0.801317, 0.925109, 0.991487]
    line = np.sqrt(np.diag(hann_window(16)))
    np.testing.assert_allclose(line, golden + golden[::-1], atol=1e-6)


@pytest.mark.parametrize("grid", [2, 6, 16, 24])
def test_hann_window_is_symmetric_positive_and_highest_in_the_middle(grid: int) -> None:
    """B-2."""
    window = hann_window(grid)
    np.testing.assert_allclose(window, window[::-1], rtol=1e-5)
    np.testing.assert_allclose(window, window.T, rtol=1e-5)
    assert window.min() > 0 and window.max() <= 1
    top = np.argwhere(window > window.max() - 1e-6)
    middle = (grid // 2 - 1, grid // 2)
    assert {tuple(cell) for cell in top} == {(row, column) for row in middle for column in middle}


def test_the_weight_mixes_the_window_with_none() -> None:
    np.testing.assert_array_equal(hann_window(8, 0.0), np.ones((8, 8)))
    np.testing.assert_allclose(hann_window(8, 0.4), 0.6 + 0.4 * hann_window(8), rtol=1e-6)
    assert hann_window(1).tolist() == [[1.0]]


def test_a_window_is_shared_and_cannot_be_written() -> None:
    assert hann_window(16, 1.0) is hann_window(16, 1.0)
    with pytest.raises(ValueError):
        hann_window(16)[0, 0] = 5


def test_the_window_chooses_but_does_not_change_the_confidence() -> None:
    score_map, box_map = cell_maps(16)
    score_map[0, 0], score_map[8, 8] = 0.9, 0.5
    assert peak(score_map, box_map, hann_window(16, 0.0)).confidence == pytest.approx(0.9)
    windowed = peak(score_map, box_map, hann_window(16, 1.0))
    assert windowed.confidence == pytest.approx(0.5)
    np.testing.assert_allclose(windowed.box_cxcywh[:2], [0.5, 0.5])


@pytest.mark.parametrize("weight", [0.0, 0.49, 1.0])
@pytest.mark.parametrize("grid", [1, 8, 16])
def test_decoding_equals_its_definition_on_random_maps(grid: int, weight: float) -> None:
    """X-2, the runtime's side: k = argmax(score * window), the box and the raw score at k."""
    rng = np.random.default_rng(grid)
    line = [0.5 * (1 - np.cos(2 * np.pi * k / (grid + 1))) for k in range(1, grid + 1)]
    for _ in range(50):
        score_map = rng.uniform(0.01, 0.99, (grid, grid)).astype(np.float32)
        box_map = rng.uniform(0, 1, (4, grid, grid)).astype(np.float32)
        best, best_value = (0, 0), -1.0
        for row in range(grid):
            for column in range(grid):
                prior = 1.0 if grid == 1 else 1 - weight + weight * line[row] * line[column]
                if score_map[row, column] * prior > best_value:
                    best, best_value = (row, column), score_map[row, column] * prior
        found = peak(score_map, box_map, hann_window(grid, weight))
        assert found.confidence == score_map[best]
        assert found.box_cxcywh.tolist() == [float(box_map[k][best]) for k in range(4)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_peak_that_is_not_finite_is_no_detection(bad: float) -> None:
    """Bug: a NaN in a box (fp16 overflow) got into the track and every later frame raised."""
    score_map, box_map = cell_maps(8)
    score_map[3, 4] = 0.9
    box_map[2, 3, 4] = bad
    broken_box = peak(score_map, box_map, hann_window(8, 0.0))
    score_map[3, 4] = bad
    box_map[2, 3, 4] = 0.2
    broken_score = peak(score_map, box_map, hann_window(8, 0.0))
    for found in (broken_box, broken_score):
        assert found.confidence == 0.0
        assert np.isfinite(found.box_cxcywh).all() and (found.box_cxcywh[2:] > 0).all()
