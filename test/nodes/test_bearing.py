"""~/bearing of the real node: the direction of the target, from images and camera_info on real topics."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Vector3Stamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_harness import RELIABLE, Client, NodeProcess, image_msg, running
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from synthetic import RED, background, draw_square
from vision_msgs.msg import BoundingBox2D, Detection2D
from waiting import wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import ClearTarget, SetTarget
from distill_tracker_ros.camera_info import camera_from_msg, facts
from distill_tracker_ros.core.line_of_sight import CameraError, NotCalibratedError, line_of_sight

pytestmark = pytest.mark.ros

SIZE = (320, 240)
SIDE = 24
K = (260.0, 0.0, 161.3, 0.0, 258.0, 117.8, 0.0, 0.0, 1.0)
BARREL = (-0.32, 0.11, 0.002, -0.001, -0.01)
TURN = cv2.Rodrigues(np.array([0.03, -0.02, 0.05]))[0]
PLACES = ((40, 30), (160, 120), (290, 40), (262, 210))  # of the target's middle, px; one is near a corner
SECOND = 1_000_000_000


def info(**fields: Any) -> CameraInfo:
    """A camera with a barrel distortion."""
    p = (210.0, 0.0, 158.0, 0.0, 0.0, 212.0, 121.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    usual = {
        "width": SIZE[0],
        "height": SIZE[1],
        "distortion_model": "plumb_bob",
        "d": BARREL,
        "k": np.array(K),
        "r": np.eye(3).ravel(),
        "p": np.array(p),
    }
    return CameraInfo(**(usual | fields))


def test_raw_and_rectified_images_show_the_same_direction() -> None:
    """Also with a rotation (of a stereo camera), which rectified images have undone."""
    msg = info(r=TURN.ravel())
    matrix, projection = msg.k.reshape(3, 3), msg.p.reshape(3, 4)
    raw = np.array([[[75.2, 33.9]]])
    exactly = (cv2.TERM_CRITERIA_COUNT, 100, 0)
    point = cv2.undistortPointsIter(raw, matrix, np.array(BARREL), TURN, projection, exactly)
    seen = [
        line_of_sight(camera_from_msg(msg, rectified), tuple(pixel.ravel() + 0.5), SIZE)
        for rectified, pixel in ((False, raw), (True, point))
    ]
    assert seen[0] == pytest.approx(seen[1], abs=1e-6)


def test_what_a_message_says_is_in_the_camera() -> None:
    roi = RegionOfInterest(x_offset=10, y_offset=20, width=200, height=100, do_rectify=True)
    camera = camera_from_msg(info(r=np.zeros(9), binning_x=2, roi=roi))
    assert (camera.size, camera.matrix, camera.model) == (SIZE, K, "plumb_bob")
    assert (camera.coefficients, camera.window_xywh, camera.binning) == (BARREL, (10, 20, 200, 100), (2, 1))
    assert camera.rotation == tuple(np.eye(3).ravel()) and camera.image_size == (100, 100)
    rectified = camera_from_msg(info(), rectified=True)
    assert rectified.matrix == (210, 0, 158, 0, 212, 121, 0, 0, 1) and rectified.coefficients == ()


@pytest.mark.parametrize(
    ("fields", "rectified", "kind", "reason"),
    [
        ({"k": np.zeros(9)}, False, NotCalibratedError, "not calibrated"),
        ({"k": np.zeros(9)}, True, NotCalibratedError, "not calibrated"),
        ({"p": np.zeros(12)}, True, CameraError, "fx = 0, fy = 0"),
        ({"k": np.full(9, np.nan)}, False, CameraError, "camera matrix .*nan"),
        ({"width": 0}, False, CameraError, "images of 0x240"),
        ({"d": [0.1] * 3}, False, CameraError, "plumb_bob has 4 or 5 coefficients; got 3"),
        ({"d": [0.1] * 100_000}, False, CameraError, "plumb_bob has 4 or 5 coefficients; got 100"),
        ({"distortion_model": "thin_prism"}, False, CameraError, "distortion model 'thin_prism' is unknown"),
    ],
)
def test_a_message_without_a_camera(
    fields: dict[str, Any], rectified: bool, kind: type[CameraError], reason: str
) -> None:
    with pytest.raises(CameraError, match=reason) as caught:
        camera_from_msg(info(**fields), rectified)
    assert type(caught.value) is kind


def test_facts_change_with_everything_but_the_header() -> None:
    later = info()
    later.header.stamp.sec = 5
    assert facts(later) == facts(info())
    others = [
        info(**change)
        for change in (
            {"width": 321},
            {"height": 241},
            {"distortion_model": "equidistant"},
            {"d": (0.1, 0.2, 0.0, 0.0, 0.0)},
            {"k": np.array(K) + 1},
            {"r": TURN.ravel()},
            {"p": np.zeros(12)},
            {"binning_x": 2},
            {"binning_y": 2},
            *({"roi": RegionOfInterest(**{name: 3})} for name in ("x_offset", "y_offset", "width", "height")),
        )
    ]
    assert len({facts(msg) for msg in (info(), *others)}) == len(others) + 1


def with_stamp(messages: list[Any], stamp: Any, what: str) -> Any:
    """The one message of an image."""
    (found,) = wait_until(lambda: [msg for msg in messages if msg.header.stamp == stamp], what)
    return found


class Rig:
    """A camera that shows a red square, and the tracker behind it."""

    def __init__(self, client: Client, process: NodeProcess) -> None:
        self.client, self.process = client, process
        node = client.node
        self.images = node.create_publisher(Image, "/camera/image_raw", RELIABLE)
        self.infos = node.create_publisher(CameraInfo, "/camera/camera_info", RELIABLE)
        self.bearings = client.listen(Vector3Stamped, "/tracker/bearing")
        self._detections = client.listen(Detection2D, "/tracker/detection")
        self._statuses = client.listen(TrackerStatus, "/tracker/status")
        self._diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self._stamp_ns = 1_000 * SECOND

    def look(self, place: tuple[int, int] | None, size: tuple[int, int] = SIZE, after_s: float = 0.1) -> Any:
        """Send an image of the square there, and wait for the status."""
        self._stamp_ns += round(after_s * SECOND)
        rgb, before = background(*size), len(self._statuses)
        if place:
            draw_square(rgb, np.array([place[0] - SIDE / 2, place[1] - SIDE / 2, SIDE, SIDE]), RED)
        self.images.publish(image_msg(rgb, self._stamp_ns, "camera_optical"))
        return wait_until(lambda: self._statuses[before:], "a status")[0]

    def mark(self, place: tuple[int, int]) -> None:
        """Follow the square from there on, and nothing else."""
        assert self.client.call(ClearTarget, "/tracker/clear_target").success
        self.look(place)
        box = BoundingBox2D(size_x=float(SIDE), size_y=float(SIDE))
        box.center.position.x, box.center.position.y = map(float, place)
        answer = self.client.call(SetTarget, "/tracker/set_target", box=box)
        assert answer.success, answer.message

    def calibrate(self, msg: CameraInfo, state: str) -> None:
        """Send a calibration until the diagnostics tell this of it."""

        def told() -> bool:
            self.infos.publish(msg)
            return state in self.state

        wait_until(told, f"bearing: {state}")

    @property
    def state(self) -> str:
        """What the newest diagnostics say of the bearing."""
        for status in self._diagnostics[-1].status if self._diagnostics else ():
            if status.name == "tracker: input":
                return next((pair.value for pair in status.values if pair.key == "bearing"), "")
        return ""

    def bearing(self, stamp: Any) -> Vector3Stamped:
        """That of the image with this stamp."""
        return with_stamp(self.bearings, stamp, "a bearing")

    def middle(self, stamp: Any) -> NDArray[Any]:
        """The middle of the box that was published for it."""
        found = with_stamp(self._detections, stamp, "a detection")
        return np.array([found.bbox.center.position.x, found.bbox.center.position.y])

    def set_rectified(self, value: bool) -> None:
        parameters = [Parameter("bearing.rectified", value=value).to_parameter_msg()]
        (answer,) = self.client.call(SetParameters, "/tracker/set_parameters", parameters=parameters).results
        assert answer.successful, answer.reason

    def restart(self) -> None:
        """Deactivate and activate: what was known of the camera is forgotten."""
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = Transition(id=transition)
            assert self.client.call(ChangeState, "/tracker/change_state", transition=request).success
        for publisher in (self.images, self.infos):
            wait_until(publisher.get_subscription_count, "the subscription")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bearing")
    settings = {
        "model": str(write_tiny_bundle(folder / "tiny")),
        "autostart": True,
        "image_reliability": "reliable",
    }
    client = Client()
    arguments = ["--ros-args", "-r", "image:=/camera/image_raw", "--"]
    with running("tracker_node", folder, *arguments, **settings) as process:
        rig = Rig(client, process)
        for publisher in (rig.images, rig.infos):
            wait_until(publisher.get_subscription_count, "the subscription")
        yield rig
        assert process.stop() == 0, process.output
    client.close()


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """With a target, and without a calibration."""
    shared.restart()
    shared.mark(PLACES[0])
    yield shared
    assert shared.process.alive, shared.process.output


def degrees_off(found: Any, pixel: NDArray[Any], project: Callable[[Any], Any], focal_px: float) -> float:
    """How far a bearing is from one that makes this pixel, by a projection made here."""
    vector = np.array([found.vector.x, found.vector.y, found.vector.z])
    assert np.linalg.norm(vector) == pytest.approx(1)
    made = np.ravel(project(vector)) + 0.5
    return math.degrees(np.hypot(*(made - pixel)) / focal_px)


def through(camera: CameraInfo) -> Callable[[Any], Any]:
    none = np.zeros(3)
    matrix, coefficients = camera.k.reshape(3, 3), np.array(camera.d)
    if camera.distortion_model == "equidistant":
        return lambda ray: cv2.fisheye.projectPoints(ray[None, None], none, none, matrix, coefficients)[0]
    return lambda ray: cv2.projectPoints(ray[None], none, none, matrix, coefficients)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "distortion_model": "rational_polynomial",
            "d": (0.4, 0.05, 0.0003, -0.0006, 0.002, 0.7, 0.14, 0.01),
        },
        {"distortion_model": "equidistant", "d": (-0.01, 0.004, -0.002, 0.0003)},
    ],
    ids=["plumb_bob", "rational_polynomial", "equidistant"],
)
def test_the_direction_of_the_box(rig: Rig, fields: dict[str, Any]) -> None:
    """It leads back to the middle of the box to a tenth of a degree, and has the image's header, whole."""
    camera = info(**fields)
    rig.calibrate(camera, f"320x240, {camera.distortion_model}")
    for place in PLACES:
        rig.mark(place)
        status = rig.look(place)
        found = rig.bearing(status.header.stamp)
        assert found.header == status.header and found.header.frame_id == "camera_optical"
        middle = rig.middle(status.header.stamp)
        assert np.abs(middle - place).max() < 2
        assert degrees_off(found, middle, through(camera), K[0]) < 0.1


