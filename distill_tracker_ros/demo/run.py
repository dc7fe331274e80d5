"""Track a target through real ROS 2 nodes, score it, and show it.

Starts the video node (as the camera) and the tracker node as processes of their own, marks the target by the
service, and records what the tracker publishes. Without --video a simulated drone flight is tracked.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence as Arguments
from pathlib import Path
from typing import Any

from .. import command_line
from ..command_line import Parser, write_json
from ..evaluation.report.tables import text_table
from ..evaluation.sequences import SequenceError
from ..processes import own_graph
from ..runtime.manifest import BundleError
from ..video import VideoError
from .job import make_job
from .pictures import draw_plot, draw_video
from .recording import summary, write_csv

_EXAMPLES = """
    python -m distill_tracker_ros.demo
    python -m distill_tracker_ros.demo --video flight.mp4 --box 600,320,64,48
    python -m distill_tracker_ros.demo --video flight.mp4 --groundtruth boxes.txt --rate 15
"""


def main(arguments: Arguments[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = Parser(prog="python -m distill_tracker_ros.demo", description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--video", type=Path, metavar="PATH", help="a video, or a folder of images")
    parser.add_argument(
        "--box",
        type=command_line.box_xywh,
        metavar="X,Y,W,H",
        help="the target in the first frame of --video: left, top, width, height in pixels",
    )
    parser.add_argument(
        "--groundtruth", type=Path, metavar="PATH", help="true boxes of --video, one x,y,w,h a frame"
    )
    parser.add_argument(
        "--rate", type=command_line.positive, metavar="HZ", help="frames a second (default: the video's own)"
    )
    parser.add_argument("--output", type=Path, default=Path("build/demo"), metavar="DIR", help="%(default)s")
    command_line.add_model_arguments(parser)
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    if parsed.video is None and (parsed.box or parsed.groundtruth):
        parser.error("--box and --groundtruth belong to --video")
    errors = (SequenceError, BundleError, VideoError)
    return command_line.run("demo", lambda: _demo(parsed), errors)


def _demo(arguments: argparse.Namespace) -> int:
    job = make_job(arguments)
    from .record import record  # not before: it needs ROS

    with own_graph(job.output / "log"):
        recording = record(job)
    truth = job.sequence.truth_xywh
    if truth is not None:
        truth = truth[: len(recording.stamps_ns)]
    result = summary(recording, truth)
    write_csv(job.output / "detections.csv", recording)
    for path in (job.output / "summary.json", arguments.json):
        if path:
            write_json(path, result)
    draw_plot(job.output / "plot.png", recording, truth, f"{job.sequence.name}, {result['model']}")
    draw_video(job.output / "tracking.mp4", job.sequence.frames, recording, truth, job.rate_hz)
    print(text_table(("", "value"), _cells(result)))
    print(f"written to {job.output}: summary.json, detections.csv, tracking.mp4, plot.png")
    return 0


def _cells(result: dict[str, Any]) -> list[tuple[str, str]]:
    """A row for each number; those that are unknown are left out."""
    values = {name: value for name, value in result.items() if value is not None}
    return [(name, f"{v:.3f}" if isinstance(v, float) else str(v)) for name, v in values.items()]
