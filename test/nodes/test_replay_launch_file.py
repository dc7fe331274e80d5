"""The launch file of the replay, where launch is installed: its arguments reach the nodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes only with a full ROS 2 installation")

from launch import LaunchContext  # noqa: E402
from launch.actions import DeclareLaunchArgument  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def launch_file() -> Any:
    spec = importlib.util.spec_from_file_location("replay_launch", ROOT / "launch" / "replay.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(launch_file: Any, **arguments: str) -> list[Any]:
    """The nodes for these arguments, the others at their defaults."""
    context = LaunchContext()
    for name, default, *_ in launch_file.ARGUMENTS:
        context.launch_configurations[name] = arguments.get(name, default)
    return launch_file.start(context)


def test_every_argument_is_declared_with_a_description(launch_file: Any) -> None:
    declared = [
        e for e in launch_file.generate_launch_description().entities if isinstance(e, DeclareLaunchArgument)
    ]
    assert {e.name for e in declared} == {name for name, *_ in launch_file.ARGUMENTS}
    assert all(e.description for e in declared)
    assert [e.name for e in declared if e.default_value is None] == ["path"]


@pytest.mark.parametrize("lockstep", ["true", "false"])
def test_a_tracker_and_a_player(launch_file: Any, lockstep: str) -> None:
    nodes = started(launch_file, path="a.mcap", lockstep=lockstep)
    assert [node.node_executable for node in nodes] == ["tracker_node", "replay_node"]
