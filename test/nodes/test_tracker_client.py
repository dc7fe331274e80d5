"""The client of the operators' nodes, with a real tracker: every call gets an answer, whatever it is."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import signal
from collections.abc import Iterator

import pytest
from ros_harness import RELIABLE, Client, NodeProcess, image_msg, running
from sensor_msgs.msg import Image
from synthetic import moving_square
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.nodes.tracker_client import TrackerClient

pytestmark = pytest.mark.ros
pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")

SECOND = 1_000_000_000
BEGIN_NS = 1_000 * SECOND  # a camera's clock that knows nothing of this machine's


@pytest.fixture(scope="module")
def operator(client: Client) -> TrackerClient:
    return TrackerClient(client.node, timeout_s=1.0)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    from tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")
    settings = {"model": str(bundle), "autostart": True, "image_reliability": "reliable"}
    with running("tracker_node", tmp_path_factory.mktemp("tracker"), **settings) as process:
        yield process


def test_without_a_tracker_the_answer_says_so(operator: TrackerClient) -> None:
    for answer in (operator.set_target([1, 2, 3, 4], 0), operator.clear_target(), operator.get_views()):
        got = answer.result(DEADLINE_S)
        assert not got.success and got.retry
        assert got.message.startswith("no tracker answers at /tracker/") and "is it running" in got.message
    assert operator.status is None and operator.silent_s == float("inf") and operator.image_time_ns() == 0


def test_a_target_is_set_watched_looked_at_and_cleared(
    operator: TrackerClient, client: Client, tracker: NodeProcess
) -> None:
    images = client.node.create_publisher(Image, "/image", RELIABLE)
    wait_until(images.get_subscription_count, "the subscription")
    clip = list(moving_square(4))
    for number, (rgb, box) in enumerate(clip):
        stamp = BEGIN_NS + number * SECOND
        images.publish(image_msg(rgb, stamp))
        wait_until(lambda: operator.status and operator.status.frames_processed == number + 1, "a status")  # noqa: B023
        if number == 0:
            refused = operator.set_target([-100, -100, 10, 10], 0).result(DEADLINE_S)
            assert (refused.success, refused.retry) == (False, False) and "outside" in refused.message
            old = operator.set_target(box, stamp - SECOND).result(DEADLINE_S)
            assert not old.success and "is older than every image that is kept" in old.message
            answer = operator.set_target(box, stamp, "car", "red car").result(DEADLINE_S)
            assert (answer.success, answer.id) == (True, "car"), answer
    assert operator.status is not None and operator.silent_s < DEADLINE_S
    assert [(t.id, t.label) for t in operator.status.targets] == [("car", "red car")]
    views = operator.get_views().result(DEADLINE_S)
    assert views.success and views.id == "car" and views.views[0].initial
    assert operator.clear_target("car").result(DEADLINE_S).message == "1 target(s) cleared"


def test_the_time_of_the_images_goes_on_between_them(operator: TrackerClient, tracker: NodeProcess) -> None:
    """In the clock of the camera: what the tracker takes for latency is the distance of two clocks here."""
    assert operator.status is not None and operator.status.latency_ms > 1e9
    newest = BEGIN_NS + 3 * SECOND
    for latency_s in (0.0, 0.08):
        before, since_s = operator.image_time_ns() - newest, operator.silent_s
        assert latency_s <= before / 1e9 <= since_s + latency_s
        operator.status.latency_ms = 80.0
    wait_until(lambda: operator.image_time_ns() - newest > before, "time to pass")


def test_a_tracker_that_does_not_answer_is_given_up(operator: TrackerClient, tracker: NodeProcess) -> None:
    os.kill(tracker.pid, signal.SIGSTOP)
    try:
        answer = operator.clear_target().result(DEADLINE_S)
    finally:
        os.kill(tracker.pid, signal.SIGCONT)
    assert (answer.success, answer.retry) == (False, True)
    assert answer.message == "the tracker did not answer within 1 s: the status tells what it did"
    assert operator.clear_target().result(DEADLINE_S).success
