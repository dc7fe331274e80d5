"""What the tracker node costs beyond the network, with real images through real DDS between two processes."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.processes import NodeProcess, own_graph
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import BundleError

_EXAMPLES = """
    python3 benchmarks/node_overhead.py
    python3 benchmarks/node_overhead.py --seconds 60 --rate 30 --json build/node_overhead.json
"""
SIZE = (1280, 720)
_WARM_UP_S = 6.0  # the node's own windows span 5 s


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument(
        "--seconds", type=command_line.positive, default=20.0, help="to measure for (%(default)s)"
    )
    parser.add_argument(
        "--rate", type=command_line.positive, default=30.0, metavar="HZ", help="of the images (%(default)s)"
    )
    command_line.add_model_arguments(parser)
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("node_overhead", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model).resolve()
    with tempfile.TemporaryDirectory() as folder, own_graph(Path(folder)):
        result = measure(model, arguments.backend, arguments.rate, arguments.seconds, Path(folder))
    print(f"{SIZE[0]}x{SIZE[1]} bgr8 at {arguments.rate:g} Hz for {arguments.seconds:g} s, {model.name}")
    cells = [(name, f"{v:.3f}" if isinstance(v, float) else str(v)) for name, v in result.items()]
    print(text_table(("", "value"), cells))
    if arguments.json:
        conditions = {"model": model.name, "backend": arguments.backend, "rate_hz": arguments.rate}
        write_json(arguments.json, {"conditions": conditions | {"seconds": arguments.seconds}, **result})
    return 0


def measure(model: Path, backend: str, rate_hz: float, seconds: float, log: Path) -> dict[str, Any]:
    """Send images for some seconds and collect what the node tells of each.

    Raises:
        CommandError: the node dies, refuses or hangs.
    """
    from camera import Camera  # these need ROS
    from diagnostic_msgs.msg import DiagnosticArray

    from distill_tracker_ros.demo.client import Client

    tracker = NodeProcess("tracker_node", log, model=str(model), backend=backend)
    with tracker, Client([tracker]) as client:
        camera = Camera(client, SIZE, "best_effort")
        statuses = client.statuses()
        diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        client.activate(tracker)
        camera.mark_target(client, statuses)
        client.node.create_timer(1 / rate_hz, camera.send)
        _listen(client, _WARM_UP_S)
        before, told = len(statuses), len(diagnostics)
        _listen(client, seconds)
    found = statuses[before:]
    if len(found) < 2:
        raise CommandError(f"the node told of {len(found)} images in {seconds:g} s")
    times = [_times(message) for message in diagnostics[told:]]
    engine_ms = statistics.median(t["engine_ms_median"] for t in times if t)
    node_ms = statistics.median(t["node_ms_median"] for t in times if t)
    latencies = [status.latency_ms for status in found]
    first, last = found[0], found[-1]
    return {
        "engine_ms_median": engine_ms,
        "node_ms_median": node_ms,
        "node_to_engine": node_ms / engine_ms,
        "processing_ms_median": float(np.median([status.processing_ms for status in found])),
        "latency_ms_median": float(np.median(latencies)),
        "latency_ms_p95": float(np.percentile(latencies, 95)),
        "received": last.frames_received - first.frames_received,
        "processed": last.frames_processed - first.frames_processed,
        "dropped": last.frames_dropped - first.frames_dropped,
        "tracking": sum(t.state == t.TRACKING for status in found for t in status.targets),
    }


def _listen(client: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    client.wait_until(lambda: time.monotonic() > end, "the end of the measurement", seconds + 10)


def _times(message: Any) -> dict[str, float]:
    """The numbers of the latency status of the tracker node; empty if it is not in the message."""
    for status in message.status:
        if status.name == "tracker: latency":
            values = {pair.key: pair.value for pair in status.values}
            if "engine_ms_median" in values:
                return {name: float(values[name]) for name in ("engine_ms_median", "node_ms_median")}
    return {}


if __name__ == "__main__":
    sys.exit(main())
