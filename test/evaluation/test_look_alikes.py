"""The shipped model beside a copy of its target: what holds, and from which distance on.

Two equal pictures pass each other on photographs. No network can tell them apart once one has covered the
other, so a crossing is not promised; docs/metrics.md has what was measured.
"""

from __future__ import annotations

import numpy as np
import pytest
from filmed import RATE_HZ, along, cut_out, film, ground
from skimage import data

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.replay import SessionTracker, regular_stamps_ns, steps
from distill_tracker_ros.runtime.load import ON_CPU, load_engine

SIDE = 48.0  # px of both
SECONDS = 4.0
TARGETS = {"astronaut": (165, 30, 105, 130), "chelsea": (130, 80, 80, 75), "coffee": (170, 15, 245, 235)}


@pytest.mark.parametrize("photo", TARGETS)
@pytest.mark.parametrize("below", ["grass", "rocket"])
def test_it_stays_with_its_own_when_a_copy_passes(photo: str, below: str) -> None:
    """Two and a half sides between their centres: the copy is inside the search region all the while."""
    there, back = (0, 120, 240), (SECONDS, 520, 240)
    beside = 240 + 2.5 * SIDE
    own, other = (
        cut_out(getattr(data, photo)(), TARGETS[photo], SIDE, along(*stops))
        for stops in ((there, back), ((0, 520, beside), (SECONDS, 120, beside)))
    )
    frames = film(ground(getattr(data, below)()), [own, other])
    stamps = regular_stamps_ns(len(own.centres), RATE_HZ)
    engine = load_engine(ON_CPU)
    made = steps(SessionTracker(engine), map(ArrayFrame, frames), own.boxes_xywh[0], stamps.tolist())
    tracks = [step.track for step in made]
    engine.close()
    boxes = np.array([track.box_xywh for track in tracks])
    assert (iou(boxes, own.boxes_xywh) > 0.5).mean() > 0.9
    assert iou(boxes, own.boxes_xywh)[-1] > 0.5
    claimed = np.array([track.state is TrackState.TRACKING for track in tracks])
    assert not (claimed & (iou(boxes, other.boxes_xywh) > 0.5)).any()
