"""Figures as files and as parts of a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure
from tracked import shifted, tracked, walk

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.report import plots
from distill_tracker_ros.evaluation.runs import Run, Times
from distill_tracker_ros.evaluation.summary import summary

COLOURS = plots.run_colours(["ours", "theirs"], "theirs")


def ink(path: Path) -> float:
    """Share of the pixels of a picture that are not white."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return float((picture.min(axis=-1) < 250).mean())


def summaries() -> dict[str, dict]:
    worse = shifted(walk(), 8)
    ours, theirs = Run("ours", [tracked()]), Run("theirs", [tracked(boxes_xywh=worse)])
    return {run.label: summary(run) for run in (ours, theirs)}


def times(before: float, engine: float, after: float) -> Times:
    return Times(*(np.full(9, ms) for ms in (before, engine, after)))


def reliability_figure() -> Figure:
    bins = [{"frames": 3, "confidence": 0.5, "right": 0.9}, {"frames": 0, "confidence": None, "right": None}]
    return plots.reliability_figure("ours", bins, [0.1, 0.5, np.nan], [0.0, 1.0, 0.5], plots.SERIES[0])


def timeline_figure() -> Figure:
    ours = tracked(
        events=("", "view", "activation", "view+activation") * 10,
        states=[TrackState.TRACKING] * 20 + [TrackState.UNCERTAIN] * 10 + [TrackState.LOST] * 10,
        visible=[True] * 30 + [False] * 10,
    )
    return plots.timeline_figure({"ours": ours, "theirs": tracked(confidence=np.nan)}, COLOURS)


FIGURES: dict[str, Callable[[], Figure]] = {
    "success": lambda: plots.curve_figure(plots.SUCCESS, summaries(), COLOURS),
    "precision": lambda: plots.curve_figure(plots.PRECISION, summaries(), COLOURS),
    "normalised": lambda: plots.curve_figure(plots.NORMALISED_PRECISION, summaries(), COLOURS),
    "comparison": lambda: plots.comparison_figure("theirs", {"ours": {"a": 0.1, "b": -0.2}}, COLOURS),
    "reliability": reliability_figure,
    "latency": lambda: plots.latency_figure({"ours": times(0.1, 9, 0.2), "theirs": times(0, 20, 0)}),
    "timeline": timeline_figure,
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_can_be_drawn(name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder):
    for file in ("a.png", "b.png"):
        plots.save_png(FIGURES[name](), tmp_path / file)
    assert ink(tmp_path / "a.png") > 0.005
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not recwarn.list  # of a layout that has no room


@pytest.mark.parametrize("name", FIGURES)
def test_figures_fit_into_a_page(name: str):
    svg = plots.svg(FIGURES[name](), name)
    assert svg == plots.svg(FIGURES[name](), name)
    assert svg.startswith('<svg viewBox="0 0 ')
    assert svg.endswith("</svg>")
    assert f'aria-label="{name}"' in svg
    # nothing that speaks for the whole page, nothing from outside, no colour of one theme alone
    assert not re.search(r"<style|<\?xml|<!|http|<metadata|\b(?:width|height)=\"[\d.]+pt", svg)
    assert "var(--ink)" in svg
    assert not any(colour in svg for colour in plots.THEME)


def test_marks_of_two_figures_do_not_meet():
    one, other = (set(re.findall(r' id="([^"]+)"', plots.svg(FIGURES["success"](), n))) for n in "ab")
    assert one
    assert one.isdisjoint(other)


def test_names_are_text_whatever_they_hold():
    name = 'a$b$ & <i> "x" \\frac{'
    figure = plots.comparison_figure(name, {name: {name: 0.1}}, {name: plots.SERIES[0]})
    svg = plots.svg(figure, name)
    assert 'a$b$ &amp; &lt;i&gt; "x" \\frac{' in svg
    assert "<i>" not in svg


def test_long_names_are_shortened():
    long = "x" * 30 + "MIDDLE" + "y" * 30
    svg = plots.svg(plots.latency_figure({long: times(0, 1, 0)}), "latency")
    assert "MIDDLE" not in svg
    assert f"{'x' * 17}…{'y' * 17}" in svg


def test_the_baseline_is_grey_and_no_other():
    colours = plots.run_colours([str(n) for n in range(12)], "3")
    assert [label for label, colour in colours.items() if colour == plots.BASELINE] == ["3"]
    assert len(set(colours.values())) == len(plots.SERIES) + 1
    assert plots.BASELINE not in plots.run_colours(["a", "b"]).values()


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_bars_begin_with_the_greatest_loss():
    differences = {"ours": {"a": 0.3, "b": -0.2, "c": 0.1}}
    svg = plots.svg(plots.comparison_figure("theirs", differences, COLOURS), "x")
    height = {name: float(re.search(rf'<text[^>]*y="([\d.]+)"[^>]*>{name}</text>', svg)[1]) for name in "abc"}
    assert height["b"] < height["c"] < height["a"]  # y goes down


def test_many_bars_have_no_names():
    differences = {"ours": {f"sequence {n}": n / 200 for n in range(100)}}
    svg = plots.svg(plots.comparison_figure("theirs", differences, COLOURS), "x")
    assert not [text for text in texts(svg) if text.startswith("sequence")]


def test_the_best_comes_first():
    svg = plots.svg(plots.curve_figure(plots.SUCCESS, summaries(), COLOURS), "x")
    names = [text for text in texts(svg) if text.startswith(("ours", "theirs"))]
    assert names[0] == "ours  0.952"
    assert names[1].startswith("theirs")


def test_a_single_sure_frame(tmp_path: Path):
    one = tracked(truth_xywh=walk(1), events=("",))
    plots.save_png(plots.timeline_figure({"ours": one}, COLOURS), tmp_path / "one.png")
    assert ink(tmp_path / "one.png") > 0


def test_doubt_is_shaded(tmp_path: Path):
    seconds = np.arange(10) / 10
    sure = [TrackState.TRACKING] * 10
    doubt = [*sure[:4], TrackState.UNCERTAIN, TrackState.LOST, TrackState.LOST, None, *sure[:2]]
    plots.track_plot(tmp_path / "sure.png", seconds, np.full(10, 0.5), sure)
    plots.track_plot(tmp_path / "doubt.png", seconds, np.full(10, 0.5), doubt, np.full(10, np.nan), "title")
    assert ink(tmp_path / "doubt.png") > ink(tmp_path / "sure.png") + 0.1


def test_a_track_of_one_frame_can_be_drawn(tmp_path: Path):
    plots.track_plot(tmp_path / "one.png", [0.0], [1.0], [TrackState.TRACKING])
    assert ink(tmp_path / "one.png") > 0
