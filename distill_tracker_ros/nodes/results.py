"""The topics on which results leave the tracker node."""

from __future__ import annotations

import cv2
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from ..core.frame import Frame
from ..core.tracker import Remembered, TrackState
from ..messages import fill_box, track_to_detection
from . import overlay
from .interfaces import Detection2D, Detection2DArray, TargetView, TrackedTarget, TrackerStatus
from .overlay import OverlayConfig
from .tracking import Counts, Followed

QOS = QoSProfile(depth=10)  # reliable


def primary(targets: tuple[Followed, ...]) -> Followed | None:
    """The first target, unless it is lost: the one that is published on its own."""
    return targets[0] if targets and targets[0].track.state is not TrackState.LOST else None


class Results:
    """Publishes what is tracked, with the header of the image; silent unless the node is active."""

    def __init__(self, node: LifecycleNode) -> None:
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", QOS)
        self._detection = node.create_lifecycle_publisher(Detection2D, "~/detection", QOS)
        self._status = node.create_lifecycle_publisher(TrackerStatus, "~/status", QOS)
        self._overlay = node.create_lifecycle_publisher(CompressedImage, "~/overlay/compressed", QOS)

    def publish_detections(self, header: Header, targets: tuple[Followed, ...]) -> None:
        """All targets that are not lost, and the primary one on its own."""
        detections = [
            track_to_detection(f.target.id, f.target.label, f.track, header)
            for f in targets
            if f.track.state is not TrackState.LOST
        ]
        self._detections.publish(Detection2DArray(header=header, detections=detections))
        if primary(targets):
            self._detection.publish(detections[0])

    def publish_status(
        self,
        header: Header,
        targets: tuple[Followed, ...],
        counts: Counts,
        *,
        size: tuple[int, int],
        model: str,
        backend: str,
        processing_ms: float,
        latency_ms: float | None,
        message: str,
    ) -> None:
        msg = TrackerStatus(
            header=header,
            width=size[0],
            height=size[1],
            model=model,
            backend=backend,
            targets=[_target_msg(followed) for followed in targets],
            frames_received=counts.received,
            frames_processed=counts.processed,
            frames_dropped=counts.dropped,
            frames_rejected=counts.rejected,
            processing_ms=processing_ms,
            latency_ms=-1.0 if latency_ms is None else latency_ms,
            message=message,
        )
        self._status.publish(msg)

    def publish_overlay(
        self, header: Header, frame: Frame, targets: tuple[Followed, ...], config: OverlayConfig
    ) -> None:
        """A picture of it all; costs nothing while nobody listens."""
        if self._overlay.get_subscription_count():
            picture = overlay.render(frame, [(f.target, f.track) for f in targets], config)
            msg = CompressedImage(header=header, format="jpeg")
            msg.data.frombytes(picture)
            self._overlay.publish(msg)


def _target_msg(followed: Followed) -> TrackedTarget:
    track = followed.track
    msg = TrackedTarget(
        id=followed.target.id,
        label=followed.target.label,
        state=int(track.state),
        confidence=track.confidence,
        age_frames=track.age_frames,
        lost_frames=followed.lost_frames,
        reason=track.reason,
    )
    msg.last_seen.sec, msg.last_seen.nanosec = divmod(track.last_seen_ns, 1_000_000_000)
    fill_box(msg.box, track.box_xywh)
    return msg


def view_to_msg(view: Remembered) -> TargetView:
    """A remembered view, its picture as a JPEG."""
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(view.crop, cv2.COLOR_RGB2BGR))[1]
    msg = TargetView(
        initial=view.initial,
        in_template=view.in_template,
        confidence=-1.0 if view.confidence is None else view.confidence,
        age_frames=view.age_frames,
    )
    msg.picture.format = "jpeg"
    msg.picture.data.frombytes(jpeg.tobytes())
    return msg
