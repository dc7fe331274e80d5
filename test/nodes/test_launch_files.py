"""The launch files, where launch is installed: their arguments reach the nodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes only with a full ROS 2 installation")

from launch import LaunchContext  # noqa: E402
from launch.actions import DeclareLaunchArgument  # noqa: E402

FOLDER = Path(__file__).parents[2] / "launch"


def load(name: str) -> Any:
    """A launch file, which is no module of a package."""
    spec = importlib.util.spec_from_file_location(f"{name}_launch", FOLDER / f"{name}.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(name: str, **arguments: str) -> list[str]:
    """The executables of the nodes for these arguments, the others at their defaults."""
    launch_file, context = load(name), LaunchContext()
    for argument, default, *_ in launch_file.ARGUMENTS:
        context.launch_configurations[argument] = arguments.get(argument, default)
    return [node.node_executable for node in launch_file.start(context)]


@pytest.mark.parametrize("name, required", [("track", []), ("replay", ["path"])])
def test_every_argument_is_declared_with_a_description(name: str, required: list[str]) -> None:
    launch_file = load(name)
    declared = [
        e for e in launch_file.generate_launch_description().entities if isinstance(e, DeclareLaunchArgument)
    ]
    assert {e.name for e in declared} == {argument for argument, *_ in launch_file.ARGUMENTS}
    assert all(e.description for e in declared)
    assert [e.name for e in declared if e.default_value is None] == required


def test_a_video_adds_a_player() -> None:
    assert started("track") == ["tracker_node"]
    assert started("track", video="a.mp4", image_transport="compressed") == ["tracker_node", "video_node"]


@pytest.mark.parametrize("lockstep", ["true", "false"])
def test_a_replay_has_a_tracker_and_a_player(lockstep: str) -> None:
    assert started("replay", path="a.mcap", lockstep=lockstep) == ["tracker_node", "replay_node"]
