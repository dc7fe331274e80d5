"""The bundle of every method in the node, a process of its own, and in the evaluator: the same boxes."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from random_bundles import NETWORKS
from ros_harness import running
from synthetic import write_square

from distill_tracker_ros.cli import main

pytestmark = pytest.mark.ros
FRAMES = 24


@pytest.mark.parametrize("method", NETWORKS)
def test_the_node_and_the_evaluator_give_the_same_boxes(
    random_bundle: Callable[[str], Path], method: str, tmp_path: Path
) -> None:
    bundle, square = str(random_bundle(method)), tmp_path / "square"
    write_square(square, FRAMES)
    assert main(["evaluate", str(square), "--model", bundle, "--out", str(tmp_path / "report")]) == 0

    node = {"model": bundle, "autostart": True, "use_sim_time": True, "image_reliability": "reliable"}
    player = {"path": str(square), "lockstep": True, "output": str(tmp_path / "live")}
    with (
        running("tracker_node", tmp_path, **node, onnx__intra_op_threads=1),
        running("replay_node", tmp_path, **player) as process,
    ):
        assert process.wait() == 0, process.output

    (offline,) = (tmp_path / "report").rglob("tracks/square.csv")
    live = tmp_path / "live" / "tracks" / "square.csv"
    assert tracks(live) == tracks(offline)
    assert len(tracks(live)) == 1 + FRAMES


def tracks(file: Path) -> list[str]:
    """The rows without their stamps, which begin at 0 offline and at 1 s live."""
    return [re.sub(r"^(\w+),\w+,", r"\1,", row) for row in file.read_text().splitlines()]
