"""Follow a target through a video, score the tracker on sequences, or see what this machine lacks.

Works at a desk: without ROS, and with the same boxes on every run.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence as Arguments
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from . import command_line, doctor
from .command_line import CommandError, Parser, write_json
from .core.engine import Engine
from .core.session import TargetError
from .core.tracker import TrackState
from .drawing import draw_box, draw_track
from .evaluation import plots, report
from .evaluation.metrics import mean, overlap, visible
from .evaluation.replay import DEFAULT_RATE_HZ, Replay, replay, steps
from .evaluation.report import Result
from .evaluation.sequences import Sequence, SequenceError, open_sequence, open_sequences
from .video import VideoError, VideoWriter

_TRACK = """
    distill-tracker track flight.mp4 --box 600,320,64,48
    distill-tracker track flight/ --groundtruth boxes.txt --output build/flight --json flight.json
"""
_EVALUATE = """
    distill-tracker evaluate sequences/
    distill-tracker evaluate sequences/ --model models/mine --output build/mine --json mine.json
"""
_DOCTOR = """
    distill-tracker doctor
"""


def main(arguments: Arguments[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    parsed = _parser().parse_args(arguments)
    expected = (SequenceError, TargetError, VideoError)
    return command_line.run("distill-tracker", lambda: int(parsed.command(parsed)), expected)


def _parser() -> Parser:
    parser = Parser(prog="distill-tracker", description=__doc__, examples=_TRACK + _EVALUATE + _DOCTOR)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    track = commands.add_parser(
        "track", help="follow one target", description=_track.__doc__, examples=_TRACK
    )
    track.add_argument("source", type=Path, metavar="VIDEO_OR_FOLDER")
    track.add_argument(
        "--box",
        type=command_line.box_xywh,
        metavar="X,Y,W,H",
        help="the target in the first frame: left, top, width, height, px (default: the first true box)",
    )
    track.add_argument(
        "--groundtruth",
        type=Path,
        metavar="FILE",
        help="true boxes, one x,y,w,h a frame (default: groundtruth.txt in a folder)",
    )
    track.set_defaults(command=_track, output=Path("build/track"))
    evaluate = commands.add_parser(
        "evaluate", help="score the tracker", description=_evaluate.__doc__, examples=_EVALUATE
    )
    evaluate.add_argument(
        "folder", type=Path, metavar="DIR", help="a folder of sequence folders, or one of them"
    )
    evaluate.set_defaults(command=_evaluate, output=Path("build/evaluate"))
    check = commands.add_parser(
        "doctor", help="see what this machine lacks", description=_doctor.__doc__, examples=_DOCTOR
    )
    check.set_defaults(command=_doctor)
    for command in (track, evaluate):
        command_line.add_model_arguments(command)
        command.add_argument(
            "--rate",
            type=command_line.positive,
            metavar="HZ",
            help=f"frames a second (default: the video's own; {DEFAULT_RATE_HZ:g} for images)",
        )
        command.add_argument("--output", type=Path, metavar="DIR", help="(default: %(default)s)")
    for command in (track, evaluate, check):
        command_line.add_json_argument(command)
    return parser


def _track(arguments: argparse.Namespace) -> int:
    """Follow one target through a video or a folder of images; write tracks.csv, tracked.mp4 and plot.png."""
    sequence, box = _with_box(open_sequence(arguments.source, arguments.groundtruth), arguments.box)
    engine = command_line.engine(arguments)
    rate_hz, output = _rate_hz(arguments, sequence), arguments.output
    output.mkdir(parents=True, exist_ok=True)
    tracks, step_ms = [], []
    with VideoWriter(output / "tracked.mp4", rate_hz) as video:
        frames = tqdm(sequence.frames, desc=sequence.name, unit="frame", disable=None)
        for step in steps(engine, frames, box, rate_hz):
            tracks.append(step.track)
            step_ms.append(step.step_ms)
            picture = np.ascontiguousarray(step.rgb[..., ::-1])
            if sequence.truth_xywh is not None:
                draw_box(picture, sequence.truth_xywh[step.index])
            draw_track(picture, step.track.box_xywh, "", step.track.confidence, step.track.state)
            video.write(picture)
    run = Replay(tracks, np.array(step_ms))
    truth = None if sequence.truth_xywh is None else sequence.truth_xywh[: len(tracks)]
    report.write_tracks(output / "tracks.csv", tracks)
    plots.track_plot(
        output / "plot.png",
        np.arange(len(tracks)) / rate_hz,
        [track.confidence for track in tracks],
        [track.state for track in tracks],
        None if truth is None else overlap(run.boxes_xywh, truth),
        sequence.name,
    )
    states = Counter(track.state for track in tracks)
    counts = ", ".join(f"{states[state]} {state.name}" for state in TrackState if states[state])
    speed = report.speed(run.step_ms[1:])
    print(f"{sequence.name}: {len(tracks)} frames ({counts}), {report.number(speed['fps'])} frames/s")
    results = [Result(sequence.name, run, truth)] if truth is not None else []
    if results:
        print(report.text_table(report.HEADER, report.rows(results)))
    print(f"written to {output}: tracks.csv, tracked.mp4, plot.png")
    if arguments.json:
        content = {
            **_conditions(arguments, rate_hz),
            "sequence": sequence.name,
            "frames": len(tracks),
            "states": {state.name: states[state] for state in TrackState},
            **speed,
            "scores": report.summary(results)["sequences"][sequence.name] if results else None,
        }
        write_json(arguments.json, content)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    """Score the tracker on sequences, each a folder of images with a groundtruth.txt: one pass over each,
    from its first true box. Writes the tracks of each, the table, the curves and evaluation.json."""
    sequences = open_sequences(arguments.folder)
    engine = command_line.engine(arguments)
    output: Path = arguments.output
    (output / "tracks").mkdir(parents=True, exist_ok=True)
    results, skipped = [], []
    for sequence in sequences:
        if sequence.truth_xywh is None or not visible(sequence.truth_xywh).any():
            skipped.append(sequence.name)
            continue
        result = _one_pass(engine, sequence.from_first_box(), _rate_hz(arguments, sequence))
        report.write_tracks(output / "tracks" / f"{result.name}.csv", result.replay.tracks)
        results.append(result)
    if not results:
        raise CommandError(f"no sequence of {arguments.folder} has a true box")
    table = report.rows(results)
    curves = {**{r.name: r.curves() for r in results}, "mean": mean([r.curves() for r in results])}
    plots.success_plot(output / "success.png", curves)
    plots.precision_plot(output / "precision.png", curves)
    (output / "report.md").write_text(report.markdown_table(report.HEADER, table) + "\n", encoding="utf-8")
    content = {**_conditions(arguments, arguments.rate), **report.summary(results), "skipped": skipped}
    for path in (output / "evaluation.json", arguments.json):
        if path:
            write_json(path, content)
    print(report.text_table(report.HEADER, table))
    if skipped:
        print(f"skipped, without a true box: {', '.join(skipped)}")
    print(f"written to {output}: report.md, evaluation.json, success.png, precision.png, tracks/")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    """List what the tracker needs, whether this machine has it, and what to do about the rest."""
    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        print(f"{'OK' if finding.ok else 'MISSING':8} {finding.name}: {finding.detail}")
    if arguments.json:
        write_json(arguments.json, [vars(finding) for finding in findings])
    return 0 if all(finding.ok for finding in findings) else 1


def _with_box(sequence: Sequence, box_xywh: ArrayLike | None) -> tuple[Sequence, ArrayLike]:
    """The sequence from the frame of its first box on, and that box."""
    if box_xywh is not None:
        if sequence.truth_xywh is not None and not visible(sequence.truth_xywh)[0]:
            raise CommandError(
                "the first frame has no true box to compare with: leave --box out, or the truth"
            )
        return sequence, box_xywh
    if sequence.truth_xywh is None:
        raise CommandError(f"say where the target is in the first frame of {sequence.name}: --box X,Y,W,H")
    sequence = sequence.from_first_box()
    assert sequence.truth_xywh is not None
    return sequence, sequence.truth_xywh[0]


def _one_pass(engine: Engine, sequence: Sequence, rate_hz: float) -> Result:
    """Track from the first true box to the end."""
    assert sequence.truth_xywh is not None
    frames = tqdm(sequence.frames, desc=sequence.name, unit="frame", disable=None)
    try:
        run = replay(engine, frames, sequence.truth_xywh[0], rate_hz)
    except TargetError as error:
        raise CommandError(f"{sequence.name}: {error}") from error
    return Result(sequence.name, run, sequence.truth_xywh)


def _rate_hz(arguments: argparse.Namespace, sequence: Sequence) -> float:
    return arguments.rate or sequence.rate_hz or DEFAULT_RATE_HZ


def _conditions(arguments: argparse.Namespace, rate_hz: float | None) -> dict[str, Any]:
    return {"model": arguments.model, "backend": arguments.backend, "rate_hz": rate_hz or DEFAULT_RATE_HZ}


if __name__ == "__main__":
    sys.exit(main())
