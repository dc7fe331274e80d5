"""The layout for Foxglove and the configuration for RViz, against what the running tracker offers."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import re
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import yaml
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import ROOT, Client, image_msg, running
from sensor_msgs.msg import Image
from synthetic import background
from tiny_bundle import write_tiny_bundle
from waiting import wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_ros.core.tracker import TrackState

pytestmark = pytest.mark.ros

LAYOUT = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())
PANELS: dict[str, dict[str, Any]] = LAYOUT["configById"]
SCRIPTS: dict[str, str] = {name: script["sourceCode"] for name, script in LAYOUT["userNodes"].items()}
# The topic that a script makes -> those that it needs.
MADE = {
    re.findall(r'^export const output = "(.+)";$', code, re.M)[0]: json.loads(
        re.findall(r"^export const inputs = (\[.+\]);$", code, re.M)[0]
    )
    for code in SCRIPTS.values()
}
PANEL_TYPES = {"CallService", "DiagnosticSummary", "Image", "Plot", "RawMessages", "Table"}
NUMBER = r"u?int\d+|float|double"

RVIZ = yaml.safe_load((ROOT / "config" / "tracker.rviz").read_text())
RVIZ_CLASSES = {
    *(f"rviz_common/{name}" for name in ("Displays", "Time")),
    *(f"rviz_default_plugins/{name}" for name in ("Image", "MoveCamera", "Orbit", "TF")),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Beside an active tracker."""
    folder = tmp_path_factory.mktemp("tools")
    model = str(write_tiny_bundle(folder / "tiny"))
    with running("tracker_node", folder, model=model, autostart=True):
        client = Client()
        try:
            wait_until(lambda: "/image" in topics(client), "an active tracker")
            yield client
        finally:
            client.close()


def topics(client: Client) -> dict[str, str]:
    """Topic -> type."""
    return {name: types[0] for name, types in client.node.get_topic_names_and_types()}


def services(client: Client) -> dict[str, list[str]]:
    """Service -> types."""
    return dict(client.node.get_service_names_and_types())


def message_class(name: str) -> Any:
    """pkg/msg/Name, or pkg/Name as in the fields of a message."""
    parts = name.split("/")
    kind = parts[1] if len(parts) == 3 else "msg"
    return getattr(import_module(f"{parts[0]}.{kind}"), parts[-1])


def fields(kind: Any) -> dict[str, str]:
    """Field -> type, of a class or of the name of one."""
    return (message_class(kind) if isinstance(kind, str) else kind).get_fields_and_field_types()


def filming(camera: Any, condition: Callable[[], Any], what: str) -> None:
    """Send images until a condition holds."""
    rgb = background(640, 480)

    def filmed() -> Any:
        camera.publish(image_msg(rgb, time.time_ns()))
        return condition()

    wait_until(filmed, what)


