"""See what this machine lacks."""

from __future__ import annotations

import argparse
from typing import Any

from .. import command_line, doctor

EXAMPLES = """
    distill-tracker doctor
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor", help="see what this machine lacks", description=run.__doc__, examples=EXAMPLES
    )
    command_line.add_json_argument(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """List what the tracker needs, whether this machine has it, and what to do about the rest."""
    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        print(f"{'OK' if finding.ok else 'MISSING':8} {finding.name}: {finding.detail}")
    if arguments.json:
        command_line.write_json(arguments.json, [vars(finding) for finding in findings])
    return 0 if all(finding.ok for finding in findings) else 1