def test_rectified_images(rig: Rig) -> None:
    """The parameter counts from the next camera_info on."""
    rig.set_rectified(True)
    try:
        rig.calibrate(info(), "320x240, no distortion")
        stamp = rig.look(PLACES[0]).header.stamp
        p = info().p.reshape(3, 4)
        off = degrees_off(
            rig.bearing(stamp), rig.middle(stamp), lambda ray: (p[:, :3] @ ray / ray[2])[:2], p[0, 0]
        )
        assert off < 0.1
    finally:
        rig.set_rectified(False)
    rig.calibrate(info(), "320x240, plumb_bob")


def test_smaller_images_of_the_same_camera(rig: Rig) -> None:
    camera = info(width=1280, height=960, k=np.array(K) * [4, 1, 4, 1, 4, 4, 1, 1, 1])
    rig.calibrate(camera, "1280x960, plumb_bob")
    stamp = rig.look(PLACES[0]).header.stamp
    assert degrees_off(rig.bearing(stamp), 4 * rig.middle(stamp), through(camera), 4 * K[0]) < 0.1


def test_without_a_calibration_there_is_no_bearing_and_no_complaint(rig: Rig) -> None:
    """A camera_info that is not calibrated is as good as none."""
    before = len(rig.process.output)
    for _ in range(3):
        rig.look(PLACES[0])
    wait_until(lambda: rig.state == "nothing has come on /camera/camera_info", "the diagnosis")
    rig.calibrate(info(k=np.zeros(9)), "the camera is not calibrated: K[0] of its camera_info is 0")
    status = rig.look(PLACES[0])
    assert status.targets[0].state == TrackedTarget.TRACKING
    rig.middle(status.header.stamp)
    assert "no_bearing" not in rig.process.output[before:]
    seen = len(rig.bearings)
    rig.calibrate(info(), "320x240, plumb_bob")
    stamp = rig.look(PLACES[0]).header.stamp
    rig.bearing(stamp)
    assert [msg.header.stamp for msg in rig.bearings[seen:]] == [stamp]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"k": np.array(K) * [-1, *[1] * 8]}, "focal lengths fx = -260, fy = 258: both must be above 0"),
        ({"d": [math.nan] * 5}, "distortion coefficients (nan, nan, nan, nan, nan): accepted are 5 finite"),
        ({"distortion_model": "magic\n[event=x]"}, "distortion model 'magic\\n[event=x]' is unknown"),
    ],
)
def test_a_bad_calibration_costs_the_bearing_and_nothing_else(
    rig: Rig, fields: dict[str, Any], reason: str
) -> None:
    """It is named in the diagnostics, told once, and tracking goes on; a good one brings bearings again."""
    rig.calibrate(info(), "320x240, plumb_bob")
    rig.bearing(rig.look(PLACES[0]).header.stamp)
    before, seen = len(rig.process.output), len(rig.bearings)
    rig.calibrate(info(**fields), reason)
    for _ in range(5):
        rig.infos.publish(info(**fields))
        status = rig.look(PLACES[0])
        assert status.targets[0].state == TrackedTarget.TRACKING
        rig.middle(status.header.stamp)
    assert rig.process.output[before:].count("no_bearing") <= 1
    rig.calibrate(info(), "320x240, plumb_bob")
    stamp = rig.look(PLACES[0]).header.stamp
    rig.bearing(stamp)
    assert [msg.header.stamp for msg in rig.bearings[seen:]] == [stamp]


