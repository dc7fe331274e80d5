"""All numbers of a run: they are JSON, and agree with the functions that they come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tracked import shifted, tracked, walk

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation import calibration, got10k, long_term, vot
from distill_tracker_ros.evaluation.metrics import mean, score
from distill_tracker_ros.evaluation.runs import Run, TrackedSequence
from distill_tracker_ros.evaluation.statistics import mean_interval
from distill_tracker_ros.evaluation.summary import comparison, summary

SCORES = ("success_auc", "precision_20px", "norm_precision", "norm_precision_auc", "op50", "op75")


def noisy(name: str, seed: int, frames: int = 60, hidden: tuple[int, ...] = (), **fields) -> TrackedSequence:
    """Boxes near the truth, and a confidence that has to do with it."""
    rng = np.random.default_rng(seed)
    truth = walk(frames, seed)
    boxes = np.abs(truth + rng.normal(0, 12, truth.shape))
    truth[list(hidden)] = np.nan
    return tracked(name, truth, boxes, confidence=rng.uniform(0.3, 1, frames).round(3), **fields)


def run(*sequences: TrackedSequence, label: str = "mine", **conditions) -> Run:
    return Run(label, sequences or [noisy(f"s{seed}", seed) for seed in range(8)], conditions)


def test_the_means_are_those_of_the_sequences():
    found = json.loads(json.dumps(summary(run(), "compat-uav"), allow_nan=False))
    curves = [score(s.boxes_xywh, s.truth_xywh, "compat-uav") for s in run().sequences]
    whole = mean(curves)
    assert (found["label"], found["policy"], found["sequences"], found["frames"]) == (
        "mine",
        "compat-uav",
        8,
        480,
    )
    for key, value in zip(
        SCORES,
        (
            whole.success_auc,
            whole.precision_20px,
            whole.normalised_precision_020,
            whole.normalised_precision_auc,
            whole.op50,
            whole.op75,
        ),
        strict=True,
    ):
        each = [s[key] for s in found["per_sequence"].values()]
        assert found[key] == value == pytest.approx(np.mean(each))
        assert found[f"{key}_interval"] == list(mean_interval(each))
        assert found[f"{key}_interval"][0] < value < found[f"{key}_interval"][1]
    assert found["per_sequence"]["s3"]["success_auc"] == curves[3].success_auc
    assert found["curves"]["success"] == whole.success.tolist()
    assert found["curves"]["precision"] == whole.precision.tolist()
    assert found["curves"]["norm_precision"] == whole.normalised_precision.tolist()


def test_the_other_policy_is_told_beside():
    found = summary(run(noisy("a", 1, hidden=(3, 4, 5)), noisy("b", 2)))
    assert (found["policy"], found["compat"]["policy"]) == ("clean", "compat-default")
    assert (found["frames"], found["compat"]["frames"]) == (117, 120)
    assert found["compat"]["success_auc"] < found["success_auc"]
    assert found["compat"]["norm_precision"] != found["norm_precision"]


def test_labels_of_presence_are_respected():
    labelled = noisy("a", 1, frames=5, visible=[True, True, False, True, False])
    assert summary(run(labelled))["frames"] == 3


def test_speed_is_that_of_the_whole_without_first_frames():
    steps = [1000.0, 10.0, 10.0, 40.0], [1000.0, 20.0]
    found = summary(run(*(tracked(f"s{i}", walk(len(ms)), step_ms=ms) for i, ms in enumerate(steps))))
    assert found["fps"] == pytest.approx(4 / 0.080)
    assert found["latency_ms_median"] == 15.0
    assert found["latency_ms_p95"] == pytest.approx(np.percentile([10, 10, 40, 20], 95))
    assert (found["before_ms_median"], found["engine_ms_median"]) == (3.75, 7.5)
    assert found["per_sequence"]["s1"]["fps"] == pytest.approx(50.0)


@pytest.mark.parametrize("frames, step_ms", [(1, 4.0), (3, np.nan), (3, 0.0)])
def test_speed_that_is_not_known(frames: int, step_ms: float):
    found = json.loads(json.dumps(summary(run(tracked("a", walk(frames), step_ms=step_ms))), allow_nan=False))
    assert found["fps"] is None
    assert found["got10k"] is None or frames > 1


def test_attributes_have_their_own_means():
    found = summary(
        run(
            noisy("a", 1, attributes=("fast", "small")),
            noisy("b", 2, attributes=("fast",)),
            noisy("c", 3),
        )
    )
    assert list(found["attributes"]) == ["fast", "small"]
    each = found["per_sequence"]
    assert found["attributes"]["fast"]["sequences"] == 2
    assert found["attributes"]["fast"]["op50"] == pytest.approx((each["a"]["op50"] + each["b"]["op50"]) / 2)
    assert found["attributes"]["small"]["success_auc"] == each["a"]["success_auc"]
    assert (each["a"]["attributes"], each["c"]["attributes"]) == (["fast", "small"], [])


def test_parts_of_a_sequence_count_as_one():
    parts = [noisy("a@0", 1, parent="a"), noisy("a@30", 2, parent="a"), noisy("b@0", 3, parent="b")]
    found = summary(run(*parts, protocol="tre"))
    curves = [score(p.boxes_xywh, p.truth_xywh) for p in parts]
    assert (found["sequences"], found["frames"], list(found["per_sequence"])) == (2, 180, ["a", "b"])
    assert found["success_auc"] == pytest.approx(
        ((curves[0].success_auc + curves[1].success_auc) / 2 + curves[2].success_auc) / 2
    )
    assert found["vot"] is None


def test_the_protocol_of_vot_has_its_numbers():
    parts = [
        noisy("a@0", 1, 150, parent="a"),
        noisy("a@50", 2, 100, parent="a"),
        noisy("b@0", 3, 40, parent="b"),
    ]
    found = summary(run(*parts, protocol="vot"))
    expected = vot.score({"a": parts[:2], "b": parts[2:]})
    assert found["protocol"] == "vot"
    assert found["vot"]["accuracy"] == expected.accuracy
    assert found["vot"]["robustness"] == expected.robustness
    assert (found["vot"]["eao"], found["vot"]["eao_range"]) == (expected.eao, [115, 150])
    assert len(found["vot"]["eao_curve"]) == 149
    assert summary(run(noisy("a@0", 1, 40, parent="a"), protocol="vot"))["vot"]["eao"] is None


def test_the_other_families_of_numbers():
    sequences = [noisy("a", 1, hidden=(20, 21)), noisy("b", 2)]
    found = json.loads(json.dumps(summary(run(*sequences)), allow_nan=False))
    pooled = got10k.score(sequences)
    assert found["got10k"]["ao"] == pooled.average_overlap
    assert (found["got10k"]["sr50"], found["got10k"]["sr75"]) == (pooled.sr50, pooled.sr75)
    absence = long_term.score(sequences)
    assert found["long_term"]["by_state"]["f"] == absence.by_state.f
    assert found["long_term"]["best"]["f"] == max(d.f for d in absence.by_confidence)
    assert found["long_term"]["best"]["threshold"] in found["long_term"]["curve"]["threshold"]
    table = calibration.score(sequences)
    assert found["calibration"]["expected_error"] == table.expected_error
    assert [row["frames"] for row in found["calibration"]["bins"]] == table.frames.tolist()
    assert found["calibration"]["bins"][0] == {
        "from": 0.0,
        "to": 0.1,
        "frames": 0,
        "confidence": None,
        "right": None,
        "overlap": None,
    }


def test_what_makes_no_sense_is_none():
    found = summary(run(tracked("a", confidence=np.nan, states=TrackState.TRACKING)))
    assert found["long_term"] is found["calibration"] is found["vot"] is None
    away = tracked("a", [[1, 1, 9, 9]] * 3 + [[np.nan] * 4], np.ones((4, 4)), confidence=np.nan)
    assert summary(run(away))["long_term"]["best"] is None


def test_sequences_without_a_start_are_listed():
    late, never = noisy("late", 1, hidden=(0,)), noisy("never", 2, frames=3, hidden=(0, 1, 2))
    found = summary(run(late, never, noisy("good", 3)))
    assert found["excluded"] == {"late": "no true box in its first frame", "never": "no true box"}
    assert list(found["per_sequence"]) == ["good"]
    with pytest.raises(ValueError, match="no sequence has a true box"):
        summary(run(late, never))
    with pytest.raises(ValueError, match="no sequence has a true box"):
        summary(Run("mine", []))


def test_a_sequence_that_broke_off_says_so():
    found = summary(run(noisy("a", 1, broken="frame 60: the disk is full"), noisy("b", 2)))
    assert found["per_sequence"]["a"]["broken"] == "frame 60: the disk is full"
    assert found["per_sequence"]["b"]["broken"] == ""


def test_a_bad_prediction_names_sequence_and_frame():
    boxes = walk(5)
    boxes[3] = np.nan
    with pytest.raises(ValueError, match="^b: prediction 3 is"):
        summary(run(noisy("a", 1), tracked("b", walk(5), boxes)))


def test_a_comparison_is_paired_by_name():
    ours, theirs = run(), run(*reversed(run().sequences), noisy("more", 9), label="theirs")
    found = json.loads(json.dumps(comparison(ours, theirs), allow_nan=False))
    assert (found["label"], found["baseline"], found["sequences"]) == ("mine", "theirs", 8)
    assert found["left_out"] == ["more"]
    assert found["scores"]["success_auc"]["difference"] == 0.0
    assert found["scores"]["success_auc"]["verdict"].startswith("no difference")


def test_a_comparison_tells_which_is_better():
    worse = [tracked(s.name, s.truth_xywh, shifted(s.boxes_xywh, 20)) for s in run().sequences]
    found = comparison(run(), run(*worse, label="worse"))["scores"]["success_auc"]
    assert found["verdict"] == "better"
    assert found["difference"] == pytest.approx(found["mean"] - found["baseline"])
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    back = comparison(run(*worse, label="worse"), run())
    assert back["scores"]["success_auc"]["verdict"] == "worse"
    assert sum(s["success_auc"] for s in back["per_sequence"].values()) / 8 == pytest.approx(
        -found["difference"]
    )


def test_runs_on_other_sequences_cannot_be_compared():
    with pytest.raises(ValueError, match="mine and theirs have no sequence in common"):
        comparison(run(noisy("a", 1)), run(noisy("b", 1), label="theirs"))


def test_absences_are_told_one_by_one_and_in_all():
    states = [TrackState.TRACKING] * 22 + [TrackState.LOST] * 38
    away = noisy("a", 1, hidden=tuple(range(20, 30)), states=states)
    found = json.loads(json.dumps(summary(run(away, noisy("b", 2))), allow_nan=False))["absence"]
    assert (found["absences"], found["said_lost"], found["returns"], found["found_again"]) == (1, 1, 1, 0)
    assert found["lost_after_s_median"] == found["lost_after_s_longest"] == pytest.approx(0.2)
    assert (found["claimed_share"], found["found_after_s_median"]) == (pytest.approx(0.2), None)
    assert [each["first"] for each in found["each"]] == [20]
    assert summary(run())["absence"]["claimed_share"] is None