def texts(config: Any) -> Iterator[str]:
    """Every text in a configuration."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield key
            yield from texts(value)
    elif isinstance(config, list):
        for value in config:
            yield from texts(value)
    elif isinstance(config, str):
        yield config


def type_at(client: Client, path: str) -> str:
    """The type of what a path of Foxglove leads to: /topic.field[index or slice].field"""
    topic, *steps = path.split(".")
    kind = wait_until(lambda: topics(client).get(topic), topic)
    for step in steps:
        name, index = re.fullmatch(r"(\w+)(\[[\d:]+\])?", step).groups()
        kind = fields(kind)[name]
        if index:
            kind = re.fullmatch(r"sequence<([^,]+)(?:, \d+)?>", kind)[1]
    return kind


# Foxglove.


def leaves(node: Any) -> list[str]:
    """The panels in a tree of split areas."""
    if isinstance(node, str):
        return [node]
    assert set(node) == {"direction", "splitPercentage", "first", "second"}
    assert node["direction"] in ("row", "column") and 10 <= node["splitPercentage"] <= 90
    return leaves(node["first"]) + leaves(node["second"])


def test_every_panel_has_a_place_and_a_configuration() -> None:
    placed = leaves(LAYOUT["layout"])
    assert sorted(placed) == sorted(PANELS)
    assert {panel.split("!")[0] for panel in placed} == PANEL_TYPES
    assert set(LAYOUT) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    assert all(set(script) == {"name", "sourceCode"} for script in LAYOUT["userNodes"].values())


def test_every_topic_and_field_is_there(client: Client) -> None:
    named = {text for text in texts(PANELS) if text.startswith("/")}
    named -= {config["serviceName"] for config in PANELS.values() if "serviceName" in config}
    kinds = {path: type_at(client, path) for path in named - set(MADE)}
    assert named >= set(MADE) and all(needed in topics(client) for each in MADE.values() for needed in each)

    image = PANELS["Image!camera"]["imageMode"]
    assert kinds[image["imageTopic"]] == "sensor_msgs/msg/Image" and set(image["annotations"]) == set(MADE)
    diagnostics = PANELS["DiagnosticSummary!tracker"]["topicToRender"]
    assert kinds[diagnostics] == "diagnostic_msgs/msg/DiagnosticArray"
    assert kinds[PANELS["Table!targets"]["topicPath"]] == "distill_tracker_msgs/TrackedTarget"
    series = [path["value"] for panel in PANELS.values() for path in panel.get("paths", [])]
    assert len(series) == 6 and all(re.fullmatch(NUMBER, kinds[path]) for path in series)


def test_the_script_knows_the_messages(client: Client) -> None:
    """Its types are those of the ROS messages of the same names, or a part of them."""
    (code,), ((needed,),) = SCRIPTS.values(), MADE.values()
    declared = {
        name: dict(re.findall(r"(\w+): (\w+(?:\[\])?)", body))
        for name, body in re.findall(r"^type (\w+) = \{(.+)\};$", code, re.M)
    }
    assert len(declared) == len(re.findall("^type ", code, re.M))
    # Foxglove's name of a field of a time is another one than that of ROS 2.
    assert declared.pop("Time") == {"sec": "number", "nsec": "number"}
    ros = {"Header": "std_msgs"} | dict.fromkeys(("Point2D", "Pose2D", "BoundingBox2D"), "vision_msgs")
    for name, wanted in declared.items():
        offered = fields(f"{ros.get(name, 'distill_tracker_msgs')}/{name}")
        for field, kind in wanted.items():
            assert typescript(offered[field]) == kind, f"{name}.{field}"
    assert topics(client)[needed].endswith("/TrackerStatus")
    assert f"const LOST = {int(TrackState.LOST)};" in code
    colours = re.search(r"^const COLOURS = \[\n(.+?)^\];", code, re.M | re.S)[1]
    assert colours.count("r:") == 1 + max(TrackState)


def typescript(kind: str) -> str:
    """The type of a field in TypeScript; of messages the name is the same."""
    if element := re.fullmatch(r"sequence<([^,]+)>", kind):
        return f"{typescript(element[1])}[]"
    return "number" if re.fullmatch(NUMBER, kind) else kind.split("/")[-1]


def test_the_service_panels_set_and_drop_a_target(client: Client) -> None:
    camera = client.node.create_publisher(Image, "/image", 10)
    statuses = client.listen(TrackerStatus, "/tracker/status")
    filming(camera, lambda: statuses, "a result")
    panels = [config for name, config in PANELS.items() if name.startswith("CallService!")]
    for config, targets in zip(panels, (1, 0), strict=True):
        name = config["serviceName"]
        (offered,) = wait_until(lambda wanted=name: services(client).get(wanted), name)
        kind = message_class(offered)
        request = kind.Request()
        fill(request, json.loads(config["requestPayload"]))
        answer = client.call(kind, name, **{field: getattr(request, field) for field in fields(kind.Request)})
        assert answer.success, answer.message
        filming(camera, lambda count=targets: len(statuses[-1].targets) == count, f"{targets} target(s)")


def fill(message: Any, values: dict[str, Any]) -> None:
    """Write JSON into a message; every field of it has to be named."""
    assert set(values) == set(fields(type(message)))
    for name, value in values.items():
        if isinstance(value, dict):
            fill(getattr(message, name), value)
        else:
            setattr(message, name, type(getattr(message, name))(value))


# RViz.


def displays() -> list[dict[str, Any]]:
    return RVIZ["Visualization Manager"]["Displays"]


def test_rviz_is_given_classes_that_it_has() -> None:
    manager = RVIZ["Visualization Manager"]
    chosen = [*RVIZ["Panels"], *displays(), *manager["Tools"], manager["Views"]["Current"]]
    chosen.append(manager["Transformation"]["Current"])
    assert {each["Class"] for each in chosen} == RVIZ_CLASSES
    assert {each["Name"] for each in displays()} <= set(RVIZ["Window Geometry"])
    assert all(each["Enabled"] and each["Value"] for each in displays())


def test_rviz_gets_the_pictures(client: Client) -> None:
    """With the QoS of its displays, from a camera that is best effort, and from the tracker."""
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = client.node.create_publisher(Image, "/image", best_effort)
    seen = []
    for display in displays():
        topic = display["Topic"]
        assert (topic["History Policy"], topic["Durability Policy"]) == ("Keep Last", "Volatile")
        reliability = ReliabilityPolicy[topic["Reliability Policy"].upper().replace(" ", "_")]
        compressed = topic["Value"].endswith("/compressed")  # by that RViz chooses the transport
        kind = message_class(f"sensor_msgs/{'CompressedImage' if compressed else 'Image'}")
        assert f"sensor_msgs/msg/{kind.__name__}" in topics(client)[topic["Value"]]
        qos = QoSProfile(depth=topic["Depth"], reliability=reliability)
        seen.append(client.listen(kind, topic["Value"], qos))
    filming(camera, lambda: all(seen), "pictures in both displays")
