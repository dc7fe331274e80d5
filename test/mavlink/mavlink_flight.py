"""A drone on the desk: a real tracker that follows a played clip, the MAVLink node, and a ground station."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_harness import Client, NodeProcess, running
from sensor_msgs.msg import CameraInfo
from station_process import Heard, Station
from std_srvs.srv import SetBool
from synthetic import circle, moving_square
from tiny_bundle import write_tiny_bundle
from waiting import wait_until

from distill_tracker_msgs.msg import TrackedTarget, TrackerStatus
from distill_tracker_msgs.srv import ClearTarget
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.messages import box_from_msg, stamp_ns

VEHICLE, CAMERA = 7, 100
WIDTH, HEIGHT, SIDE = 320, 240, 32
FRAMES, RATE_HZ = 300, 20.0  # of the clip, which is played in a circle
AWAY = range(225, 270)  # frames without the target
ACCEPTED, TEMPORARILY_REJECTED, DENIED, UNSUPPORTED, IN_PROGRESS = 0, 1, 2, 3, 5
CORNERS = ("rec_top_x", "rec_top_y", "rec_bottom_x", "rec_bottom_y")
URI = "rtsp://192.168.144.25:8554/main"
VIDEO = {"video__uri": URI, "video__rate_hz": 20.0, "video__bitrate": 2_000_000, "video__hfov_deg": 70}


class Flight:
    """The nodes of a drone whose camera sees the clip, and what its tracker says."""

    def __init__(self, client: Client, station: Station, node: NodeProcess, folder: Path) -> None:
        self.client, self.station, self.node, self.folder = client, station, node, folder
        self.statuses = client.listen(TrackerStatus, "/tracker/status")
        self.diagnostics = client.listen(DiagnosticArray, "/diagnostics")
        self._infos = client.listen(CameraInfo, "/camera_info")
        self._truth = [box for _, box in clip()]
        self._began_ns = 0  # stamp of the first frame

    def begin(self) -> None:
        """Play the clip."""
        first = wait_until(lambda: self._infos, "the first image")[0]
        self._began_ns = stamp_ns(first.header.stamp)
        wait_until(lambda: self.statuses, "a status of the tracker")
        assert self.client.call(SetBool, "/video/pause", data=False).success

    def frame(self, status: TrackerStatus) -> int:
        since_ns = stamp_ns(status.header.stamp) - self._began_ns
        return round(since_ns * RATE_HZ / 1e9) % FRAMES

    def truth(self, status: TrackerStatus) -> np.ndarray:
        """The target's box in the image of a status, px."""
        return self._truth[self.frame(status)]

    def wait_for_frames(self, *frames: range) -> TrackerStatus:
        """Until the clip is in one of these parts: the newest status."""
        return wait_until(
            lambda: (
                self.statuses[-1] if any(self.frame(self.statuses[-1]) in part for part in frames) else None
            ),
            f"frames {frames}",
            60.0,
        )

    def shares(self) -> list[float]:
        """Corners of the target as it is seen now, at a time when it stays in view for some seconds."""
        x, y, w, h = self.truth(self.wait_for_frames(range(0, AWAY.start - 80)))
        return [x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT]

    def targets(self) -> dict[str, TrackedTarget]:
        return {target.id: target for target in self.statuses[-1].targets}

    def link(self) -> dict[str, str]:
        """What /diagnostics says of the link now."""
        arrays = [array.status[0] for array in self.diagnostics if array.status[0].name == "mavlink: link"]
        if not arrays:
            return {}
        values = {pair.key: pair.value for pair in arrays[-1].values}
        return {"level": str(arrays[-1].level[0]), "message": arrays[-1].message, **values}

    def set_parameter(self, name: str, value: Any) -> Any:
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        return self.client.call(SetParameters, "/mavlink/set_parameters", parameters=parameters).results[0]

    def mark(self) -> None:
        """Follow the target by a rectangle that is drawn now."""
        since = self.station.do("rectangle", corners=self.shares())
        assert self.station.ack(2005, since)["result"] == ACCEPTED
        wait_until(lambda: "mavlink" in self.targets(), "the target")

    def clear(self) -> None:
        assert self.client.call(ClearTarget, "/tracker/clear_target").success
        wait_until(lambda: not self.targets(), "no target")


def clip() -> Iterator[tuple[Any, Any]]:
    path = circle(WIDTH, HEIGHT, FRAMES)
    return moving_square(FRAMES, WIDTH, HEIGHT, SIDE, path=path, out_of_view=AWAY)


def prepare(folder: Path) -> None:
    """Put the clip and the model there."""
    (folder / "clip").mkdir()
    for number, (rgb, _) in enumerate(clip()):
        cv2.imwrite(str(folder / "clip" / f"{number}.png"), rgb[..., ::-1])
    write_tiny_bundle(folder / "tiny")


def until_joined(station: Station) -> None:
    """Until the ground station knows the camera, and the node the tracker's services and images."""
    station.wait("camera")
    wait_until(
        lambda: station.ack(2010, station.do("command", id=2010, params=[]))["result"] == ACCEPTED,
        "a node that has found the tracker's services",
    )
    wait_until(
        lambda: (
            station.ack(512, station.do("command", id=512, params=[259]))  # or one would come later
            and any(each.fields["resolution_h"] for each in station.messages("CAMERA_INFORMATION"))
        ),
        "a node that has found the tracker's status",
    )


@contextmanager
def flying(
    client: Client, folder: Path, connection: str, station: Station, model: str = ""
) -> Iterator[Flight]:
    """The nodes on this connection; the ground station has found the camera, its tracking button is on.

    Args:
        folder: see `prepare`.
        model: another one than that of the folder.
    """
    tracker = {"model": model or str(folder / "tiny"), "autostart": True, "tracker__lost_after_ms": 300}
    video = {"path": str(folder / "clip"), "rate": RATE_HZ, "loop": True, "stamps": "video"}
    with (
        running("tracker_node", folder, **tracker),
        running("mavlink_node", folder, connection=connection, **VIDEO) as node,
    ):
        flight = Flight(client, station, node, folder)
        with running("video_node", folder, start_paused=True, wait_for_subscriber=True, **video):
            flight.begin()
            until_joined(station)
            station.do("button", on=True)
            yield flight


def tracked(station: Station, since: int) -> list[Heard]:
    return station.messages("CAMERA_TRACKING_IMAGE_STATUS", since, tracking_status=1)


def overlap(flight: Flight, status: Heard) -> float:
    """IoU of a reported box with the truth of the image that it is of: the tracker's status says which."""
    corners = np.array([status.fields[name] for name in CORNERS]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    box = np.array([*corners[:2], *(corners[2:] - corners[:2])])
    of_image = [
        each
        for each in flight.statuses
        if any(np.allclose(box_from_msg(target.box), box, atol=1e-3) for target in each.targets)
    ]
    assert of_image, f"{box} is no box of the tracker"
    return max(float(iou(box, flight.truth(each))) for each in of_image)
