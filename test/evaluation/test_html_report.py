"""The report is one page that is whole, safe, the same every time, and says what the numbers say."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic import moving_square
from tracked import shifted, tracked, walk

from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.report.html import write_csv, write_figures, write_report
from distill_tracker_ros.evaluation.report.results import Results, sequence_rows
from distill_tracker_ros.evaluation.runs import Run, TrackedSequence
from distill_tracker_ros.evaluation.sequences import Frames, NoFrames
from distill_tracker_ros.evaluation.summary import comparison, summary

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Kept(Frames):
    """30 frames of a moving square."""

    def __init__(self) -> None:
        self._frames = [rgb for rgb, _ in moving_square(frames=30)]

    def __len__(self) -> int:
        return len(self._frames)

    def _read(self, index: int) -> np.ndarray:
        return self._frames[index]


class Page(HTMLParser):
    """A page, whose tags must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def square(name: str = "square", lost: slice = slice(0), **fields) -> TrackedSequence:
    """30 frames of which the boxes of some are far off."""
    truth = np.array([box for _, box in moving_square(frames=30)])
    boxes = truth.copy()
    boxes[lost, :2] += 120
    return tracked(name, truth, boxes, **fields)


def two_runs() -> list[Run]:
    """Eight sequences; ours lost one of them, theirs are all a little off."""
    names = [f"walk{seed}" for seed in range(7)]
    attributes = [("occlusion",), ("occlusion", "night"), *[()] * 5]
    confidence = np.linspace(0.3, 1, 40)
    events = ("", "view", "", "view+activation") * 10
    ours = [
        tracked(name, walk(seed=seed), confidence=confidence, attributes=attributes[seed], events=events)
        for seed, name in enumerate(names)
    ]
    theirs = [
        tracked(name, walk(seed=seed), shifted(walk(seed=seed), 9), attributes=attributes[seed])
        for seed, name in enumerate(names)
    ]
    lost = slice(12, None)
    states = [TrackState.TRACKING] * 15 + [TrackState.LOST] * 15
    return [
        Run(
            "ours",
            [*ours, square(lost=lost, states=states, rate_hz=10.0)],
            {"label": "ours", "date": "2031-02-03"},
        ),
        Run("theirs", [*theirs, square()], {"label": "theirs", "model": {"name": "x"}}),
    ]


def page_of(folder: Path, runs: list[Run], *arguments, **options) -> Page:
    write_report(folder / "report.html", runs, *arguments, **options)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def images(name: str) -> Frames | None:
    return Kept() if name == "square" else None


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(tmp_path_factory.mktemp("report"), two_runs(), images, "Squares & walks")


def test_the_same_runs_give_the_same_bytes(tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, two_runs()[:1], images)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_it_needs_nothing_from_outside(page: Page):
    linked = [
        value for name in ("src", "href", "xlink:href", "srcset", "data") for value in page.values(name)
    ]
    assert linked
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in linked)
    assert not any(re.search(r"url\((?!#)|https?:|@import", style) for style in page.values("style"))
    assert page.tags["link"] == page.tags["iframe"] == 0
    assert page.tags["script"] == page.tags["style"] == 1
    assert "default-src 'none'" in " ".join(page.values("content"))


def test_marks_are_unique_and_links_lead_to_one(page: Page):
    ids = Counter(page.values("id"))
    assert max(ids.values()) == 1
    links = {link for name in ("href", "xlink:href") for link in page.values(name)}
    assert {link.removeprefix("#") for link in links} <= ids.keys()


def test_all_sections_are_there(page: Page):
    sections = {
        "summary",
        "curves",
        "comparison",
        "attributes",
        "sequences",
        "losses",
        "confidence",
        "speed",
        "timelines",
    }
    assert sections <= set(page.values("id"))
    assert {f"#{name}" for name in sections} <= set(page.values("href"))
    assert "problems" not in page.values("id")


def test_it_says_what_was_run(page: Page):
    assert "Squares & walks" in page.text
    assert "8 sequences" in page.text
    assert "310 frames" in page.text
    assert "2031-02-03" in page.text
    assert '{"name": "x"}' in page.text
    assert "the policy is clean : frames without a true box are left out" in page.text


def test_the_numbers_are_those_of_the_summary(page: Page):
    for run in two_runs():
        found = summary(run)
        assert f"{found['success_auc']:.3f}" in page.text
        assert f"{found['got10k']['ao']:.3f}" in page.text
        assert f"{found['compat']['success_auc']:.3f}" in page.text
        low, high = found["success_auc_interval"]
        assert f"{low:.3f} to {high:.3f}" in page.text
    verdict = comparison(*two_runs())["scores"]["success_auc"]
    assert f"ours: {verdict['verdict']}." in page.text
    assert f"{verdict['difference']:+.3f}".replace("-", "−") in page.text
    assert "ahead on 7, behind on 1 of 8 sequences" in page.text


