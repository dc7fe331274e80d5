"""Trackers to compare with: how they are opened, what they are given, and that they repeat themselves."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from synthetic import BLUE, RED, moving_square
from tiny_bundle import Nodes, save_graph

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.engine import TensorSpec
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation import baselines
from distill_tracker_ros.evaluation.baselines import (
    BASELINES,
    LEAST_SIDE_PX,
    BaselineError,
    OpenCvTracker,
    RepeatFirst,
    open_baseline,
    whole_pixels,
)
from distill_tracker_ros.evaluation.metrics import centre_error, score
from distill_tracker_ros.evaluation.replay import SequenceTracker, Step, replay
from distill_tracker_ros.evaluation.sequences import open_sequence

DATA = Path(__file__).parents[2].parent / "shared" / "data"
MS = 1_000_000

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, "TrackerCSRT_create"), reason="needs OpenCV with its contrib modules"
)
CLASSICAL = [
    pytest.param("kcf", marks=needs_contrib),
    pytest.param("csrt", marks=needs_contrib),
    "mil",
]


class Scripted:
    """In place of a cv2.Tracker: answers from a list; an answer that is an error is raised."""

    def __init__(self, answers: list[Any], starts: list[Any], scores: list[float] | None = None) -> None:
        self._answers, self._starts = iter(answers), starts
        if scores is not None:
            self.getTrackingScore = iter(scores).__next__

    def init(self, bgr: np.ndarray, box: tuple[int, ...]) -> None:
        self._starts.append((bgr.copy(), box))

    def update(self, bgr: np.ndarray) -> tuple[bool, tuple[int, ...]]:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def frame(colour: tuple[int, int, int] = RED, width: int = 100, height: int = 80) -> ArrayFrame:
    return ArrayFrame(np.full((height, width, 3), colour, np.uint8))


def run(tracker: SequenceTracker, count: int = 15, colour: tuple[int, int, int] = RED, seed: int = 0):
    """Steps on the moving square, and its true boxes."""
    images, truth = zip(*moving_square(count, colour=colour, seed=seed), strict=True)
    made = [tracker.start(ArrayFrame(images[0]), truth[0], 0)]
    made += [tracker.step(ArrayFrame(rgb), 33 * MS * i) for i, rgb in enumerate(images[1:], start=1)]
    return made, np.array(truth)


def boxes_of(steps: list[Step]) -> np.ndarray:
    return np.array([step.track.box_xywh for step in steps])


# The box that is repeated.


def test_the_first_box_is_repeated():
    steps, truth = run(open_baseline("repeat"), 5)
    assert (boxes_of(steps) == truth[0]).all()
    last = steps[-1].track
    assert (last.state, last.stamp_ns, last.last_seen_ns, last.age_frames) == (1, 132 * MS, 132 * MS, 4)
    assert math.isnan(last.confidence)


@pytest.mark.parametrize("tracker", [RepeatFirst(), OpenCvTracker("script", lambda: Scripted([], []))])
@pytest.mark.parametrize(
    "box", [[10, 10, 0, 5], [10, 10, 5, -5], [math.nan, 1, 5, 5], [200, 10, 20, 20], [-30, 10, 30, 20]]
)
def test_what_is_no_box_in_the_frame_is_refused(tracker: SequenceTracker, box: list[float]):
    with pytest.raises(
        BaselineError, match="must be finite, have a size and lie at least partly in .* 100x80"
    ):
        tracker.start(frame(), box, 0)


# What OpenCV gets, and what is made of its answer.


@pytest.mark.parametrize(
    ("box", "whole"),
    [
        ([10, 20, 30, 40], (10, 20, 30, 40)),
        ([10.4, 19.6, 29.9, 40.2], (10, 20, 30, 40)),  # the corners are rounded, not the size
        ([10.4, 20.4, 30.4, 30.4], (10, 20, 31, 31)),
        ([-5.5, -3, 20, 20], (0, 0, 14, 17)),
        ([90, 70, 40, 40], (90, 70, 10, 10)),
        ([50, 40, 0.2, 3], (50, 40, LEAST_SIDE_PX, LEAST_SIDE_PX)),
        ([99, 79, 1, 1], (95, 75, LEAST_SIDE_PX, LEAST_SIDE_PX)),
        ([-10, -10, 300, 300], (0, 0, 100, 80)),
    ],
)
def test_a_box_is_rounded_by_its_corners_and_kept_in_the_frame(box: list[float], whole: tuple[int, ...]):
    found = whole_pixels(box, 100, 80)
    assert found == whole
    assert all(type(v) is int for v in found)


def test_opencv_gets_bgr_and_the_given_box_stays_as_it_is():
    starts: list[Any] = []
    tracker = OpenCvTracker("script", lambda: Scripted([(True, (12, 20, 30, 40))], starts))
    step = tracker.start(frame((200, 100, 50)), [10.4, 19.6, 29.9, 40.2], 7)
    bgr, whole = starts[0]
    assert bgr[0, 0].tolist() == [50, 100, 200]
    assert bgr.shape == (80, 100, 3)
    assert whole == (10, 20, 30, 40)
    assert step.track.box_xywh.tolist() == [10.4, 19.6, 29.9, 40.2]
    assert (step.before_ms, step.after_ms, step.event) == (0, 0, "")
    assert tracker.step(frame(), 8).track.box_xywh.tolist() == [12, 20, 30, 40]


@pytest.mark.parametrize("answer", [(False, (0, 0, 0, 0)), (True, (5, 5, 0, 9)), cv2.error("roi is empty")])
def test_a_target_that_is_not_found_keeps_its_last_box(answer: Any):
    """Also where OpenCV fails on the way: a tracker must not gain by ending before the sequence does."""
    answers = [(True, (12, 20, 30, 40)), answer, (True, (14, 20, 30, 40))]
    tracker = OpenCvTracker("script", lambda: Scripted(answers, []))
    tracker.start(frame(), [10, 20, 30, 40], 0)
    seen, missed, again = (tracker.step(frame(), stamp).track for stamp in (1, 2, 3))
    assert seen.state is again.state is TrackState.TRACKING
    assert missed.state is TrackState.UNCERTAIN
    assert missed.box_xywh.tolist() == [12, 20, 30, 40]
    assert (missed.stamp_ns, missed.last_seen_ns, missed.age_frames) == (2, 1, 2)
    assert (again.last_seen_ns, again.age_frames) == (3, 3)
    assert math.isnan(seen.confidence)


def test_the_confidence_is_the_tracking_score_where_there_is_one():
    answers = [(True, (12, 20, 30, 40)), (False, (0, 0, 0, 0))]
    tracker = OpenCvTracker("script", lambda: Scripted(answers, [], scores=[0.75, 0.125]))
    found = [tracker.start(frame(), [10, 20, 30, 40], 0), tracker.step(frame(), 1), tracker.step(frame(), 2)]
    assert [step.track.confidence for step in found] == [1.0, 0.75, 0.125]


def test_frames_of_another_size_cannot_be_followed():
    tracker = OpenCvTracker("script", lambda: Scripted([], []))
    tracker.start(frame(), [10, 20, 30, 40], 0)
    with pytest.raises(BaselineError, match="changed from 100x80 to 50x40: script needs frames of one size"):
        tracker.step(frame(width=50, height=40), 1)


# OpenCV's own.


@pytest.mark.parametrize("text", CLASSICAL)
def test_the_square_is_followed(text: str):
    steps, truth = run(open_baseline(text))
    overlaps = iou(boxes_of(steps), truth)
    assert overlaps.min() > 0.3
    assert overlaps.mean() > 0.6
    assert {step.track.state for step in steps} == {TrackState.TRACKING}


@pytest.mark.parametrize("text", CLASSICAL)
def test_a_second_run_gives_the_same_boxes(text: str):
    """Whatever was tracked before, by this tracker or by another one."""
    tracker = open_baseline(text)
    first = boxes_of(run(tracker)[0])
    run(tracker, 3, BLUE, seed=1)
    np.testing.assert_array_equal(boxes_of(run(tracker)[0]), first)
    copy = pickle.loads(pickle.dumps(open_baseline(text)))
    np.testing.assert_array_equal(boxes_of(run(copy)[0]), first)


def test_mil_needs_its_seeds():
    """The test above would see it if they were not set."""
    tracker = OpenCvTracker("MIL", cv2.TrackerMIL.create)
    assert (boxes_of(run(tracker)[0]) != boxes_of(run(tracker)[0])).any()


@pytest.mark.parametrize("text", CLASSICAL)
def test_a_tiny_box_neither_hangs_nor_fails(text: str):
    tracker = open_baseline(text)
    images = [rgb for rgb, _ in moving_square(3)]
    tracker.start(ArrayFrame(images[0]), [50, 40, 1, 1], 0)
    for rgb in images[1:]:
        assert tracker.step(ArrayFrame(rgb), 1).track.box_xywh[2:].min() >= 1


def test_a_box_that_opencv_cannot_start_on_is_named():
    with pytest.raises(BaselineError, match=r"MIL cannot start on the box \(0, 0, 100, 80\) .* OpenCV says"):
        open_baseline("mil").start(frame(), [0, 0, 100, 80], 0)


# Trackers with networks. These ones have hardly any weights: they follow what is red.


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def tensor(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32")


def pooled_colour(nodes: Nodes, image: str, weights: list[float], kernel: int) -> str:
    """16 x 16 cells of a weighted sum of the three channels."""
    mixed = nodes.add("Conv", image, floats(*weights), kernel_shape=[1, 1])
    return nodes.add("AveragePool", mixed, kernel_shape=[kernel] * 2, strides=[16] * 2)


def constant(nodes: Nodes, like: str, channels: int, value: float, to: str) -> None:
    zero = nodes.add("Mul", nodes.add("Concat", *[like] * channels, axis=1), floats(0))
    nodes.add("Add", zero, floats(value), to=to)


def unused(nodes: Nodes, name: str) -> str:
    """Zero, made of an input that OpenCV would take out if nothing needed it."""
    return nodes.add("Mul", nodes.add("ReduceMean", name, axes=[1, 2, 3], keepdims=1), floats(0))


def write_vit(path: Path, weights: list[float]) -> str:
    """A score a cell: the sigmoid of a weighted sum of the channels; boxes of a quarter of the region."""
    nodes = Nodes()
    scores = nodes.add("Sigmoid", pooled_colour(nodes, "search", weights, 16))
    nodes.add("Add", scores, unused(nodes, "template"), to="output1")
    constant(nodes, scores, 2, 0.25, to="output2")
    constant(nodes, scores, 2, 0.5, to="output3")
    inputs = tensor("template", 3, 128, 128), tensor("search", 3, 256, 256)
    outputs = tensor("output1", 1, 16, 16), tensor("output2", 2, 16, 16), tensor("output3", 2, 16, 16)
    save_graph(path, nodes, inputs, outputs, batch=1)
    return f"vit:{path}"


def write_nano(folder: Path) -> str:
    backbone, head = Nodes(), Nodes()
    red = pooled_colour(backbone, "input", [2, -1, -1], 15)
    backbone.add("Identity", red, to="output")
    inputs, outputs = (tensor("input", 3, 255, 255),), (tensor("output", 1, 16, 16),)
    save_graph(folder / "backbone.onnx", backbone, inputs, outputs, batch=1)
    logits = head.add("Add", head.add("Mul", "input2", floats(0.01)), unused(head, "input1"))
    head.add("Concat", head.add("Mul", logits, floats(-1)), logits, axis=1, to="output1")
    constant(head, logits, 4, 32, to="output2")
    inputs = tensor("input1", 1, 8, 8), tensor("input2", 1, 16, 16)
    outputs = tensor("output1", 2, 16, 16), tensor("output2", 4, 16, 16)
    save_graph(folder / "head.onnx", head, inputs, outputs, batch=1)
    return f"nano:{folder}/backbone.onnx,{folder}/head.onnx"


RED_IN_BGR = [-1.0, -1.0, 2.0]  # TrackerVit does not change the order of the channels, TrackerNano does


@pytest.mark.parametrize("kind", ["vit", "nano"])
def test_trackers_with_networks_follow_their_colour(tmp_path: Path, kind: str):
    text = write_vit(tmp_path / "vit.onnx", RED_IN_BGR) if kind == "vit" else write_nano(tmp_path)
    tracker = open_baseline(text)
    red, truth = run(tracker)
    assert centre_error(boxes_of(red), truth).max() < 24
    confidence = np.array([step.track.confidence for step in red])
    assert confidence[0] == 1
    assert ((confidence > 0.5) & (confidence <= 1)).all()
    np.testing.assert_array_equal(boxes_of(run(tracker)[0]), boxes_of(red))
    blue, truth = run(tracker, colour=BLUE)
    assert centre_error(boxes_of(blue), truth)[-1] > 24


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_network_of_vit_sees_normalised_colours(tmp_path: Path, channel: int):
    """If this fails with a newer OpenCV, it may have mended what `_inverse_quaternion` works around."""
    mean, deviation = (0.485, 0.456, 0.406)[channel], (0.229, 0.224, 0.225)[channel]
    weights = [0.1 * (index == channel) for index in range(3)]
    tracker = open_baseline(write_vit(tmp_path / "vit.onnx", weights))
    window = math.sin(math.pi * 8 / 17) ** 4  # OpenCV's Hann window in the middle cells
    for value in (0, 255):
        rgb = np.full((400, 400, 3), 100, np.uint8)
        rgb[..., 2 - channel] = value  # the channels are in the order of OpenCV
        tracker.start(ArrayFrame(rgb), [180, 180, 40, 40], 0)
        score_of_cell = tracker.step(ArrayFrame(rgb), 1).track.confidence / window
        seen = 10 * math.log(score_of_cell / (1 - score_of_cell))
        assert seen == pytest.approx((value / 255 - mean) / deviation, abs=0.02)


def test_a_vit_tracker_that_sees_nothing_says_so(tmp_path: Path):
    tracker = open_baseline(write_vit(tmp_path / "vit.onnx", [-5.0, -5.0, 5.0]))
    tracker.start(frame(BLUE), [40, 30, 20, 20], 0)
    track = tracker.step(frame(BLUE), 1).track
    assert track.state is TrackState.UNCERTAIN
    assert track.confidence < 0.2
    assert track.box_xywh.tolist() == [40, 30, 20, 20]


@pytest.mark.parametrize("sequence", ["otb_Crossing", "uav123_truck4_2"])
def test_nanotrack_follows_real_targets(sequence: str):
    models, folder = DATA / "peers" / "nanotrack_v2", DATA / "eval" / sequence
    if not (models.is_dir() and folder.is_dir()):
        pytest.skip(f"needs {models} and {folder}")
    tracker = open_baseline(f"nano:{models}/backbone.onnx,{models}/head.onnx")
    part = open_sequence(folder).part(slice(40))
    tracked = replay(tracker, part)
    assert part.truth_xywh is not None
    assert score(tracked.boxes_xywh, part.truth_xywh).success_auc > 0.6
    assert tracked.broken == ""


# Opening.


def test_labels():
    assert [open_baseline(text).label for text in ("repeat", "mil")] == ["first box", "MIL"]


def test_a_worker_needs_the_text_alone(tmp_path: Path):
    code = (
        "import sys; from distill_tracker_ros.evaluation.baselines import open_baseline; "
        "print(open_baseline(sys.argv[1]).label)"
    )
    root = Path(__file__).parents[2]
    text = write_vit(tmp_path / "vit.onnx", RED_IN_BGR)
    worker = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, cwd=root)
    assert worker.stdout == "ViTTrack\n", worker.stderr


@pytest.mark.parametrize("text", ["", "KCF", "siamfc", "nano", "nano:{file}", "kcf:{file}"])
def test_another_form_is_refused_with_the_accepted_ones(text: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    text = text.format(file=tmp_path / "file")
    with pytest.raises(BaselineError) as caught:
        open_baseline(text)
    accepted = " | ".join(BASELINES)
    assert str(caught.value) == f"{text!r} is no tracker to compare with: give one of {accepted}"


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(BaselineError, match=rf"'vit:{tmp_path}/none.onnx': there is no file {tmp_path}/none"):
        open_baseline(f"vit:{tmp_path}/none.onnx")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path):
    file = tmp_path / "readme.onnx"
    file.write_text("not a network")
    with pytest.raises(BaselineError, match=f"{file} is no ONNX file that this OpenCV can read: OpenCV"):
        open_baseline(f"vit:{file}")


def test_networks_of_another_tracker_are_refused(tmp_path: Path):
    backbone, head = write_nano(tmp_path)[len("nano:") :].split(",")
    with pytest.raises(BaselineError, match=rf"NanoTrack cannot use {head}, {backbone}: OpenCV says"):
        open_baseline(f"nano:{head},{backbone}")
    with pytest.raises(BaselineError, match=rf"ViTTrack cannot use {head}: OpenCV says"):
        open_baseline(f"vit:{head}")


def test_a_network_that_ends_the_process_that_reads_it_is_refused():
    """One of our own bundles: OpenCV 4.11 dies of it."""
    bundle = Path(__file__).parents[2] / "models" / "eatrack_nano"
    with pytest.raises(BaselineError, match=r"search\.onnx"):
        open_baseline(f"vit:{bundle}/search.onnx")


@pytest.mark.parametrize(("text", "function"), [("kcf", "TrackerKCF_create"), ("csrt", "TrackerCSRT_create")])
def test_an_opencv_without_the_tracker_says_what_to_install(
    text: str, function: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(cv2, function, raising=False)
    with pytest.raises(BaselineError, match=rf"has no {function}: .* `pip install {baselines.CONTRIB}`"):
        open_baseline(text)
