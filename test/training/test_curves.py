"""The learning curves: what is read from a log, and that a picture comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.curves import draw_curves, read_curves


def run(folder: Path, text: str = "1,focal,2.0\n2,focal,1.0\n2,validation_success_auc,0.5\n") -> Path:
    folder.mkdir()
    (folder / "log.csv").write_text(text)
    return folder


def test_a_step_that_was_done_again_counts_once(tmp_path: Path) -> None:
    """A run that resumes from a checkpoint repeats the steps after it."""
    curves = read_curves(run(tmp_path / "a", "1,focal,2.0\n2,focal,9.0\n2,focal,1.0\n"))
    steps, values = curves["focal"]
    assert steps.tolist() == [1, 2] and values.tolist() == [2.0, 1.0]


def test_a_run_has_one_colour_in_all_panels(tmp_path: Path) -> None:
    runs = [run(tmp_path / "a", "1,focal,2.0\n"), run(tmp_path / "b", "1,focal,3.0\n5,giou,0.1\n")]
    focal, giou = draw_curves(runs, []).axes
    colours = {line.get_label(): line.get_color() for line in focal.get_lines()}
    assert len(set(colours.values())) == 2
    (alone,) = giou.get_lines()
    assert (alone.get_label(), alone.get_color()) == ("b", colours["b"])
    assert alone.get_xydata().tolist() == [[5, 0.1]]


def test_what_cannot_be_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="log.csv does not exist"):
        read_curves(tmp_path)
    with pytest.raises(ValueError, match="line 2: expected step,name,value"):
        read_curves(run(tmp_path / "bad", "1,focal,2.0\nnonsense\n"))
    with pytest.raises(ValueError, match="'speed'; there are focal, validation_success_auc"):
        draw_curves([run(tmp_path / "a")], ["speed"])
