"""A recording as a video with boxes and as a plot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ..core.boxes import Boxes
from ..core.frame import Pixels
from ..core.tracker import TrackState
from ..drawing import draw_box, draw_lines, draw_track
from ..evaluation.metrics import overlap
from ..evaluation.report.plots import track_plot
from ..video import VideoWriter
from .recording import Recording, Report


def draw_video(
    path: Path, frames: Iterable[Pixels], recording: Recording, truth_xywh: Boxes | None, rate_hz: float
) -> None:
    """The frames (RGB) with the box that the user had at each; the truth is the thin white one."""
    rows = list(zip(recording.boxes_xywh, recording.by_frame, strict=True))
    with VideoWriter(path, rate_hz) as video:
        for index, rgb in enumerate(tqdm(frames, desc="tracking.mp4", unit="frame", disable=None)):
            if index == len(rows):
                break
            box, report = rows[index]
            picture = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            if truth_xywh is not None:
                draw_box(picture, truth_xywh[index])
            confidence, state = _shown(index, report)
            label = "" if report or index == 0 else "dropped"
            draw_track(picture, box, label, confidence, state)
            draw_lines(picture, [f"frame {index + 1} of {len(rows)}", *_lines(report)])
            video.write(picture)


def draw_plot(path: Path, recording: Recording, truth_xywh: Boxes | None, title: str) -> None:
    """Confidence and overlap over time, doubtful times shaded."""
    reports = recording.by_frame
    track_plot(
        path,
        recording.seconds,
        [1.0, *(report.confidence if report else np.nan for report in reports[1:])],
        [TrackState.TRACKING, *(report.state if report else None for report in reports[1:])],
        None if truth_xywh is None else overlap(recording.boxes_xywh, truth_xywh),
        title,
    )


def _shown(index: int, report: Report | None) -> tuple[float, TrackState]:
    if report:
        return report.confidence, report.state
    return (1.0, TrackState.TRACKING) if index == 0 else (0.0, TrackState.UNCERTAIN)


def _lines(report: Report | None) -> list[str]:
    return [f"latency {report.latency_ms:.0f} ms"] if report and np.isfinite(report.latency_ms) else []
