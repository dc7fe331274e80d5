"""Trackers to compare with: those of OpenCV, and the first box repeated.

They are opened from a short text (`open_baseline`), so that a worker process needs nothing else.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import boxes
from ..core.boxes import Boxes
from ..core.frame import Frame, Pixels
from ..core.tracker import Track, TrackState, describe_change
from .replay import SequenceTracker, Step

BASELINES = ("repeat", "kcf", "csrt", "mil", "nano:BACKBONE.onnx,HEAD.onnx", "vit:MODEL.onnx")

# OpenCV's MIL looks for ever for a feature that fits into a box of 4 x 4 pixels.
LEAST_SIDE_PX = 5

CONTRIB = "opencv-contrib-python-headless==4.11.0.86"


class BaselineError(ValueError):
    """A tracker to compare with that cannot be opened or started; the text says what is accepted."""


class RepeatFirst:
    """Says for ever that the target is where it was: what a tracker must at least beat."""

    label = "first box"

    def start(self, frame: Frame, box_xywh: ArrayLike, stamp_ns: int) -> Step:
        """See SequenceTracker. Raises BaselineError: that is no box."""
        box = _checked(box_xywh, frame)
        self._track = Track(box, math.nan, TrackState.TRACKING, stamp_ns, stamp_ns, 0)
        return _step(self._track)

    def step(self, frame: Frame, stamp_ns: int) -> Step:
        """See SequenceTracker."""
        self._track = _seen(self._track, self._track.box_xywh, math.nan, stamp_ns)
        return _step(self._track)


class OpenCvTracker:
    """A tracker of OpenCV.

    OpenCV takes whole pixels: the given box goes in with its corners at the nearest ones, cut to the
    frame, no side below `LEAST_SIDE_PX`. A target that is not found keeps its last box, UNCERTAIN. The
    confidence is OpenCV's tracking score, nan for trackers that have none. Milliseconds are those of
    OpenCV's own call, without making the BGR picture that it wants.
    """

    def __init__(self, label: str, make: Callable[[], cv2.Tracker]) -> None:
        """`make` is called for every sequence: a tracker of OpenCV cannot be used twice."""
        self.label = label
        self._make = make

    def start(self, frame: Frame, box_xywh: ArrayLike, stamp_ns: int) -> Step:
        """See SequenceTracker. Raises BaselineError: that is no box, or OpenCV cannot start on it."""
        box = _checked(box_xywh, frame)
        self._tracker = self._make()
        self._frame_size = (frame.width, frame.height)
        bgr, whole = _bgr(frame), whole_pixels(box, frame.width, frame.height)
        began = time.perf_counter_ns()
        try:
            self._tracker.init(bgr, whole)
        except cv2.error as error:
            raise BaselineError(
                f"{self.label} cannot start on the box {whole} (x, y, w, h) of a frame of "
                f"{frame.width}x{frame.height}: {_reason(error)}"
            ) from error
        ended = time.perf_counter_ns()
        given_confidence = 1.0 if hasattr(self._tracker, "getTrackingScore") else math.nan
        self._track = Track(box, given_confidence, TrackState.TRACKING, stamp_ns, stamp_ns, 0)
        return _step(self._track, (ended - began) / 1e6)

    def step(self, frame: Frame, stamp_ns: int) -> Step:
        """See SequenceTracker. Raises BaselineError: the frame has another size."""
        size = (frame.width, frame.height)
        if size != self._frame_size:
            raise BaselineError(
                f"{describe_change(self._frame_size, size)}: {self.label} needs frames of one size"
            )
        bgr = _bgr(frame)
        began = time.perf_counter_ns()
        try:
            found, box = self._tracker.update(bgr)
        except cv2.error:  # an assertion of OpenCV; ending here would keep lost frames out of the score
            found, box = False, (0, 0, 0, 0)
        ended = time.perf_counter_ns()
        score = getattr(self._tracker, "getTrackingScore", lambda: math.nan)()
        if found and min(box[2:]) > 0:
            self._track = _seen(self._track, np.array(box, np.float64), score, stamp_ns)
        else:
            self._track = _missed(self._track, score, stamp_ns)
        return _step(self._track, (ended - began) / 1e6)


def open_baseline(text: str) -> SequenceTracker:
    """A tracker by one of the forms in `BASELINES`.

    Raises:
        BaselineError: the form is another, a file is missing or no network for it, or this OpenCV lacks it.
    """
    name, _, listed = text.partition(":")
    files = [Path(file).expanduser() for file in listed.split(",")] if listed else []
    for file in files:
        if not file.is_file():
            raise BaselineError(f"{text!r}: there is no file {file}")
    match name, files:
        case "repeat", []:
            return RepeatFirst()
        case "kcf", []:
            return OpenCvTracker("KCF", _maker("TrackerKCF_create"))
        case "csrt", []:
            return OpenCvTracker("CSRT", _maker("TrackerCSRT_create"))
        case "mil", []:
            return OpenCvTracker("MIL", _make_mil)
        case "nano", [backbone, head]:
            return _with_networks("NanoTrack", partial(_make_nano, str(backbone), str(head)), files)
        case "vit", [model]:
            return _with_networks("ViTTrack", partial(_make_vit, str(model)), files)
    raise BaselineError(f"{text!r} is no tracker to compare with: give one of {' | '.join(BASELINES)}")


def whole_pixels(box_xywh: ArrayLike, width: int, height: int) -> tuple[int, int, int, int]:
    """The box as OpenCV gets it: corners at the nearest pixels, inside the frame, sides not too small."""
    corners = np.rint(boxes.xywh_to_xyxy(box_xywh))
    x, y, w, h = boxes.clip(boxes.xyxy_to_xywh(corners), width, height, LEAST_SIDE_PX)
    return int(x), int(y), int(w), int(h)


def _maker(create: str) -> Callable[..., cv2.Tracker]:
    make: Callable[..., cv2.Tracker] | None = getattr(cv2, create, None)
    if make is None:
        raise BaselineError(
            f"OpenCV {cv2.__version__}, as installed, has no {create}: take out its package and "
            f"`pip install {CONTRIB}`"
        )
    return make


def _make_mil() -> cv2.Tracker:
    """MIL draws its features with the C library's generator and its samples with OpenCV's own."""
    ctypes.CDLL(None).srand(1)
    cv2.setRNGSeed(1)
    return cv2.TrackerMIL.create()


def _make_nano(backbone: str, head: str) -> cv2.Tracker:
    create = _maker("TrackerNano_create")
    params = cv2.TrackerNano.Params()
    params.backbone, params.neckhead = backbone, head
    return create(params)


def _make_vit(model: str) -> cv2.Tracker:
    create = _maker("TrackerVit_create")
    params = cv2.TrackerVit.Params()
    params.net = model
    if (cv2.getVersionMajor(), cv2.getVersionMinor()) >= (4, 11):
        params.stdvalue = _inverse_quaternion(1 / np.array(params.stdvalue[:3]))
    return create(params)


def _inverse_quaternion(values: NDArray[np.float64]) -> tuple[float, ...]:
    """What OpenCV from 4.11 on turns into `values` (three) when it divides 1 by it.

    It means to divide by each standard deviation, but to its C++ the three are a quaternion: the network
    would see two colours negated and all of them at a third of their contrast.
    """
    red, green, blue = values / (values @ values)
    return (red, -green, -blue, 0.0)


def _with_networks(label: str, make: Callable[[], cv2.Tracker], files: list[Path]) -> OpenCvTracker:
    """Tried on an empty picture: later, wrong networks could not be told from a lost target."""
    for file in files:
        _check_readable(file)
    empty = np.zeros((128, 128, 3), np.uint8)
    try:
        tracker = make()
        tracker.init(empty, (48, 48, 32, 32))
        tracker.update(empty)
    except cv2.error as error:
        names = ", ".join(map(str, files))
        raise BaselineError(f"{label} cannot use {names}: {_reason(error)}") from error
    return OpenCvTracker(label, make)


def _check_readable(network: Path) -> None:
    """Read it in another process: some networks that OpenCV does not know end the one that reads them."""
    code = "import sys, cv2; cv2.dnn.readNetFromONNX(sys.argv[1])"
    reader = subprocess.run([sys.executable, "-c", code, str(network)], capture_output=True, text=True)
    if reader.returncode:
        reason = " ".join(reader.stderr.partition("cv2.error: ")[2].split()) or "reading it ends the process"
        raise BaselineError(f"{network} is no ONNX file that this OpenCV can read: {reason}")


def _reason(error: cv2.error) -> str:
    return f"OpenCV says {' '.join(str(error).split())}"


def _bgr(frame: Frame) -> Pixels:
    rgb = frame.cut(0, 0, frame.width, frame.height)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)  # type: ignore[return-value]


def _checked(box_xywh: ArrayLike, frame: Frame) -> Boxes:
    box = np.array(box_xywh, np.float64)
    inside = boxes.intersection(box, frame.width, frame.height)
    if not (np.isfinite(box).all() and box[2:].min() > 0 and inside[2:].min() > 0):
        raise BaselineError(
            f"the box {box.tolist()} (x, y, w, h) must be finite, have a size and lie at least partly in the "
            f"frame of {frame.width}x{frame.height}"
        )
    return box


def _seen(last: Track, box_xywh: Boxes, confidence: float, stamp_ns: int) -> Track:
    return Track(box_xywh, confidence, TrackState.TRACKING, stamp_ns, stamp_ns, last.age_frames + 1)


def _missed(last: Track, confidence: float, stamp_ns: int) -> Track:
    return replace(
        last,
        confidence=confidence,
        state=TrackState.UNCERTAIN,
        stamp_ns=stamp_ns,
        age_frames=last.age_frames + 1,
    )


def _step(track: Track, elapsed_ms: float = 0.0) -> Step:
    return Step(track, 0.0, elapsed_ms, 0.0)
