"""The shipped model scores what its manifest says: the tracker has not changed unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_tracker_ros.command_line import DEFAULT_MODEL
from distill_tracker_ros.evaluation import metrics
from distill_tracker_ros.evaluation.replay import SessionTracker, replay
from distill_tracker_ros.evaluation.sequences import open_sequence
from distill_tracker_ros.runtime.load import find_model, load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest

SEQUENCES = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval"
SHORT = ("uav123_truck4_2", "dtb70_MountainBike6", "otb_Football1")


@pytest.mark.parametrize("name", SHORT)
def test_scores_are_those_of_the_manifest(name: str) -> None:
    if not (SEQUENCES / name).is_dir():
        pytest.skip("needs the benchmark sequences in ../shared/data/eval, which are not part of the project")
    written = read_manifest(find_model(DEFAULT_MODEL) / FILE_NAME).scores["success_auc_by_sequence"][name]
    sequence = open_sequence(SEQUENCES / name)
    assert sequence.truth_xywh is not None
    boxes = replay(SessionTracker(load_engine(DEFAULT_MODEL)), sequence).boxes_xywh
    # Another processor rounds otherwise; a track that is lost or found by it would be a larger difference.
    assert metrics.score(boxes, sequence.truth_xywh).success_auc == pytest.approx(written, abs=0.03)
