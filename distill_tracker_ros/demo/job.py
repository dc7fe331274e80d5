"""What the demo is asked to do, checked before anything is started."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..command_line import CommandError
from ..core.boxes import Boxes
from ..evaluation.metrics import visible
from ..evaluation.replay import DEFAULT_RATE_HZ
from ..evaluation.sequences import Sequence, open_sequence
from ..runtime.load import find_model


@dataclass(frozen=True)
class Job:
    """What is to be tracked, with what, and where the results go."""

    source: Path
    sequence: Sequence
    box_xywh: Boxes  # (4,) in the first frame
    rate_hz: float
    model: Path
    backend: str
    output: Path


def make_job(arguments: argparse.Namespace) -> Job:
    """The job that the command line describes; without a video the demo's clip is made first.

    Raises:
        CommandError, SequenceError, BundleError: something is missing or cannot be read.
    """
    model = find_model(arguments.model).resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)
    source, truth_file = arguments.video, arguments.groundtruth
    if source is None:
        source, truth_file = make_clip(arguments.output)
    sequence = open_sequence(source, truth_file)
    return Job(
        source=source,
        sequence=sequence,
        box_xywh=_first_box(sequence, arguments.box),
        rate_hz=arguments.rate or sequence.rate_hz or DEFAULT_RATE_HZ,
        model=model,
        backend=arguments.backend,
        output=arguments.output,
    )


def make_clip(folder: Path) -> tuple[Path, Path]:
    """Write the demo's clip and its boxes, and return their paths.

    Raises:
        CommandError: what it is made of is missing.
    """
    try:
        from . import clip
    except ImportError as error:  # the photographs are those of scikit-image
        raise CommandError(f"{error}: install scikit-image to make the clip, or give --video") from error
    return clip.write(folder)


def _first_box(sequence: Sequence, box_xywh: tuple[float, ...] | None) -> Boxes:
    truth = sequence.truth_xywh
    if truth is not None and not visible(truth)[0]:
        raise CommandError(
            f"the first frame of {sequence.name} has no true box, and the target is marked there"
        )
    if box_xywh is not None:
        return np.array(box_xywh, np.float64)
    if truth is None:
        raise CommandError(f"say where the target is in the first frame of {sequence.name}: --box X,Y,W,H")
    return np.asarray(truth[0])
