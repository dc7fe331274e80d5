"""Turn a sequence into a bag."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from ..command_line import CommandError
from ..evaluation.bags import IMAGE_TOPIC, TRUTH_TOPIC, Encoding, rosbags_needed
from .evaluate import add_source_arguments, source_of

EXAMPLES = """
    distill-tracker to-bag sequences/car1 car1.mcap
    distill-tracker to-bag flight.mp4 flight.mcap --groundtruth boxes.txt --encoding jpeg
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "to-bag", help="turn a sequence into a bag", description=run.__doc__, examples=EXAMPLES
    )
    add_source_arguments(parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="NAME.mcap, NAME.db3, or a new folder")
    parser.add_argument(
        "--encoding", default="bgr8", choices=get_args(Encoding), help="(default: %(default)s)"
    )
    parser.add_argument("--image-topic", default=IMAGE_TOPIC, metavar="TOPIC", help="(default: %(default)s)")
    parser.add_argument("--boxes-topic", default=TRUTH_TOPIC, metavar="TOPIC", help="(default: %(default)s)")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the images of a sequence with their stamps into a bag, and its true boxes as Detection2DArray."""
    with rosbags_needed():
        from ..evaluation.bags.writing import write_sequence
    source = source_of(arguments)
    sequences = source.open()
    if len(sequences) != 1:
        raise CommandError(f"{source.path} has {len(sequences)} sequences: name one of them")
    write_sequence(
        arguments.out, sequences[0], arguments.image_topic, arguments.boxes_topic, arguments.encoding
    )
    print(f"written to {arguments.out}: {len(sequences[0].frames)} images")
    return 0
