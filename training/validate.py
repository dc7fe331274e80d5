"""Score a student on held-out tracks with the drone's own Session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_tracker_ros.core.boxes import Boxes
from distill_tracker_ros.evaluation import metrics
from distill_tracker_ros.evaluation.replay import replay

from .data.sources import Footage, ImageStore
from .models.eatrack import EATrackConfig, EATrackStudent
from .spec import eatrack_spec
from .torch_engine import TorchEngine

RATE_HZ = 10.0  # the tracks are spaced samples of videos


@dataclass(frozen=True)
class HeldOut:
    """A track that is not trained on."""

    name: str
    frames: list[NDArray[np.uint8]]
    truth_xywh: Boxes  # (N, 4)


def held_out_sequences(footage: Sequence[Footage], images: ImageStore, names: Sequence[str]) -> list[HeldOut]:
    """The tracks called `source/name`.

    Raises:
        ValueError: there is no such track (the first missing one is named).
    """
    known = {f"{item.source}/{item.name}": item for item in footage if item.is_video}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"held_out names {missing[0]!r}, which is no video track of the sources")
    return [
        HeldOut(
            name,
            _same_size([images[shot.image] for shot in known[name].shots]),
            np.array([shot.box_xywh for shot in known[name].shots]),
        )
        for name in names
    ]


def _same_size(frames: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Zeros at the right and the bottom: stored crops of one video differ in size, a camera's frames do not."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    return [np.pad(f, ((0, height - f.shape[0]), (0, width - f.shape[1]), (0, 0))) for f in frames]


def validate(student: EATrackStudent, config: EATrackConfig, sequences: Sequence[HeldOut]) -> float:
    """Mean success AUC; nan when nothing is held out. The student is left in eval mode."""
    if not sequences:
        return float("nan")
    engine = TorchEngine(student, eatrack_spec(config, "validated"))
    scores = []
    for sequence in sequences:
        boxes = replay(engine, sequence.frames, sequence.truth_xywh[0], RATE_HZ).boxes_xywh
        scores.append(metrics.score(boxes, sequence.truth_xywh).success_auc)
    return float(np.mean(scores))
