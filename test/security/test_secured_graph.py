"""The real tracker on a secured graph, with keys made from the shipped policy, and those who must stay out.

It takes a middleware that was built with security: Debian's ROS 2 packages are, the wheels are not.
"""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from keystore import make_keystore
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from ros_harness import RELIABLE, Client, NodeProcess, domain_id, image_msg, running
from sensor_msgs.msg import Image
from sros2_policy import Rights, read_rights
from synthetic import moving_square
from vision_msgs.msg import BoundingBox2D, Detection2DArray
from waiting import DEADLINE_S, wait_until

from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.core.boxes import xywh_to_cxcywh

pytestmark = pytest.mark.ros
pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
if not shutil.which("openssl"):
    pytest.skip("openssl is missing: it signs the keys", allow_module_level=True)

NODE = "test_client"  # the name of the harness's node, which has the rights of others here
SILENCE_S = 3.0  # in which a peer that is let in has long been heard
NO_SECURITY = "doesn't have the security libraries"
ENCLAVES = {
    "/tracker": read_rights("/tracker"),
    "/operator": read_rights("/operator", node=NODE),
    "/video": read_rights("/video", node=NODE),
    # Known to the operator of the network, but nobody that has to do with targets.
    "/stranger": read_rights("/operator", node=NODE)
    - Rights(
        publish=frozenset({"/tracker/target"}),
        request=frozenset({"/tracker/set_target", "/tracker/clear_target", "/tracker/get_views"}),
    ),
}

INTRUDER = f"""
import json, sys, time
import rclpy
from distill_tracker_msgs.msg import TrackerStatus
from distill_tracker_msgs.srv import ClearTarget
from sensor_msgs.msg import Image

rclpy.init(domain_id=int(sys.argv[1]))
node = rclpy.create_node("{NODE}")
statuses = []
node.create_subscription(TrackerStatus, "/tracker/status", statuses.append, 10)
images = node.create_publisher(Image, "/image", 10)
service = node.create_client(ClearTarget, "/tracker/clear_target")
calls = []
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    if statuses and any(call.done() for call in calls) and "tracker" in node.get_node_names():
        break
    images.publish(Image())
    calls.append(service.call_async(ClearTarget.Request()))
    rclpy.spin_once(node, timeout_sec=0.1)
print(json.dumps({{
    "ready": service.service_is_ready(),
    "answered": any(call.done() for call in calls),
    "nodes": node.get_node_names(),
    "statuses": len(statuses),
    "listeners": images.get_subscription_count(),
}}))
"""


def secured(keystore: Path) -> dict[str, str]:
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keystore(tmp_path_factory.mktemp("security") / "keystore", ENCLAVES, domain_id())


