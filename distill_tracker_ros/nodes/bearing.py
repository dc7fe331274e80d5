"""The direction in which the primary target is seen, for images of a calibrated camera."""

from __future__ import annotations

from collections.abc import Callable

from geometry_msgs.msg import Vector3, Vector3Stamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ..camera_info import BearingConfig, camera_from_msg, facts
from ..core.boxes import xywh_to_cxcywh
from ..core.line_of_sight import Camera, CameraError, NotCalibratedError, line_of_sight
from .logs import Log
from .results import QOS, primary
from .tracking import Followed

INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Bearing:
    """Listens to `camera_info` and publishes ~/bearing; without a calibration it publishes nothing.

    A calibration is taken from the newest message, whatever image it came with. What is wrong with it costs
    the bearing and nothing else. One thread may listen while another one publishes.
    """

    def __init__(self, node: LifecycleNode, log: Log, config: Callable[[], BearingConfig]) -> None:
        self._node, self._log, self._config = node, log, config
        self._publisher = node.create_lifecycle_publisher(Vector3Stamped, "~/bearing", QOS)
        self._subscription: Subscription | None = None
        self._facts: tuple[object, ...] = ()  # what the camera was made of
        self._camera: Camera | str = ""  # or why there is none
        self._missed = ""  # why the newest image has no bearing

    @property
    def state(self) -> str:
        """For diagnostics: by which calibration bearings are told, or why they are not."""
        return self._missed or str(self._camera)

    def listen(self, topic: str) -> None:
        """Take the calibrations of a topic, until `stop`."""
        self._facts, self._camera, self._missed = (), f"nothing has come on {topic}", ""
        try:
            self._subscription = self._node.create_subscription(CameraInfo, topic, self._on_info, INFO_QOS)
        except RuntimeError as error:  # of the middleware
            self._camera = self._told(f"no subscription to {topic}: {error}")

    def stop(self) -> None:
        """Take no more."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def publish(self, header: Header, targets: tuple[Followed, ...], image_size: tuple[int, int]) -> None:
        """The direction of the middle of the primary target's box, if it is not lost.

        Args:
            header: of the image.
            image_size: width and height, px.
        """
        camera, target = self._camera, primary(targets)
        self._missed = ""
        if isinstance(camera, str) or target is None:
            return
        across, down = xywh_to_cxcywh(target.track.box_xywh)[:2].tolist()
        try:
            x, y, z = line_of_sight(camera, (across, down), image_size).tolist()
        except CameraError as error:
            self._missed = self._told(str(error))
        else:
            self._publisher.publish(Vector3Stamped(header=header, vector=Vector3(x=x, y=y, z=z)))

    def _on_info(self, msg: CameraInfo) -> None:
        rectified = self._config().rectified
        now = (rectified, *facts(msg))
        if now == self._facts:  # every image has one
            return
        self._facts = now
        try:
            self._camera = camera_from_msg(msg, rectified)
        except NotCalibratedError as error:  # as good as none
            self._camera = str(error)
        except CameraError as error:
            self._camera = self._told(str(error))

    def _told(self, trouble: str) -> str:
        self._log.warning("no_bearing", f"no bearing: {trouble}")
        return trouble
