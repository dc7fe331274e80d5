"""Say whether one run is better than another, or whether that is noise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import command_line
from ..command_line import CommandError
from ..evaluation.metrics import POLICIES
from ..evaluation.report import tables
from ..evaluation.runs import RunFolder
from ..evaluation.summary import comparison

EXAMPLES = """
    distill-tracker compare build/evaluate/mine build/evaluate/csrt
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "compare", help="say whether one run is better", description=run.__doc__, examples=EXAMPLES
    )
    parser.add_argument("run", type=Path, help="a folder that `evaluate` has written for a tracker")
    parser.add_argument("baseline", type=Path, help="another one, on the same sequences")
    parser.add_argument("--policy", default=POLICIES[0], choices=POLICIES, help="(default: %(default)s)")
    command_line.add_json_argument(parser)
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare two runs sequence by sequence: mean difference with its 95 % interval, and what it means."""
    ours, baseline = RunFolder(arguments.run).read(), RunFolder(arguments.baseline).read()
    try:
        found = comparison(ours, baseline, arguments.policy)
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(tables.text_table(*tables.differences(found)))
    verdict = found["scores"]["success_auc"]["verdict"]
    print(f"{ours.label} against {baseline.label}, {found['sequences']} sequences, success AUC: {verdict}")
    if found["left_out"]:
        print(f"left out, in one run alone: {', '.join(found['left_out'])}")
    if arguments.json:
        command_line.write_json(arguments.json, found)
    return 0