@pytest.fixture(scope="module")
def needs_security(keystore: Path) -> None:
    program = f"import rclpy; rclpy.init(domain_id={domain_id()}); rclpy.create_node('{NODE}')"
    environment = os.environ | secured(keystore) | {"ROS_SECURITY_ENCLAVE_OVERRIDE": "/operator"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    if NO_SECURITY in result.stderr:
        pytest.skip("this middleware was built without security")
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def client_of(keystore: Path, needs_security: None) -> Iterator[Callable[[str], Client]]:
    """A client in an enclave."""
    clients: dict[str, Client] = {}

    def make(enclave: str) -> Client:
        if enclave not in clients:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in secured(keystore).items():
                    patch.setenv(name, value)
                patch.setenv("ROS_SECURITY_ENCLAVE_OVERRIDE", enclave)
                clients[enclave] = Client()
        return clients[enclave]

    yield make
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def tracker(
    keystore: Path, needs_security: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("tracker")
    bundle = write_tiny_bundle(folder / "tiny")
    parameters = ["-p", f"model:='{bundle}'", "-p", "autostart:=true", "-p", "image_reliability:=reliable"]
    arguments = ["--ros-args", "--enclave", "/tracker", *parameters]
    process = NodeProcess("tracker_node", folder, *arguments, env=secured(keystore))
    try:
        wait_until(lambda: "loaded by" in process.output, "the model")
        yield process
        assert process.stop() == 0, process.output
    finally:
        process.kill()
        print(process.output)


def intrude(seconds: float) -> dict[str, Any]:
    """What INTRUDER has seen when it has seen everything, or after so long."""
    environment = os.environ | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    command = [sys.executable, "-c", INTRUDER, str(domain_id()), str(seconds)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@contextmanager
def refused() -> Iterator[None]:
    """The middleware does not make an endpoint that the enclave has no right to."""
    with pytest.raises(Exception, match="(?i)failed to create|invalid allocator"):
        yield


def test_an_operator_sets_a_target_and_sees_it_tracked(
    client_of: Callable[[str], Client], tracker: NodeProcess
) -> None:
    operator, camera = client_of("/operator"), client_of("/video")
    detections = operator.listen(Detection2DArray, "/tracker/detections")
    statuses = operator.listen(TrackerStatus, "/tracker/status")
    images = camera.node.create_publisher(Image, "/image", RELIABLE)
    wait_until(images.get_subscription_count, "the tracker's subscription")
    wait_until(lambda: operator.node.count_publishers("/tracker/detections"), "the tracker's results")

    frames = list(moving_square(6))
    for number, (rgb, box) in enumerate(frames):
        before = len(statuses)
        images.publish(image_msg(rgb, (number + 1) * 100_000_000))
        wait_until(lambda before=before: len(statuses) > before, "a status")
        if number == 0:
            x, y, width, height = xywh_to_cxcywh(box).tolist()
            msg = BoundingBox2D(size_x=width, size_y=height)
            msg.center.position.x, msg.center.position.y = x, y
            answer = operator.call(SetTarget, "/tracker/set_target", box=msg, id="car")
            assert answer.success, answer.message
    wait_until(lambda: len(detections) == len(frames), "all detections")
    assert [d.id for d in detections[-1].detections] == ["car"]
    assert operator.call(ClearTarget, "/tracker/clear_target", id="car").success


def test_an_operator_can_do_nothing_else(client_of: Callable[[str], Client], tracker: NodeProcess) -> None:
    """No pictures in or out, no parameters, no transitions: the endpoints are not even made."""
    node: Node = client_of("/operator").node
    attempts: list[Callable[[], Any]] = [
        lambda: node.create_publisher(Image, "/image", RELIABLE),
        lambda: node.create_subscription(Image, "/image", print, RELIABLE),
        lambda: node.create_publisher(Detection2DArray, "/tracker/detections", RELIABLE),
        lambda: node.create_client(SetParameters, "/tracker/set_parameters"),
        lambda: node.create_client(ChangeState, "/tracker/change_state"),
    ]
    for attempt in attempts:
        with refused():
            attempt()


def test_a_known_peer_without_the_right_cannot_set_a_target(
    client_of: Callable[[str], Client], tracker: NodeProcess
) -> None:
    node = client_of("/stranger").node
    wait_until(lambda: node.count_publishers("/tracker/status"), "the tracker, which it may see")
    with refused():
        node.create_client(SetTarget, "/tracker/set_target")


def test_who_has_no_keys_sees_and_reaches_nothing(
    client_of: Callable[[str], Client], tracker: NodeProcess
) -> None:
    """In a process of its own, as a peer on the network is."""
    statuses = client_of("/operator").listen(TrackerStatus, "/tracker/status")
    seen = intrude(SILENCE_S)
    assert seen == {"ready": False, "answered": False, "nodes": [NODE], "statuses": 0, "listeners": 0}
    assert statuses == []


def test_on_a_graph_that_is_not_secured_the_same_peer_gets_everything(tmp_path: Path) -> None:
    """What SROS2 is for; and the tests above would see an intruder."""
    from tiny_bundle import write_tiny_bundle

    settings = {"model": str(write_tiny_bundle(tmp_path / "tiny")), "autostart": True}
    with running("tracker_node", tmp_path, **settings) as process:
        wait_until(lambda: "loaded by" in process.output, "the model")
        seen = intrude(DEADLINE_S)
    assert seen["ready"] and seen["answered"] and seen["listeners"] == 1
    assert set(seen["nodes"]) == {NODE, "tracker"} and seen["statuses"] > 0


def test_a_node_without_keys_does_not_start(keystore: Path, tmp_path: Path) -> None:
    """Neither does one whose middleware was built without security: it never runs unsecured by mistake."""
    arguments = ["--ros-args", "--enclave", "/nobody"]
    process = NodeProcess("tracker_node", tmp_path, *arguments, env=secured(keystore))
    try:
        assert process.wait() == 1, process.output
        assert "error: " in process.output
    finally:
        process.kill()
