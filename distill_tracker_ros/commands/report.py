"""Draw the report of runs that were made before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..command_line import CommandError
from ..evaluation.benchmarks import FORMATS
from ..evaluation.jobs import make_plan
from ..evaluation.metrics import POLICIES
from ..evaluation.protocols import PROTOCOLS
from ..evaluation.report.html import Images, write_report
from ..evaluation.runs import RunFolder
from ..evaluation.sequences import Frames
from ..evaluation.source import Source

EXAMPLES = """
    distill-tracker report build/evaluate/mine build/evaluate/csrt --out comparison.html
    distill-tracker report build/evaluate/mine --sequences UAV123/ --out report.html
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "report", help="draw the report of runs", description=run.__doc__, examples=EXAMPLES
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a folder that `evaluate` has written for a tracker"
    )
    parser.add_argument("--sequences", type=Path, metavar="PATH", help="their images, for thumbnails")
    parser.add_argument("--format", default="auto", choices=("auto", *FORMATS), help="of the sequences")
    parser.add_argument("--title", default="", help="of the report")
    parser.add_argument(
        "--baseline", default="", metavar="LABEL", help="of the comparison (default: the last)"
    )
    parser.add_argument("--policy", default=POLICIES[0], choices=POLICIES, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="(%(default)s)")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Write one HTML file with the scores, curves and time lines of one or more runs."""
    runs = [RunFolder(path).read() for path in arguments.runs]
    images: Images | None = None
    if arguments.sequences:
        named = runs[0].conditions.get("protocol")
        protocol = next((known for known in PROTOCOLS if known == named), PROTOCOLS[0])  # live is one pass
        part = make_plan(Source(arguments.sequences, arguments.format), protocol).open()

        def images(name: str) -> Frames | None:
            try:
                return part(name).frames
            except KeyError:
                return None

    try:
        write_report(arguments.out, runs, images, arguments.title, arguments.policy, arguments.baseline)
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"written to {arguments.out}")
    return 0