def test_images_that_are_not_of_this_calibration(rig: Rig) -> None:
    rig.calibrate(info(width=320, height=320), "320x320, plumb_bob")
    seen = len(rig.bearings)
    assert rig.look(PLACES[0]).targets[0].state == TrackedTarget.TRACKING
    reason = "an image of 320x240 has another shape than the calibration's, which is 320x320"
    wait_until(lambda: rig.state == reason, reason)
    # One line every 5 s, and the tests before have had theirs.
    line = f"no bearing: {reason}"
    wait_until(lambda: rig.look(PLACES[0]) and line in rig.process.output, "a line in the log")
    assert len(rig.bearings) == seen
    rig.infos.publish(info())
    wait_until(lambda: rig.look(PLACES[0]) and len(rig.bearings) > seen, "a bearing")


def test_where_the_calibration_does_not_reach(rig: Rig) -> None:
    """The picture ends, for this lens, 122 px from its middle; a target in the corner has no direction."""
    rig.calibrate(info(d=(-1.0, 0.0, 0.0, 0.0)), "320x240, plumb_bob")
    seen = len(rig.bearings)
    assert rig.look(PLACES[0]).targets[0].state == TrackedTarget.TRACKING
    wait_until(lambda: "is outside of what the calibration covers" in rig.state, "the diagnosis")
    rig.mark(PLACES[1])
    stamp = rig.look(PLACES[1]).header.stamp
    rig.bearing(stamp)
    assert [msg.header.stamp for msg in rig.bearings[seen:]] == [stamp]
    wait_until(lambda: rig.state == "320x240, plumb_bob", "an end of it")


