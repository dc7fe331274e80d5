"""Track on a camera's images, or on a video file, for operators with a browser or a ground station.

ros2 launch distill_tracker_ros track.launch.py image_topic:=/camera/image_raw
ros2 launch distill_tracker_ros track.launch.py image_topic:=/camera/image_raw operator:=web
ros2 launch distill_tracker_ros track.launch.py video:=flight.mp4
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

PACKAGE = "distill_tracker_ros"
CONFIG = PathJoinSubstitution([FindPackageShare(PACKAGE), "config"])
SHIPPED = PathJoinSubstitution([CONFIG, "tracker.yaml"])
# Without it most large images are lost between two processes; one that the user has chosen goes first.
DDS_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
LARGE_IMAGES = PathJoinSubstitution([CONFIG, "fastdds_large_images.xml"])
FLAG = ["true", "false"]
OPERATORS = {"none": [], "web": ["web"], "mavlink": ["mavlink"], "all": ["web", "mavlink"]}

# Name, default, description, choices. What is empty is left to the parameter files.
ARGUMENTS = [
    ("image_topic", "image", "topic of the images; compressed ones come on <image_topic>/compressed", None),
    ("image_transport", "", "raw or compressed", ["", "raw", "compressed"]),
    ("model", "", "name of a model in models/, or a folder with a manifest.yaml", None),
    ("backend", "", "runtime that executes the model", None),
    ("params_file", "", "parameters that go over those of config/tracker.yaml, of all nodes", None),
    ("operator", "none", "who marks targets: web = browsers, mavlink = a ground station", [*OPERATORS]),
    ("web_host", "", "address on which the page is served, 0.0.0.0 for all", None),
    ("mavlink_connection", "", "how the autopilot or the ground station is reached", None),
    ("namespace", "", "namespace of the nodes", None),
    ("autostart", "true", "let the tracker configure and activate itself", FLAG),
    ("use_sim_time", "false", "take the time from /clock, as for `ros2 bag play --clock`", FLAG),
    ("respawn", "true", "start a node again when its process ends or is killed", FLAG),
    ("restore_targets", "", "let a tracker that was killed go on with its targets", ["", *FLAG]),
    ("log_level", "info", "least severity that is logged", ["debug", "info", "warn", "error", "fatal"]),
    ("video", "", "video file or folder of images, played in place of a camera", None),
]


def generate_launch_description() -> LaunchDescription:
    """The tracker, what operators connect to, and a player if a video is given."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[Node]:
    """The nodes, for the arguments that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    camera = "".join(given["image_topic"].rpartition("/")[:2])  # images and camera_info lie side by side
    common = {
        "package": PACKAGE,
        "namespace": given["namespace"],
        "remappings": [
            ("image", given["image_topic"]),
            ("image/compressed", f"{given['image_topic']}/compressed"),
            ("camera_info", f"{camera}camera_info"),
        ],
        "ros_arguments": ["--log-level", given["log_level"]],
        "additional_env": {DDS_PROFILE: EnvironmentVariable(DDS_PROFILE, default_value=LARGE_IMAGES)},
        "output": "screen",
    }
    flags = {"use_sim_time": given["use_sim_time"] == "true"}
    restore = {"restore.targets": given["restore_targets"] == "true"} if given["restore_targets"] else {}
    again = {"respawn": given["respawn"] == "true", "respawn_delay": 1.0}
    transport = _said(image_transport=given["image_transport"])
    model = _said(model=given["model"], backend=given["backend"])
    files = [given["params_file"]] if given["params_file"] else []
    tracker = {**model, **transport, **flags, **restore, "autostart": given["autostart"] == "true"}
    parameters = [SHIPPED, *files, tracker]
    nodes = [Node(executable="tracker_node", name="tracker", parameters=parameters, **again, **common)]
    faces = {
        "web": {**transport, **_said(host=given["web_host"])},
        "mavlink": _said(connection=given["mavlink_connection"]),
    }
    for name in OPERATORS[given["operator"]]:
        parameters = [*files, {**faces[name], **flags}]
        nodes.append(Node(executable=f"{name}_node", name=name, parameters=parameters, **again, **common))
    if given["video"]:
        video = {
            "path": given["video"],
            "transport": given["image_transport"] or "raw",
            "wait_for_subscriber": True,
            **flags,
        }
        nodes.append(Node(executable="video_node", name="video", parameters=[video], **common))
    return nodes


def _said(**texts: str) -> dict[str, str]:
    """Those that are not empty: the others are left to the parameter files."""
    return {name: text for name, text in texts.items() if text}
