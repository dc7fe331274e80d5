"""Score a student with the drone's own Session, on held-out tracks and on synthetic flights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.core.engine import Engine
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import Track
from distill_tracker_ros.evaluation import metrics, sequences
from distill_tracker_ros.evaluation.replay import (
    DEFAULT_RATE_HZ,
    SessionTracker,
    regular_stamps_ns,
    steps,
)

from .data.flights import flight
from .data.footage import Footage
from .data.images import ImageStore
from .models.network import Network
from .recipe import Recipe
from .spec import model_spec
from .torch_engine import TorchEngine

SPACED_RATE_HZ = 10.0  # of tracks whose frames are samples far apart


@dataclass(frozen=True)
class Video:
    """Frames, and the target's box in each."""

    name: str
    frames: Sequence[NDArray[np.uint8]]  # RGB, (H, W, 3) each; may be read when asked for
    truth_xywh: Boxes  # (N, 4) frame pixels, nan where the target is not to be seen
    rate_hz: float

    @classmethod
    def of_sequence(cls, sequence: sequences.Sequence) -> Video:
        """Raises ValueError for a sequence without truth."""
        if sequence.truth_xywh is None:
            raise ValueError(f"{sequence.name} has no true boxes to be scored with")
        truth = np.where(sequence.visible[:, None], sequence.truth_xywh, np.nan)
        return cls(sequence.name, sequence.frames, truth, sequence.rate_hz or DEFAULT_RATE_HZ)


def validation_videos(recipe: Recipe, footage: Sequence[Footage], images: ImageStore) -> list[Video]:
    """The recipe's held-out tracks and flights."""
    flown = flights(footage, images, recipe.validation_flights, recipe.seed)
    return held_out_tracks(footage, images, recipe.data.held_out) + flown


def flights(footage: Sequence[Footage], images: ImageStore, count: int, seed: int) -> list[Video]:
    """Synthetic videos (see data.flights) of objects of the footage, three in each."""
    shown = [item for item in footage if item.visible.any()] if count else []
    found = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        chosen = [shown[rng.integers(len(shown))] for _ in range(3)]
        objects = [item.shot(int(item.visible.argmax())) for item in chosen]
        found.append(Video(f"flight/{number}", *flight(rng, images, objects), DEFAULT_RATE_HZ))
    return found


def held_out_tracks(footage: Sequence[Footage], images: ImageStore, names: Sequence[str]) -> list[Video]:
    """The tracks called `source/name`, each from the first frame that shows its target.

    Raises:
        ValueError: there is no such track (the first missing one is named).
    """
    known = {f"{item.source}/{item.name}": item for item in footage if item.is_video and item.visible.any()}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"held_out names {missing[0]!r}, which is no video track of the sources")
    return [_track(name, known[name], images) for name in names]


def _track(name: str, item: Footage, images: ImageStore) -> Video:
    first = int(item.visible.argmax())
    truth = np.where(item.visible[:, None], item.boxes_xywh, np.nan)[first:]
    files = [item.images[index] for index in range(first, len(item))]
    if item.spaced:
        return Video(name, _same_size([images[file] for file in files]), truth, SPACED_RATE_HZ)
    return Video(name, sequences.ImageFrames(files), truth, DEFAULT_RATE_HZ)


def _same_size(frames: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Zeros at the right and the bottom: stored crops of a video differ in size, a camera's frames do not."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    return [np.pad(f, ((0, height - f.shape[0]), (0, width - f.shape[1]), (0, 0))) for f in frames]


def validate(student: Network, videos: Sequence[Video]) -> float:
    """Mean success AUC over the videos. The student is left in eval mode."""
    engine = TorchEngine(student, model_spec(student.config, "validated"))
    return float(np.mean([success_auc(engine, video) for video in videos]))


def success_auc(engine: Engine, video: Video, config: TrackerConfig | None = None) -> float:
    """Of one pass from the first box; frames without truth left out."""
    boxes = [track.box_xywh for track in tracks_of(engine, video, config)]
    return metrics.score(boxes, video.truth_xywh).success_auc


def tracks_of(engine: Engine, video: Video, config: TrackerConfig | None = None) -> list[Track]:
    """One pass from the first box, a track a frame."""
    stamps = regular_stamps_ns(len(video.frames), video.rate_hz)
    tracker = SessionTracker(engine, config)
    made = steps(tracker, map(ArrayFrame, video.frames), video.truth_xywh[0], stamps.tolist())
    return [step.track for step in made]
