"""Play a video to the tracker, over and over, and serve the operator's page: mark targets in a browser.

Starts the video node (as the camera), the tracker node and the web node as processes of their own, and ends
them with Ctrl-C. Without --video it is a simulated drone flight.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence as Arguments
from contextlib import ExitStack
from pathlib import Path

from .. import command_line
from ..command_line import CommandError, Parser
from ..evaluation.sequences import SequenceError, open_sequence
from ..processes import NodeProcess, own_graph
from ..runtime.load import find_model
from ..runtime.manifest import BundleError
from ..video import VideoError
from .job import make_clip

HOST = "127.0.0.1"
PATIENCE_S = 60.0  # for the nodes to be ready
LOOK_PERIOD_S = 0.2  # at whether they are, and whether they still run

_EXAMPLES = """
    python -m distill_tracker_ros.demo.page
    python -m distill_tracker_ros.demo.page --video flight.mp4 --port 9000
"""


def main(arguments: Arguments[str] | None = None) -> int:
    """Serve the page until Ctrl-C, and return the exit code."""
    parser = Parser(prog="python -m distill_tracker_ros.demo.page", description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--video", type=Path, metavar="PATH", help="a video, or a folder of images")
    parser.add_argument("--port", type=command_line.whole, default=8088, help="of the page (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), metavar="DIR", help="%(default)s")
    command_line.add_model_arguments(parser)
    parsed = parser.parse_args(arguments)
    errors = (SequenceError, BundleError, VideoError)
    return command_line.run("page", lambda: _serve(parsed), errors)


def _serve(arguments: argparse.Namespace) -> int:
    model = str(find_model(arguments.model).resolve())
    if arguments.video is None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    video = arguments.video or make_clip(arguments.output)[0]
    open_sequence(video)  # says what is wrong with it
    log = arguments.output / "log"
    with own_graph(log), ExitStack() as running:
        nodes = [
            running.enter_context(NodeProcess(name, log, **parameters))
            for name, parameters in (
                ("web_node", {"host": HOST, "port": arguments.port}),
                ("tracker_node", {"model": model, "backend": arguments.backend, "autostart": True}),
                ("video_node", {"path": str(video.resolve()), "loop": True, "wait_for_subscriber": True}),
            )
        ]
        try:
            _wait(nodes)
            print(f"the page is at http://{HOST}:{arguments.port}/ (Ctrl-C ends it)", flush=True)
            while True:
                _check(nodes)
                time.sleep(LOOK_PERIOD_S)
        except KeyboardInterrupt:
            return 0


def _wait(nodes: list[NodeProcess]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not nodes[0].has_said("the page is at"):
        _check(nodes)
        if time.monotonic() > end_s:
            raise nodes[0].failure(f"the page was not served within {PATIENCE_S:g} s")
        time.sleep(LOOK_PERIOD_S)


def _check(nodes: list[NodeProcess]) -> None:
    for node in nodes:
        node.check()
        if node.ended:
            raise CommandError(f"{node.module} has ended")


if __name__ == "__main__":
    sys.exit(main())
