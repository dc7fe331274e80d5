"""Score a student with the drone's own Session, on held-out tracks and on synthetic flights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.evaluation import metrics
from distill_tracker_ros.evaluation.replay import SessionTracker, regular_stamps_ns, steps

from .data.flights import flight
from .data.sources import Footage, ImageStore
from .models.eatrack import EATrackConfig, EATrackStudent
from .spec import eatrack_spec
from .torch_engine import TorchEngine

TRACK_RATE_HZ = 10.0  # the tracks are spaced samples of videos
FLIGHT_RATE_HZ = 30.0


@dataclass(frozen=True)
class Video:
    """Frames with the target's box in each."""

    name: str
    frames: list[NDArray[np.uint8]]
    truth_xywh: Boxes  # (N, 4)
    rate_hz: float


def flights(footage: Sequence[Footage], images: ImageStore, count: int, seed: int) -> list[Video]:
    """Synthetic videos (see data.flights) of objects of the footage, three in each."""
    found = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        objects = [footage[rng.integers(len(footage))].shots[0] for _ in range(3)]
        found.append(Video(f"flight/{number}", *flight(rng, images, objects), FLIGHT_RATE_HZ))
    return found


def held_out_sequences(footage: Sequence[Footage], images: ImageStore, names: Sequence[str]) -> list[Video]:
    """The tracks called `source/name`.

    Raises:
        ValueError: there is no such track (the first missing one is named).
    """
    known = {f"{item.source}/{item.name}": item for item in footage if item.is_video}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"held_out names {missing[0]!r}, which is no video track of the sources")
    return [
        Video(
            name,
            _same_size([images[shot.image] for shot in known[name].shots]),
            np.array([shot.box_xywh for shot in known[name].shots]),
            TRACK_RATE_HZ,
        )
        for name in names
    ]


def _same_size(frames: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Zeros at the right and the bottom: stored crops of a video differ in size, a camera's frames do not."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    return [np.pad(f, ((0, height - f.shape[0]), (0, width - f.shape[1]), (0, 0))) for f in frames]


def validate(student: EATrackStudent, config: EATrackConfig, videos: Sequence[Video]) -> float:
    """Mean success AUC; nan without videos. The student is left in eval mode."""
    if not videos:
        return float("nan")
    engine = TorchEngine(student, eatrack_spec(config, "validated"))
    scores = []
    for video in videos:
        frames, stamps = map(ArrayFrame, video.frames), regular_stamps_ns(len(video.frames), video.rate_hz)
        made = steps(SessionTracker(engine), frames, video.truth_xywh[0], stamps.tolist())
        boxes = [step.track.box_xywh for step in made]
        scores.append(metrics.score(boxes, video.truth_xywh).success_auc)
    return float(np.mean(scores))
