"""From a score to a probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stub_engine import StubEngine
from synthetic import moving_square

from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.core.config import BestInIntervalConfig, TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import Track, Tracker, TrackState

FITTED = Calibration(3.913, 0.3799, 3.51)
EXTREME = (Calibration(100.0, 100.0, 100.0), Calibration(100.0, 0.0, -100.0), Calibration(0.0, 0.01, 0.0))


def test_the_default_changes_no_bit():
    scores = [*np.random.default_rng(0).uniform(0, 1, 1000), 0.0, 1.0, 5e-324, 1 - 2**-53]
    assert [Calibration()(score) for score in scores] == scores


def test_by_hand():
    """logit p = 2 ln 0.5 - 3 ln 0.5 + 1 = ln 2 + 1."""
    odds = 2 * math.e
    assert Calibration(2.0, 3.0, 1.0)(0.5) == pytest.approx(odds / (1 + odds))
    assert Calibration(1.0, 0.0, 0.0)(0.25) == pytest.approx(0.2)


@pytest.mark.parametrize("calibration", [FITTED, *EXTREME])
def test_it_rises_and_stays_a_probability(calibration: Calibration):
    found = np.array([calibration(score) for score in np.linspace(0, 1, 2001)])
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    assert (np.diff(found) >= 0).all()


def test_what_a_fit_gives_rises_strictly():
    assert (np.diff([FITTED(score) for score in np.linspace(0.01, 0.99, 2001)]) > 0).all()


def test_no_detection_stays_none():
    """A score of 0 is what a network's overflow becomes; with low = 0 the formula alone would lift it."""
    assert Calibration(0.0, 1.0, 3.0)(0.0) == 0.0
    assert Calibration(2.0, 0.5, 3.0)(1.0) == 1.0
    assert Calibration(2.0, 0.0, 1.0)(1.0) == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("score", [0.01, 0.3, 0.65, 0.99])
def test_the_way_back(score: float):
    assert FITTED.raw(FITTED(score)) == pytest.approx(score, abs=1e-12)
    assert Calibration().raw(score) == score
    assert Calibration(1.0, 0.0, 0.0).raw(0.9) == 1.0  # it ends at 0.5


@pytest.mark.parametrize(
    "numbers",
    [(-0.1, 1.0, 0.0), (1.0, -1.0, 0.0), (0.0, 0.0, 1.0), (math.nan, 1.0, 0.0), (1.0, 1.0, math.inf)],
)
def test_what_would_not_rise_is_refused(numbers: tuple[float, float, float]):
    with pytest.raises(ValueError, match="calibration low = .*: accepted are finite numbers"):
        Calibration(*numbers)


def follow(engine: StubEngine, frames: int = 100, config: TrackerConfig | None = None) -> list[Track]:
    """Tracks of the red square, which changes its colour and is out of view for 1.5 s, at 20 Hz."""
    video = moving_square(frames=frames, colour=lambda n: (225 - n % 50, 40, 45), out_of_view=range(30, 60))
    first, box = next(video)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, config or TrackerConfig())
    return [tracker.update(ArrayFrame(rgb), round(n * 5e7)) for n, (rgb, _) in enumerate(video, 1)]


def test_thresholds_that_go_through_the_calibration_decide_as_before():
    """But for the store, whose choice among its views weighs their confidences."""
    plain = StubEngine(lost_threshold=0.7, update=BestInIntervalConfig(threshold=0.8))
    converted = StubEngine(
        lost_threshold=FITTED(0.7),
        redetect_threshold=FITTED((1 + 0.7) / 2),
        update=BestInIntervalConfig(threshold=FITTED(0.8)),
        calibration=FITTED,
    )
    before, after = follow(plain), follow(converted)
    assert {track.state for track in before} == set(TrackState)
    assert [track.state for track in after] == [track.state for track in before]
    np.testing.assert_array_equal([t.box_xywh for t in after], [t.box_xywh for t in before])
    assert [t.confidence for t in after] == [FITTED(t.confidence) for t in before]


def test_an_overflow_of_the_network_has_no_confidence():
    class Overflowing(StubEngine):
        def search(self, search, states):
            output = super().search(search, states)
            return output._replace(score_map=np.full_like(output.score_map, np.nan))

    tracks = follow(Overflowing(calibration=Calibration(0.0, 1.0, 5.0)), frames=5)
    assert [track.confidence for track in tracks] == [0.0] * 4


def test_the_model_says_what_a_scanned_place_needs():
    """Found again from 0.9 on, but not from 0.99; what the user sets goes first."""
    assert follow(StubEngine(redetect_threshold=0.9))[-1].state is TrackState.TRACKING
    assert follow(StubEngine(redetect_threshold=0.99))[-1].state is TrackState.LOST
    found = follow(StubEngine(redetect_threshold=0.99), config=TrackerConfig(redetect_threshold=0.9))
    assert found[-1].state is TrackState.TRACKING
