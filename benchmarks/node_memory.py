"""Whether the tracker node's memory grows: its size after 1,000 and 10,000 images, as fast as it tracks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.processes import NodeProcess, own_graph
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import BundleError

_EXAMPLES = """
    python3 benchmarks/node_memory.py
    python3 benchmarks/node_memory.py --images 1000 20000 --json build/node_memory.json
"""
SIZE = (320, 180)  # small, so that thousands take minutes
_ANSWER_S = 10.0  # for one image


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument(
        "--images", type=int, nargs=2, default=[1000, 10000], metavar=("FEW", "MANY"), help="%(default)s"
    )
    command_line.add_model_arguments(parser)
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    few, many = parsed.images
    if not 0 < few < many:
        parser.error(
            f"--images {few} {many}: the second number must be larger than the first, and both above 0"
        )
    return command_line.run("node_memory", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model).resolve()
    with tempfile.TemporaryDirectory() as folder, own_graph(Path(folder)):
        sizes_mb = measure(model, arguments.backend, arguments.images, Path(folder))
    ratio = sizes_mb[-1] / sizes_mb[0]
    cells = [(f"{n} images", f"{size:.1f}") for n, size in zip(arguments.images, sizes_mb, strict=True)]
    print(f"resident memory of the tracker node, {SIZE[0]}x{SIZE[1]} bgr8, {model.name}")
    print(text_table(("after", "MB"), [*cells, ("ratio", f"{ratio:.3f}")]))
    if arguments.json:
        conditions = {"model": model.name, "backend": arguments.backend, "size": SIZE}
        content = {"conditions": conditions, "images": arguments.images, "rss_mb": sizes_mb, "ratio": ratio}
        write_json(arguments.json, content)
    return 0


def measure(model: Path, backend: str, images: list[int], log: Path) -> list[float]:
    """Resident memory in MB after so many images.

    Raises:
        CommandError: the node dies, refuses or hangs.
    """
    from camera import Camera  # these need ROS

    from distill_tracker_ros.demo.client import Client

    sizes_mb = []
    tracker = NodeProcess(
        "tracker_node", log, model=str(model), backend=backend, image_reliability="reliable"
    )
    with tracker, Client([tracker]) as client:
        camera = Camera(client, SIZE)
        statuses: list[Any] = client.statuses()
        client.activate(tracker)
        camera.mark_target(client, statuses)
        for number in tqdm(range(1, images[-1] + 1), unit="image", disable=None):
            statuses.clear()
            camera.send()
            client.wait_until(lambda: statuses, "a result", _ANSWER_S)
            if number in images:
                sizes_mb.append(resident_mb(tracker.pid))
    return sizes_mb


def resident_mb(pid: int, kind: str = "VmRSS") -> float:
    """Physical memory that a process holds, MB (Linux); of it RssAnon, RssFile or RssShmem."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise CommandError(f"the kernel does not tell the memory of process {pid}")


if __name__ == "__main__":
    sys.exit(main())
