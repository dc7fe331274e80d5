"""Follow one target through a video, and show it."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from .. import command_line
from ..command_line import CommandError
from ..core.tracker import TrackState
from ..drawing import draw_box, draw_track
from ..evaluation.metrics import overlap
from ..evaluation.replay import DEFAULT_RATE_HZ, SessionTracker, replay
from ..evaluation.report import plots, tables
from ..evaluation.runs import Run, TrackedSequence, write_tracks
from ..evaluation.sequences import Sequence, open_sequence
from ..evaluation.summary import summary
from ..video import VideoWriter

EXAMPLES = """
    distill-tracker track flight.mp4 --box 600,320,64,48
    distill-tracker track flight/ --groundtruth boxes.txt --output build/flight --json flight.json
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "track", help="follow one target through a video", description=run.__doc__, examples=EXAMPLES
    )
    parser.add_argument("source", type=Path, metavar="VIDEO_OR_FOLDER")
    parser.add_argument(
        "--box",
        type=command_line.box_xywh,
        metavar="X,Y,W,H",
        help="the target in the first frame: left, top, width, height, px (default: the first true box)",
    )
    parser.add_argument(
        "--groundtruth",
        type=Path,
        metavar="FILE",
        help="true boxes, one x,y,w,h a frame (default: groundtruth.txt in a folder)",
    )
    command_line.add_model_arguments(parser)
    parser.add_argument(
        "--rate",
        type=command_line.positive,
        metavar="HZ",
        help=f"frames a second (default: the video's own; {DEFAULT_RATE_HZ:g} for images)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/track"), metavar="DIR", help="(default: %(default)s)"
    )
    command_line.add_json_argument(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Follow one target through a video or a folder of images; write tracks.csv, tracked.mp4 and plot.png."""
    sequence, box = _with_box(open_sequence(arguments.source, arguments.groundtruth), arguments.box)
    rate_hz, output = arguments.rate or sequence.rate_hz or DEFAULT_RATE_HZ, arguments.output
    tracker = SessionTracker(command_line.engine(arguments))
    with tqdm(total=len(sequence.frames), desc=sequence.name, unit="frame", disable=None) as bar:
        tracked = replay(tracker, sequence, box, rate_hz, bar.update)
    write_tracks(output / "tracks.csv", tracked)
    plots.track_plot(
        output / "plot.png",
        np.arange(len(tracked)) / rate_hz,
        tracked.confidence,
        [TrackState(state) for state in tracked.states],
        overlap(tracked.boxes_xywh, tracked.truth_xywh) if tracked.visible.any() else None,
        sequence.name,
    )
    _draw(output / "tracked.mp4", sequence, tracked)
    states = Counter(TrackState(state).name for state in tracked.states)
    scores = summary(Run(tracker.label, [tracked])) if tracked.visible.any() else None
    counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
    print(f"{sequence.name}: {len(tracked)} frames ({counts})")
    if scores:
        print(tables.text_table(*tables.per_sequence(scores)))
    print(f"written to {output}: tracks.csv, tracked.mp4, plot.png")
    if arguments.json:
        content = {
            "model": arguments.model,
            "backend": arguments.backend,
            "rate_hz": rate_hz,
            "sequence": sequence.name,
            "frames": len(tracked),
            "states": {state.name: states[state.name] for state in TrackState},
            "scores": scores,
        }
        command_line.write_json(arguments.json, content)
    if tracked.broken:
        raise CommandError(f"{sequence.name} is not whole: {tracked.broken}")
    return 0


def _with_box(sequence: Sequence, box_xywh: ArrayLike | None) -> tuple[Sequence, ArrayLike]:
    """The sequence from the frame of its first box on, and that box."""
    if box_xywh is not None:
        if sequence.truth_xywh is not None and not sequence.visible[0]:
            raise CommandError(
                "the first frame has no true box to compare with: leave --box out, or the truth"
            )
        return sequence, box_xywh
    if sequence.truth_xywh is None:
        raise CommandError(f"say where the target is in the first frame of {sequence.name}: --box X,Y,W,H")
    sequence = sequence.from_first_box()
    assert sequence.truth_xywh is not None
    return sequence, sequence.truth_xywh[0]


def _draw(path: Path, sequence: Sequence, tracked: TrackedSequence) -> None:
    with VideoWriter(path, tracked.rate_hz) as video:
        for index, rgb in zip(range(len(tracked)), sequence.frames, strict=False):
            picture = np.ascontiguousarray(rgb[..., ::-1])
            if tracked.visible[index]:
                draw_box(picture, tracked.truth_xywh[index])
            state = TrackState(tracked.states[index])
            draw_track(picture, tracked.boxes_xywh[index], "", float(tracked.confidence[index]), state)
            video.write(picture)
