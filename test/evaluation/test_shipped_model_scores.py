"""The shipped models score what their manifests say: the tracker has not changed unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_tracker_ros.evaluation import metrics
from distill_tracker_ros.evaluation.replay import SessionTracker, replay
from distill_tracker_ros.evaluation.sequences import open_sequence
from distill_tracker_ros.runtime.load import ON_CPU, ON_GPU, find_model, load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest

SEQUENCES = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval"
SHORT = [
    (ON_CPU, "uav123_truck4_2"),
    (ON_CPU, "dtb70_MountainBike6"),
    (ON_CPU, "otb_Football1"),
    (ON_GPU, "otb_Football1"),
]


@pytest.mark.parametrize(("model", "name"), SHORT)
def test_scores_are_those_of_the_manifest(model: str, name: str) -> None:
    if not (SEQUENCES / name).is_dir():
        pytest.skip("needs the benchmark sequences in ../shared/data/eval, which are not part of the project")
    written = read_manifest(find_model(model) / FILE_NAME).scores["success_auc_by_sequence"][name]
    sequence = open_sequence(SEQUENCES / name)
    assert sequence.truth_xywh is not None
    boxes = replay(SessionTracker(load_engine(model)), sequence).boxes_xywh
    # Another processor rounds otherwise; a track that is lost or found by it would be a larger difference.
    assert metrics.score(boxes, sequence.truth_xywh).success_auc == pytest.approx(written, abs=0.03)
