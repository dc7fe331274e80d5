"""Results as tables of text."""

from __future__ import annotations

from distill_tracker_ros.evaluation.report import tables

SCORES = {"success_auc": 0.61234, "precision_20px": 0.8, "norm_precision": 0.7, "op50": 0.6, "op75": None}
FOUND = {
    **SCORES,
    "frames": 30,
    "sequences": 2,
    "success_auc_interval": [0.5, 0.71],
    "compat": {"success_auc": 0.4},
    "latency_ms_median": 4.04,
    "fps": None,
    "per_sequence": {"car": {**SCORES, "frames": 30, "latency_ms_median": 5.0, "fps": 200.0}},
}


def test_a_row_a_tracker():
    header, rows = tables.per_tracker({"ours": FOUND, "theirs": FOUND})
    assert [row[0] for row in rows] == ["ours (2)", "theirs (2)"]
    cells = dict(zip(header, rows[0], strict=True))
    assert cells["success AUC"] == "0.612"
    assert cells["OP75"] == cells["fps"] == "-"
    assert cells["95 % interval"] == "0.500 to 0.710"
    assert (cells["compat AUC"], cells["median ms"]) == ("0.400", "4.0")


def test_a_row_a_sequence():
    header, rows = tables.per_sequence(FOUND)
    assert rows == [("car", "30", "0.612", "0.800", "0.700", "0.600", "-", "5.0", "200.0")]
    assert len(header) == len(rows[0])


def test_differences_have_their_sign_and_verdict():
    each = {"mean": 0.5, "baseline": 0.6, "difference": -0.1, "interval": [-0.2, 0.01], "verdict": "unclear"}
    header, rows = tables.differences(
        {"label": "ours", "baseline": "theirs", "scores": dict.fromkeys(SCORES, each)}
    )
    assert rows[0] == ("success AUC", "0.500", "0.600", "-0.100", "-0.200 to +0.010", "unclear")
    assert header[1:3] == ("ours", "theirs")


def test_columns_are_aligned():
    text = tables.text_table(("name", "n"), [("a", "1000"), ("longer", "2")])
    assert text.splitlines() == ["name       n", "------  ----", "a       1000", "longer     2"]
