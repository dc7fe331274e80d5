"""The operator's page in a browser: pictures, targets and their states; targets are set and dropped there."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ..core.config import choice, option
from ..messages import ImageError
from ..web.pictures import make_picture
from .logs import Log
from .parameters import Parameters
from .results import QOS
from .running import NodeError, run
from .topics import image_topic
from .tracker_client import TrackerClient
from .worker import Worker

try:
    from ..web.listener import ServerError
    from ..web.server import Server, Settings
except ModuleNotFoundError as error:
    advice = "'sudo apt install python3-aiohttp', or 'pip install aiohttp'"
    sys.exit(f"distill_tracker_ros: the operator's page needs {error.name}: {advice}")

LOOK_PERIOD_S = 0.25  # at whether pictures are wanted
LINGER_S = 2.0  # of the subscription when nobody wants pictures any more
DIAGNOSTICS_PERIOD_S = 1.0


@dataclass(frozen=True)
class PictureConfig:
    """The pictures on the page; the tracker looks at the camera's own."""

    width_px: int = option(960, "wider images are made smaller; 0 = never", 0, 8192)
    rate_hz: float = option(15.0, "most pictures per second", 0.1, 60.0)
    jpeg_quality: int = option(
        70, "quality of their JPEG; one that is small enough is passed on as it is", 1, 100
    )


@dataclass(frozen=True)
class WebOptions:
    """Everything that can be set on the web node."""

    host: str = option("127.0.0.1", "address to listen on: 127.0.0.1 = this machine alone, 0.0.0.0 = all")
    port: int = option(8088, "port to listen on; 0 = a free one", 0, 65_535)
    token: str = option(
        "", "secret that opens the page; empty = made at start where one is needed, and printed"
    )
    open_view: bool = option(False, "let everybody watch; to set and drop targets takes the token")
    allowed_origins: str = option(
        "", "addresses of the page behind a proxy, with commas between them, such as https://drone.example"
    )
    allowed_hosts: str = option("", "names of this machine by which the page is opened, with commas between")
    max_viewers: int = option(8, "pages that are served at once", 1, 64)
    image_transport: str = choice(
        "raw takes sensor_msgs/Image on image; compressed takes CompressedImage on image/compressed",
        "raw",
        "compressed",
    )
    service_timeout_s: float = option(5.0, "longest time a request waits for the tracker, s", 0.1, 600.0)
    picture: PictureConfig = PictureConfig()


class WebNode(Node):
    """Hands images and the tracker's words to the server, and viewers' requests to the tracker.

    It takes images only while somebody can see them.
    """

    def __init__(self) -> None:
        super().__init__("web")
        self._settings = Parameters(self, WebOptions(), _refusal)
        options = self._settings.value
        self._log = Log(self.get_logger())
        self._subscription: Subscription | None = None  # while pictures are wanted
        self._wanted_s = 0.0  # when they were last, by time.monotonic
        self._next_s = 0.0  # when the next picture may be made
        client = TrackerClient(self, options.service_timeout_s, lambda status: self._server.heard(status))
        self._status_topic = self.resolve_topic_name("tracker/status")
        try:
            self._server = Server(_server_settings(options), client, self._log)
        except ServerError as error:
            super().destroy_node()  # the middleware's threads must not outlive what they use
            raise NodeError(str(error)) from error
        self._encoder = Worker(self._encode, failed=self._on_unusable)
        # Not by a logger: what it says goes to /rosout, and who may read that is not who may command.
        print(f"the page is at {self._server.url}", flush=True)

        self._figures = self._server.figures  # as they were told last
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QOS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QOS)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in (
            (LOOK_PERIOD_S, self._look),
            (DIAGNOSTICS_PERIOD_S, self._publish_diagnostics),
        ):
            self.create_timer(
                period_s, callback, callback_group=MutuallyExclusiveCallbackGroup(), clock=steady
            )

    def destroy_node(self) -> None:
        self._server.stop()
        self._encoder.stop()
        super().destroy_node()

    # Images.

    def _look(self) -> None:
        """Subscribe to images while they are wanted."""
        if self._server.failure:
            raise NodeError(self._server.failure)
        self._server.found(self.count_publishers(self._status_topic) > 0)
        now_s = time.monotonic()
        if self._server.wanted:
            self._wanted_s = now_s
            if self._subscription is None:
                self._subscribe()
        elif self._subscription is not None and now_s - self._wanted_s > LINGER_S:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self) -> None:
        transport = self._settings.value.image_transport
        topic, kind = image_topic(self, transport), Image if transport == "raw" else CompressedImage
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        try:
            self._subscription = self.create_subscription(kind, topic, self._on_image, qos)
        except RuntimeError as error:  # of the middleware
            hint = "under SROS2 the node's enclave needs the right to it"
            self._log.error("no_subscription", f"no subscription to {topic}: {error}; {hint}")

    def _on_image(self, msg: Image | CompressedImage) -> None:
        if not self._server.wanted:
            return
        self._wanted_s = now_s = time.monotonic()
        if now_s < self._next_s:
            return
        # From the time that was due, so that the rate is right for images that come at another one.
        self._next_s = max(self._next_s + 1 / self._settings.value.picture.rate_hz, now_s)
        self._encoder.offer(msg)

    def _encode(self, msg: Image | CompressedImage) -> None:
        config = self._settings.value.picture
        self._server.show(make_picture(msg, config.width_px, config.jpeg_quality))

    def _on_unusable(self, error: Exception) -> None:
        if isinstance(error, ImageError):
            self._log.warning("image_rejected", f"image rejected: {error}")
        else:
            self._log.error("picture_failed", f"no picture was made: {type(error).__name__}: {error}")

    # Diagnostics: those of the tracker are shown, and there is one of this node.

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        tracker = self._status_topic.split("/")[-2]
        if statuses := [status for status in msg.status if status.name.startswith(f"{tracker}: ")]:
            self._server.diagnosed(statuses)

    def _publish_diagnostics(self) -> None:
        figures, before = self._server.figures, self._figures
        self._figures = figures
        rate_hz = (figures.pictures - before.pictures) / DIAGNOSTICS_PERIOD_S
        values = {
            "viewers": figures.viewers,
            "pictures_hz": f"{rate_hz:.1f}",
            "refused": figures.refused,
            "last_refusal": figures.last_refusal,
        }
        new = figures.refused - before.refused
        status = DiagnosticStatus(
            name=f"{self.get_name()}: web",
            hardware_id=self.get_name(),
            level=DiagnosticStatus.WARN if new else DiagnosticStatus.OK,
            message=f"{new} refused: {figures.last_refusal}" if new else f"{figures.viewers} viewer(s)",
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(DiagnosticArray(header=Header(stamp=now), status=[status]))


def _server_settings(options: WebOptions) -> Settings:
    return Settings(
        host=options.host,
        port=options.port,
        token=options.token,
        open_view=options.open_view,
        allowed_origins=_listed(options.allowed_origins),
        allowed_hosts=_listed(options.allowed_hosts),
        max_viewers=options.max_viewers,
    )


def _listed(text: str) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())


def _refusal(parameter: str) -> str:
    """Why a parameter cannot change while the node runs."""
    return (
        "" if parameter.startswith("picture.") else f"{parameter} is fixed when the node starts: set it there"
    )


def main() -> int:
    """Run the node until it is told to end."""
    return run(WebNode)


if __name__ == "__main__":
    sys.exit(main())