def test_a_lost_target_has_no_direction(rig: Rig) -> None:
    rig.calibrate(info(), "320x240, plumb_bob")
    rig.bearing(rig.look(PLACES[0]).header.stamp)
    held = rig.look(None)
    assert held.targets[0].state == TrackedTarget.UNCERTAIN
    rig.bearing(held.header.stamp)
    lost = rig.look(None, after_s=2.0)
    assert lost.targets[0].state == TrackedTarget.LOST
    states = [rig.look(PLACES[0]) for _ in range(10)]
    found = next(status for status in states if status.targets[0].state != TrackedTarget.LOST)
    rig.bearing(found.header.stamp)
    assert lost.header.stamp not in [msg.header.stamp for msg in rig.bearings]


@pytest.mark.parametrize(
    ("remappings", "transport", "expected"),
    [
        (["camera_info:=/calibration", "image:=/camera/image_raw"], "raw", "/calibration"),
        (["image:=/camera/image_raw"], "compressed", "/camera/camera_info"),
        (["image/compressed:=/radio/front/compressed"], "compressed", "/radio/camera_info"),
    ],
)
def test_the_topic_lies_beside_the_image_unless_it_is_remapped(
    remappings: list[str], transport: str, expected: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "tiny")
    names = [word for remapping in ["__node:=other", *remappings] for word in ("-r", remapping)]
    client = Client()
    settings = {"model": str(bundle), "autostart": True, "image_transport": transport}

    def subscribed() -> bool:
        topics = client.node.get_topic_names_and_types()
        known = dict(topics)
        return "sensor_msgs/msg/CameraInfo" in known.get(expected, [])

    try:
        with running("tracker_node", tmp_path, "--ros-args", *names, "--", **settings):
            wait_until(subscribed, f"a subscription to {expected}")
    finally:
        client.close()