def test_the_worst_sequence_comes_first(page: Page):
    timelines = re.findall(r"(walk\d|square) 0\.\d{3} 0\.\d{3}", page.text)
    assert timelines[0] == "square"
    assert len(timelines) == 8


def test_a_run_of_the_live_node(tmp_path: Path):
    page_of(tmp_path, [replace(run, conditions={"protocol": "live"}) for run in two_runs()])
    assert "Through the live node" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_first_run_is_what_the_report_is_about(tmp_path: Path):
    """Not the one that does worst: a peer of old would hide what the tracker of interest does."""
    truth = square()
    ours, weak, baseline = (
        Run(label, [replace(truth, boxes_xywh=truth.truth_xywh + [shift, 0, 0, 0])])
        for label, shift in (("ours", 3.0), ("weak", 60.0), ("strong", 0.0))
    )
    (row,) = sequence_rows(Results([ours, weak, baseline]))
    assert row.subject == "ours"
    assert row.difference == pytest.approx(row.aucs["ours"] - row.aucs["strong"])


def test_a_loss_is_shown(page: Page):
    assert "lost at 12" in page.text
    assert "Lost in frame 12 of 30, not found again." in page.text
    assert page.tags["img"] == 6
    assert "frame 12 IoU 0.00" in page.text
    assert "frame 18 IoU 0.00 · LOST" in page.text


def test_times_are_told_and_the_best_is_marked(tmp_path: Path):
    step_ms = np.linspace(10, 40, 30)
    slow = Run("slow", [square(step_ms=step_ms)])
    fast = Run("fast", [square(step_ms=step_ms / 10)])
    page_of(tmp_path, [slow, fast])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r'<td class="(best)?" data-value="[^"]+">([\d.]+)</td>', text)
    for found, mark in ((summary(fast), "best"), (summary(slow), "")):
        for key in ("latency_ms_median", "latency_ms_p95", "fps"):
            assert (mark, f"{found[key]:.1f}") in cells
        for key in ("before_ms_median", "engine_ms_median", "after_ms_median", "latency_ms_p95"):
            assert ("", f"{found[key]:.2f}") in cells


def test_the_number_of_strips_is_bounded(tmp_path: Path):
    run = Run("ours", [square(f"s{n}", slice(5 + n, None)) for n in range(5)])
    assert page_of(tmp_path, [run], lambda name: Kept(), strips=2).text.count("Lost in frame") == 2


def test_sequences_that_were_not_lost_have_few_pictures(tmp_path: Path):
    run = Run("ours", [square(f"s{n}") for n in range(5)])
    assert page_of(tmp_path, [run], lambda name: Kept()).text.count("Not lost") == 3


@pytest.mark.parametrize(
    "unavailable",
    [lambda name: None, lambda name: NoFrames(30, "no images"), lambda name: Kept()[:5], None],
    ids=["none", "unreadable", "too few", "no images"],
)
def test_without_images_there_are_no_pictures(unavailable, tmp_path: Path):
    page = page_of(tmp_path, [Run("ours", [square(lost=slice(12, None))])], unavailable)
    assert page.tags["img"] == 0
    assert "losses" not in page.values("id")


def test_names_are_escaped(tmp_path: Path):
    label = f"a & \"b\" 'c' $x_$ {EVIL}"
    ours = Run(
        label, [square(EVIL, slice(12, None), attributes=(EVIL,), broken=EVIL)], {"model": EVIL, EVIL: [EVIL]}
    )
    theirs = Run(EVIL, [square(EVIL)])
    page = page_of(tmp_path, [ours, theirs], lambda name: Kept(), f"{EVIL}</title><b>", baseline=label)
    assert page.tags["script"] == 1
    assert (
        page.tags["b"]
        == page_of(tmp_path, [ours, theirs], lambda name: Kept(), "title", baseline=label).tags["b"]
    )
    assert page.text.count(EVIL) > 10
    assert label in page.text
    write_figures(tmp_path, [ours, theirs])


HOSTILE = " ".join(
    (
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</title></style></script><script>alert(1)</script>",
        "</text></svg><svg onload=alert(1)>",
        "]]><iframe src=//x>",
        "javascript:alert(1)",
        "{{ 7 * 7 }}{% raw %}",
        "&lt;b&gt;&#60;b&#62;",
        "$\\frac{$ %s \x00\u202e",
    )
)


