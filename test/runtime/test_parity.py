"""The parity gate: what it measures, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stub_engine import StubEngine
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.core.engine import SearchOutput, State
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.runtime import parity
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.parity import Parity, ParityError, View, check, compare, cut, reference_views


def red_square() -> View:
    """A square of 64 px; where it is searched for, it lies 10 px to the right."""
    pictures = np.zeros((2, 288, 288, 3), np.uint8)
    pictures[0, 112:176, 112:176] = pictures[1, 112:176, 122:186] = (230, 20, 20)
    box = np.array([112.0, 112, 64, 64])
    return View(ArrayFrame(pictures[0]), box, ArrayFrame(pictures[1]), box)


class Changed(StubEngine):
    """A StubEngine whose maps are changed where the batch is of some size."""

    def __init__(self, change: Callable[[np.ndarray, np.ndarray], None], batch: int = 1) -> None:
        super().__init__()
        self._change, self._batch = change, batch

    def search(self, search: np.ndarray, states: Sequence[State]) -> SearchOutput:
        output = super().search(search, states)
        if len(search) == self._batch:
            self._change(output.score_map, output.box_map)
        return output


def test_an_engine_equals_itself() -> None:
    assert compare(StubEngine(), StubEngine(), reference_views()) == Parity(0.0, 0.0)


def test_boxes_are_compared_by_their_corners_in_pixels_of_the_picture() -> None:
    def shift_and_widen(scores: np.ndarray, box_maps: np.ndarray) -> None:
        box_maps[:, 0] += 2 / 256  # of the region, which is 256 px
        box_maps[:, 2] += 2 / 256

    found = compare(StubEngine(), Changed(shift_and_widen), [red_square()])
    assert found.box_px == pytest.approx(3.0, abs=1e-3) and found.score == 0


def test_scores_are_compared_where_the_box_is() -> None:
    def raise_scores(scores: np.ndarray, box_maps: np.ndarray) -> None:
        scores[scores > 0.5] += 0.015  # nowhere else does it count
        scores[scores < 0.1] += 0.1

    assert compare(StubEngine(), Changed(raise_scores), [red_square()]).score == pytest.approx(
        0.015, abs=1e-6
    )


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("part", [0, 1])
def test_a_value_that_is_not_finite_is_infinitely_wrong(batch: int, part: int) -> None:
    def break_one_value(*maps: np.ndarray) -> None:
        maps[part][-1].flat[0] = np.nan  # not where the peak is

    found = compare(StubEngine(), Changed(break_one_value, batch), [red_square()] * 2)
    assert found == Parity(np.inf, np.inf) and not found.passed and not found.numbers


def test_the_candidate_runs_alone_and_in_pairs() -> None:
    candidate = StubEngine()
    compare(StubEngine(), candidate, [red_square()] * 4)
    assert candidate.search_batches == [1] * 4 + [2] * 2


@pytest.mark.parametrize(("box_px", "score"), [(1.0, 0.02), (0.0, 0.0)])
def test_what_is_within_the_limits_passes(box_px: float, score: float) -> None:
    check(Parity(box_px, score), "tiny in int8", "use float32")


@pytest.mark.parametrize(("box_px", "score"), [(1.01, 0.0), (0.0, 0.0201), (np.inf, np.inf)])
def test_what_is_beyond_is_refused_with_numbers_and_advice(box_px: float, score: float) -> None:
    text = rf"^tiny in int8 .*{box_px:.3g} px \(at most 1\).*{score:.3g} \(at most 0.02\); use float32$"
    with pytest.raises(ParityError, match=text):
        check(Parity(box_px, score), "tiny in int8", "use float32")


def test_the_crops_are_those_of_the_tracker() -> None:
    spec = StubEngine(template_slots=3).spec
    crops = cut(red_square(), spec)
    assert crops.templates.shape == (3, 64, 64, 3) and crops.search.shape == (128, 128, 3)
    assert crops.region.side == 256
    assert (crops.search[64, 64] == (230, 20, 20)).all() and not crops.search[64, 30].any()


def test_the_reference_views_are_varied_and_even_in_number() -> None:
    views = reference_views()
    assert 8 <= len(views) <= 12 and len(views) % 2 == 0
    pictures = [view.search.cut(0, 0, 288, 288) for view in views]
    assert sum(np.percentile(picture, 99) <= 12 for picture in pictures) >= 2, "nearly black"
    assert sum(picture.std() > 85 for picture in pictures) >= 2, "high contrast"
    for view in views:
        w, h = view.template_xywh[2:]
        assert np.sqrt(w * h) == pytest.approx(64, abs=0.1)


def test_the_reference_views_are_small() -> None:
    assert (
        sum(file.stat().st_size for file in Path(parity.__file__).parent.glob("reference_views.*")) < 500_000
    )


def test_a_model_that_is_read_twice_passes(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path)
    first, second = load_engine(folder), load_engine(folder)
    assert compare(first, second, reference_views()).passed


def test_another_model_does_not_pass() -> None:
    assert not compare(StubEngine(), replaced_weights(), [red_square()]).passed


def replaced_weights() -> StubEngine:
    engine = StubEngine()
    engine.encode_template = lambda templates: (np.zeros((1, 2, 3), np.float32),)  # type: ignore[method-assign]
    engine.spec = replace(engine.spec, name="other")
    return engine
