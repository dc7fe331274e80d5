"""Follow a target through a video, score trackers and compare them, or see what this machine lacks.

Works at a desk: without ROS, and with the same boxes on every run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence as Arguments

from . import command_line
from .command_line import Parser
from .commands import build_engine, compare, doctor, evaluate, quantise, report, to_bag, track
from .core.session import TargetError
from .evaluation.bags import BagWriteError
from .evaluation.result_files import ResultError
from .evaluation.runs import RunError
from .evaluation.sequences import SequenceError
from .video import VideoError

_COMMANDS = (track, evaluate, compare, report, to_bag, build_engine, quantise, doctor)
_EXPECTED = (SequenceError, TargetError, RunError, ResultError, BagWriteError, VideoError)


def main(arguments: Arguments[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run("distill-tracker", lambda: int(parsed.command(parsed)), _EXPECTED)


def _parser() -> Parser:
    examples = "".join(command.EXAMPLES for command in _COMMANDS)
    parser = Parser(prog="distill-tracker", description=__doc__, examples=examples)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
