"""What a user of the node saw: a row for each frame of the video, and the numbers of the whole. No ROS."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.boxes import Boxes
from ..core.tracker import TrackState
from ..evaluation.metrics import score

COLUMNS = ("frame", "stamp_ns", "x", "y", "w", "h", "confidence", "state", "latency_ms", "processing_ms")


@dataclass(frozen=True)
class Report:
    """What the node told of one frame."""

    box_xywh: NDArray[np.float64]  # frame pixels; of a LOST target the last accepted one
    confidence: float
    state: TrackState
    is_detected: bool  # a detection was published: not for a LOST target
    latency_ms: float  # nan if unknown
    processing_ms: float


@dataclass(frozen=True)
class Recording:
    """A run: the frames that the camera sent, and what came back of each."""

    stamps_ns: Sequence[int]  # of all frames, in order; the target was set on the first
    box_xywh: Boxes  # (4,) the given box
    reports: Mapping[int, Report]  # by stamp; frames that were dropped have none, nor has the first
    model: str
    backend: str

    @property
    def boxes_xywh(self) -> Boxes:
        """(N, 4) the box that a user has at each frame: after a dropped frame it is still the last one."""
        boxes = [np.asarray(self.box_xywh, np.float64)]
        for stamp_ns in self.stamps_ns[1:]:
            report = self.reports.get(stamp_ns)
            boxes.append(report.box_xywh if report else boxes[-1])
        return np.array(boxes)

    @property
    def by_frame(self) -> list[Report | None]:
        """N; None for the first frame and for dropped ones."""
        return [None, *(self.reports.get(stamp_ns) for stamp_ns in self.stamps_ns[1:])]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(N,) since the first frame after the one on which the target was set (which waited for it)."""
        stamps = np.array(self.stamps_ns, np.float64)
        stamps[0] = stamps[1] - np.median(np.diff(stamps[1:])) if len(stamps) > 2 else stamps[-1]
        return np.asarray((stamps - stamps[0]) / 1e9)


def summary(recording: Recording, truth_xywh: ArrayLike | None) -> dict[str, Any]:
    """The numbers of summary.json; those that need a truth are None without it."""
    came = [report for report in recording.by_frame if report]
    seconds = [s for s, report in zip(recording.seconds, recording.by_frame, strict=True) if report]
    curves = score(recording.boxes_xywh, truth_xywh) if truth_xywh is not None else None
    latencies = [report.latency_ms for report in came if np.isfinite(report.latency_ms)]
    duration_s = seconds[-1] - seconds[0] if len(seconds) > 1 else 0.0
    return {
        "frames": len(recording.stamps_ns),
        "detections": sum(report.is_detected for report in came),
        "success_auc": curves.success_auc if curves else None,
        "precision_20px": curves.precision_20px if curves else None,
        "latency_ms_median": _quantile(latencies, 0.5),
        "latency_ms_p95": _quantile(latencies, 0.95),
        "processing_ms_median": _quantile([report.processing_ms for report in came], 0.5),
        "fps": (len(seconds) - 1) / duration_s if duration_s else None,
        "dropped": len(recording.stamps_ns) - 1 - len(came),
        "model": recording.model,
        "backend": recording.backend,
    }


def write_csv(path: Path, recording: Recording) -> None:
    """A row for each frame; `state` is GIVEN for the first frame and DROPPED for dropped ones."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        rows = zip(recording.stamps_ns, recording.boxes_xywh, recording.by_frame, strict=True)
        for index, (stamp_ns, box, report) in enumerate(rows):
            told = ["", "GIVEN" if index == 0 else "DROPPED", "", ""]
            if report:
                times = [f"{report.latency_ms:.3f}", f"{report.processing_ms:.3f}"]
                told = [f"{report.confidence:.4f}", report.state.name, *times]
            writer.writerow([index, stamp_ns, *(f"{v:.3f}" for v in box), *told])


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
