"""Make the int8 form of a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .. import command_line
from ..command_line import CommandError
from ..core.boxes import Boxes
from ..core.calibration import Calibration
from ..core.frame import ArrayFrame
from ..evaluation import sequences
from ..evaluation.source import Source
from ..runtime import load
from ..runtime.parity import View
from ..runtime.quantise import quantise

EXAMPLES = """
    distill-tracker quantise eatrack_nano sequences/ --output models/eatrack_nano_int8
    distill-tracker quantise eatrack_tiny sequences/ --symmetric --output models/eatrack_tiny_int8
    distill-tracker quantise eatrack_nano flight1.mcap flight2.mcap --output models/eatrack_nano_int8
"""
CROPS = 300
SHIFT, SCALE = 0.5, 0.15  # of the box searched around: of its side, and of the logarithm of its sides


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "quantise", help="make the int8 form of a model", description=run.__doc__, examples=EXAMPLES
    )
    parser.add_argument("model", metavar="MODEL", help="a name in models/, or a folder with a manifest.yaml")
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="sequences, folders of sequences or bags with true boxes; not those that it will be scored on",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the new bundle")
    parser.add_argument(
        "--crops",
        type=command_line.whole,
        default=CROPS,
        metavar="N",
        help="crops to set the ranges of the activations by (default: %(default)s)",
    )
    parser.add_argument(
        "--symmetric",
        action="store_true",
        help="for TensorRT, which reads no other; on CPUs a little less exact",
    )
    parser.add_argument("--force", action="store_true", help="write it even if the parity gate refuses it")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Quantise the linear layers of a model to int8, and compare the result with the original.

    The ranges of the activations come from crops around the true boxes of sequences.
    """
    marked = [each for path in arguments.sources for each in Source(path).open() if each.visible.sum() > 1]
    if not marked:
        names = ", ".join(map(str, arguments.sources))
        raise CommandError(f"{names}: no sequence has two true boxes, which calibration needs")
    views = tqdm(views_of(marked, arguments.crops), "calibration", arguments.crops, unit="crop", disable=None)
    sources = ", ".join(path.name for path in arguments.sources)
    calibration = f"at most {arguments.crops} crops of {len(marked)} sequences ({sources})"
    try:
        folder, manifest = load.verified(load.find_model(arguments.model))
        found = quantise(
            folder, manifest, views, calibration, arguments.output, arguments.symmetric, arguments.force
        )
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    print(f"{arguments.output}: {found}")
    if not found.passed:
        print("the parity gate does NOT pass: this bundle was written by --force")
    if manifest.spec.calibration != Calibration():
        print(
            f"its confidence is calibrated as that of {manifest.spec.name}: "
            "python -m training calibrate gives it its own"
        )
    return 0


def views_of(marked: Sequence[sequences.Sequence], count: int, seed: int = 0) -> Iterator[View]:
    """About `count` views, evenly from all sequences: marked in one frame, searched for in a later one.

    The box around which is searched lies beside the true one, as a tracker's does.
    """
    rng = np.random.default_rng(seed)
    for sequence, share in zip(marked, _shares(count, len(marked)), strict=True):
        assert sequence.truth_xywh is not None
        seen = np.flatnonzero(sequence.visible)
        picked = np.unique(seen[np.linspace(0, len(seen) - 1, share + 1).round().astype(int)])
        marked_in, last = None, 0
        for index in map(int, picked):  # forwards, each once: a video is not read twice
            frame = ArrayFrame(sequence.frames[index])
            if marked_in is not None:
                around = _jittered(sequence.truth_xywh[index], rng)
                yield View(marked_in, sequence.truth_xywh[last], frame, around)
            marked_in, last = frame, index


def _shares(count: int, parts: int) -> list[int]:
    """A whole number divided into nearly equal parts."""
    ends = np.linspace(0, count, parts + 1).round().astype(int)
    return [int(n) for n in np.diff(ends)]


def _jittered(box_xywh: Boxes, rng: np.random.Generator) -> Boxes:
    centre, sides = box_xywh[:2] + box_xywh[2:] / 2, box_xywh[2:] * np.exp(rng.normal(0, SCALE, 2))
    centre = centre + rng.uniform(-SHIFT, SHIFT, 2) * np.sqrt(np.prod(box_xywh[2:]))
    return np.concatenate([centre - sides / 2, sides])
