"""See what this machine, and a camera, lack."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from .. import command_line, doctor

EXAMPLES = """
    distill-tracker doctor
    distill-tracker doctor --camera /camera/image_raw
    distill-tracker doctor --camera /camera/image_raw/compressed --seconds 10 --reliability reliable
"""
RELIABILITIES = ("best_effort", "reliable")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor", help="see what this machine lacks", description=run.__doc__, examples=EXAMPLES
    )
    parser.add_argument("--camera", metavar="TOPIC", help="also listen to this topic as the tracker does")
    parser.add_argument(
        "--seconds",
        type=command_line.positive,
        default=3.0,
        help="how long to listen to the camera (default: %(default)s)",
    )
    parser.add_argument(
        "--reliability",
        default=RELIABILITIES[0],
        choices=RELIABILITIES,
        help="the tracker's image_reliability (default: %(default)s)",
    )
    command_line.add_json_argument(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at what the tracker needs, and say of everything that must be mended what is wrong and how.

    Exit code 1 if something must be mended.
    """
    findings = []
    for finding in _examine(arguments):
        findings.append(finding)
        print(f"{'OK' if finding.ok else 'MEND':5} {finding.name}: {finding.detail}", flush=True)
    if arguments.json:
        command_line.write_json(arguments.json, [vars(finding) for finding in findings])
    return 0 if all(finding.ok for finding in findings) else 1


def _examine(arguments: argparse.Namespace) -> Iterator[doctor.Finding]:
    yield from doctor.examine()
    if arguments.camera:
        try:
            from ..nodes import camera_look  # not at the top: the rest works without ROS
        except ImportError as error:
            yield doctor.Finding(f"camera {arguments.camera}", False, f"it takes ROS 2 to listen: {error}")
            return
        yield from camera_look.look(arguments.camera, arguments.seconds, arguments.reliability)