@pytest.mark.parametrize("text", [HOSTILE, "<!--"])
def test_no_name_becomes_an_element_or_an_attribute(text: str, tmp_path: Path):
    """Of trackers, sequences, attributes, reasons, and what is free text in a manifest or in run.json."""

    def made(name: str) -> Page:
        conditions = {"model": {"name": name, "provenance": {name: [name]}}, "date": name, name: name}
        lost = slice(12, None)
        ours = Run(f"ours {name}", [square(name, lost, attributes=(name,), broken=name)], conditions)
        return page_of(tmp_path, [ours, Run(f"theirs {name}", [square(name)])], lambda _: Kept(), name)

    hostile, plain = made(text), made("plain")
    assert hostile.tags == plain.tags
    assert {name for name, _ in hostile.attributes} == {name for name, _ in plain.attributes}
    links = [value for name in ("href", "src", "xlink:href") for value in hostile.values(name)]
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in links)


def test_the_baseline_can_be_named(tmp_path: Path):
    assert "Against ours" in page_of(tmp_path, two_runs(), baseline="ours").text
    with pytest.raises(ValueError, match="no run 'x'"):
        write_report(tmp_path / "x.html", two_runs(), baseline="x")


def test_another_policy_is_named(tmp_path: Path):
    hidden = square(visible=[True] * 20 + [False] * 10)
    text = page_of(tmp_path, [Run("ours", [hidden])], policy="compat-default").text
    assert "the policy is compat-default : frames without a true box count as failures" in text
    assert text.index("compat-default : frames") < text.index("clean : frames")
    assert f"{2 / 3 * 20 / 21:.3f}" in text
    assert f"{20 / 21:.3f}" in text


def test_what_is_not_whole_is_listed(tmp_path: Path):
    ours = Run(
        "ours",
        [
            square(),
            square("torn", broken="the frames end after 30 of 99"),
            square("dark", visible=[False] * 30),
        ],
    )
    text = page_of(tmp_path, [ours, Run("theirs", [square(), square("extra")])]).text
    assert "torn (ours): the frames end after 30 of 99" in text
    assert "dark (ours) is not scored" in text
    assert "ours has no extra" in text
    assert "theirs has no torn, dark" in text


@pytest.mark.parametrize(
    ("sequence", "missing"),
    [
        (square(), "comparison"),
        (square(), "attributes"),
        (square(confidence=np.nan), "confidence"),
        (square(step_ms=0.0), "speed"),
        (square(step_ms=np.nan), "speed"),
        (square(events=("",) * 30), "losses"),
        (tracked("one frame", walk(1)), "speed"),
    ],
)
def test_what_there_is_not_is_left_out(sequence: TrackedSequence, missing: str, tmp_path: Path):
    page = page_of(tmp_path, [Run("ours", [sequence])])
    assert missing not in page.values("id")
    assert f"#{missing}" not in page.values("href")
    assert "nan" not in page.text.lower()


def test_runs_without_a_sequence_in_common(tmp_path: Path):
    page = page_of(tmp_path, [Run("ours", [square("a")]), Run("theirs", [square("b")])])
    assert "comparison" not in page.values("id")


def test_parts_of_a_sequence_are_one_row(tmp_path: Path):
    parts = [square("s@0", parent="s"), square("s@20-back", slice(12, None), parent="s")]
    text = page_of(tmp_path, [Run("ours", parts, {"protocol": "vot"})]).text
    assert "1 sequence " in text
    assert "from anchors, forwards or backwards (VOT)" in text
    assert "VOT robustness" in text


def test_a_run_that_cannot_be_scored(tmp_path: Path):
    with pytest.raises(ValueError, match="true box"):
        write_report(tmp_path / "x.html", [Run("ours", [square(visible=[False] * 30)])])


def test_the_table_holds_the_numbers(tmp_path: Path):
    write_csv(tmp_path / "results.csv", two_runs(), "compat-uav")
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["sequence"]) for row in rows] == [
        (run.label, tracked.name) for run in two_runs() for tracked in run.sequences
    ]
    for row in rows:
        run = next(run for run in two_runs() if run.label == row["run"])
        found = summary(run, "compat-uav")["per_sequence"][row["sequence"]]
        assert row["policy"] == "compat-uav"
        assert row["attributes"] == ";".join(found.pop("attributes"))
        assert row["broken"] == found.pop("broken")
        assert {key: float(row[key]) for key in found} == found


def test_figures_are_files(tmp_path: Path):
    write_figures(tmp_path, two_runs()[:1])
    names = {"success.png", "precision.png", "normalised_precision.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    write_figures(tmp_path, two_runs())
    assert {path.name for path in tmp_path.iterdir()} == {*names, "comparison.png"}
