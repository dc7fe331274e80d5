"""Play a recording through the live tracker and score what it published; ends with the recording.

ros2 launch distill_tracker_ros replay.launch.py path:=flight.mcap
ros2 launch distill_tracker_ros replay.launch.py path:=flight.mcap model:=eatrack_nano lockstep:=true
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

PACKAGE = "distill_tracker_ros"
SHIPPED = PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "tracker.yaml"])

# Name, default, description, choices. None has to be given; what is empty is left to the nodes.
ARGUMENTS = [
    ("path", None, "bag, video, folder of images or sequence of a benchmark; it needs true boxes", None),
    ("model", "", "name of a model in models/, or a folder with a manifest.yaml", None),
    ("backend", "", "runtime that executes the model", None),
    ("params_file", "", "parameters of the tracker that go over those of config/tracker.yaml", None),
    ("image_topic", "", "images of a bag with several topics of images", None),
    ("truth_topic", "", "true boxes of a bag, if their topic is not called ground_truth", None),
    (
        "image_transport",
        "raw",
        "compressed for a bag with sensor_msgs/CompressedImage",
        ["raw", "compressed"],
    ),
    ("speed", "1.0", "1 = as recorded, 2 = twice as fast", None),
    ("lockstep", "false", "wait for each result before the next image is sent", ["true", "false"]),
    ("output", "build/replay", "folder of the run that is written", None),
]


def generate_launch_description() -> LaunchDescription:
    """The tracker and the player."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Node]:
    """The nodes, for the arguments that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    lockstep = given["lockstep"] == "true"
    common = {
        "package": PACKAGE,
        "output": "screen",
        "on_exit": [Shutdown(reason="the replay has ended")],
    }
    tracker = {
        **{name: given[name] for name in ("model", "backend") if given[name]},
        "image_transport": given["image_transport"],
        "autostart": True,
        "use_sim_time": True,
    }
    if lockstep:  # it waits for each image: none may be lost on the way
        tracker["image_reliability"] = "reliable"
    player = {
        **{name: given[name] for name in ("path", "image_topic", "truth_topic", "output") if given[name]},
        "speed": float(given["speed"]),
        "lockstep": lockstep,
    }
    files = [SHIPPED, *([given["params_file"]] if given["params_file"] else [])]
    return [
        Node(executable="tracker_node", name="tracker", parameters=[*files, tracker], **common),
        Node(executable="replay_node", name="replay", parameters=[player], **common),
    ]
