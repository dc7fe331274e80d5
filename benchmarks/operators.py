"""What operators cost the tracker: its times alone, and with two browsers and a ground station beside it.

One browser shows every picture, the other one stopped reading; the ground station gets boxes at 10 Hz. The
tracker, its camera (640x480) and its target stay. The operators come and go, block by block, so that what
else the machine does is the same for both. This process is the camera.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from traffic import Traffic
from writing import conditions, markdown_conditions, shown, spread

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.processes import NodeProcess, own_graph
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import BundleError

_EXAMPLES = """
    python3 benchmarks/operators.py
    python3 benchmarks/operators.py --rounds 10 --seconds 20 --model eatrack_tiny
"""
SIZE = (640, 480)
_SETTLE_S = 2.0  # after the operators have come or gone
_NUMBERS = ("processing_ms", "processing_p95_ms", "latency_ms", "latency_p95_ms", "results_hz")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, examples=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=command_line.whole, default=6, help="of both blocks (%(default)s)")
    parser.add_argument("--seconds", type=command_line.positive, default=10.0, help="a block (%(default)s)")
    parser.add_argument(
        "--rate", type=command_line.positive, default=30.0, metavar="HZ", help="of the camera (%(default)s)"
    )
    command_line.add_model_arguments(parser)
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("operators", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    model, about = find_model(arguments.model).resolve(), conditions()
    with tempfile.TemporaryDirectory() as folder, own_graph(Path(folder)):
        rounds = measure(model, arguments, Path(folder))
    result = _summary(rounds)
    print(
        f"{SIZE[0]}x{SIZE[1]} bgr8 at {arguments.rate:g} Hz, {model.name}, {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s each; {markdown_conditions(about)}"
    )
    cells = [(name, *(shown(found[side]) for side in ("alone", "with", "ratio"))) for name, found in result]
    print(text_table(("median (quartiles)", "alone", "with operators", "with / alone"), cells))
    for name in ("pictures_hz", "boxes_hz", "web_cores", "mavlink_cores"):
        print(f"{name}: {shown(spread([each['operators'][name] for each in rounds]))}")
    if arguments.json:
        write_json(arguments.json, {"conditions": about, "rounds": rounds, "summary": dict(result)})
    return 0


def _summary(rounds: list[dict[str, dict[str, float]]]) -> list[tuple[str, dict[str, dict[str, float]]]]:
    """Of each number the spread of both sides and of their ratio, over the rounds."""
    found = []
    for name in _NUMBERS:
        alone, beside = ([each[side][name] for each in rounds] for side in ("alone", "with"))
        ratios = np.array(beside) / np.array(alone)
        found.append((name, {"alone": spread(alone), "with": spread(beside), "ratio": spread(ratios)}))
    return found


def measure(model: Path, arguments: argparse.Namespace, log: Path) -> list[dict[str, dict[str, float]]]:
    """The numbers of each round: of the tracker `alone` and `with` operators, and of the `operators`.

    Raises:
        CommandError: a node dies, refuses the target, or says nothing.
    """
    from feed import Feed, listen  # these need ROS

    from distill_tracker_ros.demo.client import Client

    settings = {"model": str(model), "backend": arguments.backend, "autostart": True}
    with ExitStack() as stack:
        tracker = stack.enter_context(NodeProcess("tracker_node", log, **settings))
        client = stack.enter_context(Client([tracker]))
        statuses = client.statuses()
        feed = Feed(client, tracker, Traffic(SIZE, 1), arguments.rate)
        feed.wait_for_result()
        if refusal := feed.mark(0):
            raise CommandError(f"the target was refused: {refusal}")

        def block() -> dict[str, float]:
            listen(client, _SETTLE_S)
            first = len(statuses)
            listen(client, arguments.seconds)
            return _row(statuses[first:], arguments.seconds)

        rounds = []
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
            alone = block()
            with operators(client, log) as found:
                rounds.append({"alone": alone, "with": block(), "operators": found})
        return rounds


def _row(statuses: list[Any], seconds: float) -> dict[str, float]:
    if len(statuses) < 3:
        raise CommandError(f"the tracker told of {len(statuses)} images in {seconds:g} s")
    processing = [status.processing_ms for status in statuses]
    latency = [status.latency_ms for status in statuses]
    found = (*np.percentile(processing, [50, 95]), *np.percentile(latency, [50, 95]), len(statuses) / seconds)
    return dict(zip(_NUMBERS, map(float, found), strict=True))


@contextmanager
def operators(client: Any, log: Path) -> Iterator[dict[str, float]]:
    """The nodes of operators, and the operators; what they got is in the value, afterwards.

    Raises:
        CommandError: they do not come.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script, said = Path(__file__).with_name("crowd.py"), log / "crowd.log"

    def line(number: int) -> str:
        """What the operators said, line by line; images go on meanwhile."""

        def lines() -> list[str]:
            return said.read_text(encoding="utf-8").split("\n")[:-1]

        client.wait_until(lambda: len(lines()) > number or crowd.poll(), "two pages and a ground station")
        if crowd.poll():
            raise CommandError(f"the operators ended: {lines()[-1] if lines() else 'they said nothing'}")
        return lines()[number]

    found: dict[str, float] = {}
    with ExitStack() as stack:
        output = stack.enter_context(said.open("w", encoding="utf-8"))
        command = [sys.executable, str(script), f"http://127.0.0.1:{port}"]
        crowd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        stack.callback(crowd.wait)
        stack.callback(crowd.kill)
        settings = {"connection": f"udpout:127.0.0.1:{line(0)}", "system_id": 1}
        nodes = [
            stack.enter_context(NodeProcess("web_node", log, port=port)),
            stack.enter_context(NodeProcess("mavlink_node", log, **settings)),
        ]
        if line(1) != "ready":
            raise CommandError(f"the operators said {line(1)!r}")
        watched = [psutil.Process(node.pid) for node in nodes]
        for process in watched:
            process.cpu_percent()  # from here on
        yield found
        for name, process in zip(("web_cores", "mavlink_cores"), watched, strict=True):
            found[name] = process.cpu_percent() / 100
        assert crowd.stdin is not None
        crowd.stdin.close()
        found |= json.loads(line(2))


if __name__ == "__main__":
    sys.exit(main())
