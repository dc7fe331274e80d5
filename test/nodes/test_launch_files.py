"""The launch files, where launch is installed: their arguments reach the nodes."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes only with a full ROS 2 installation")

from launch import LaunchContext  # noqa: E402
from launch.actions import DeclareLaunchArgument  # noqa: E402

FOLDER = Path(__file__).parents[2] / "launch"
# `ros2 launch` without ros2: arguments are a launch file and name:=value.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

given = [text.split(":=", 1) for text in sys.argv[2:]]
file = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(file, launch_arguments=given)])
)
sys.exit(service.run())
"""


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


@pytest.mark.parametrize(
    "operator, nodes", [("web", ["web"]), ("mavlink", ["mavlink"]), ("all", ["web", "mavlink"])]
)
def test_operators_get_their_nodes(operator: str, nodes: list[str]) -> None:
    assert started("track", operator=operator) == ["tracker_node", *(f"{name}_node" for name in nodes)]


@pytest.mark.ros
def test_all_nodes_come_up_with_their_parameters_and_topics(tmp_path: Path) -> None:
    """What operators connect to beside the tracker: one namespace, one parameter file."""
    import ros_needed  # noqa: F401
    from rcl_interfaces.srv import GetParameters
    from ros_harness import Client, NodeProcess
    from tiny_bundle import write_tiny_bundle
    from waiting import wait_until

    for package in ("aiohttp", "pymavlink"):
        pytest.importorskip(package, reason=f"{package} is among the requirements of operators")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parameters = tmp_path / "mine.yaml"
    settings = {"web": f"port: {port}", "tracker": "history.seconds: 7.0"}
    parameters.write_text("".join(f"/**/{n}: {{ros__parameters: {{{s}}}}}\n" for n, s in settings.items()))
    arguments = {
        "namespace": "drone1",
        "image_topic": "/camera/image_raw",
        "model": str(write_tiny_bundle(tmp_path / "tiny")),
        "params_file": str(parameters),
        "operator": "all",
        "web_host": "localhost",
        "mavlink_connection": "udpout:127.0.0.1:9",
    }
    given = [f"{name}:={value}" for name, value in arguments.items()]
    command = [sys.executable, "-c", LAUNCH, str(FOLDER / "track.launch.py"), *given]
    process, client = NodeProcess.of(command, tmp_path), Client()

    def value(node: str, name: str) -> Any:
        answer = client.call(GetParameters, f"/drone1/{node}/get_parameters", names=[name])
        (found,) = answer.values
        return found.string_value or found.integer_value or found.double_value

    def subscribed(topic: str) -> set[str]:
        return {each.node_name for each in client.node.get_subscriptions_info_by_topic(topic)}

    try:
        wait_until(lambda: "tracker" in subscribed("/camera/image_raw"), "an active tracker")
        assert value("tracker", "history.seconds") == 7.0
        assert (value("web", "port"), value("web", "host")) == (port, "localhost")
        assert value("mavlink", "connection") == "udpout:127.0.0.1:9"
        wait_until(lambda: "tracker" in subscribed("/camera/camera_info"), "its subscription of camera_info")
        wait_until(lambda: {"web", "mavlink"} <= subscribed("/drone1/tracker/status"), "the operators' nodes")
        process.stop()
        assert process.output.count("process has finished cleanly") == 3, process.output
    finally:
        process.stop()  # and with it the nodes
        client.close()
