"""Every network is exported and flown by the same code: the drone's Session on its bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_bundles import INTERVAL, NETWORKS
from synthetic import moving_square

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest
from distill_tracker_ros.runtime.timing import TimedEngine

FRAMES = 24


@pytest.mark.parametrize("method", NETWORKS)
def test_the_template_is_encoded_when_set_and_when_refreshed(
    random_bundle: Callable[[str], Path], method: str
) -> None:
    """One search a frame for both targets; the template graph twice at the start and at refreshes alone."""
    bundle = random_bundle(method)
    assert read_manifest(bundle / FILE_NAME).spec.method == method
    engine = TimedEngine(load_engine(bundle))
    session = Session(engine, TrackerConfig())
    assert engine.template_calls == 0
    for number, (rgb, box) in enumerate(moving_square(FRAMES)):
        frame = ArrayFrame(rgb)
        if number == 0:
            session.set_target(frame, box, 0, id="a")
            session.set_target(frame, np.array([40.0, 40.0, 30.0, 20.0]), 0, id="b")
            assert engine.template_calls == 2
        else:
            tracks = session.update(frame, number * 40_000_000)
            assert all(np.isfinite(track.box_xywh).all() for track in tracks.values())
    most = 2 * ((FRAMES - 1) // INTERVAL)
    refreshes = engine.template_calls - 2
    assert refreshes == 0 if NETWORKS[method].update_rule == "none" else 0 < refreshes <= most
    session.clear_target()
    session.update(frame, FRAMES * 40_000_000)
    assert engine.template_calls - 2 == refreshes
