"""A tracker of the tests: messages like its own, and answers to what the server asks it."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from distill_tracker_ros.core.boxes import xywh_to_cxcywh

SECOND = 1_000_000_000


def time_of(stamp_ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)


def target(
    id: str = "car", state: int = 1, box: Any = (10, 20, 30, 40), seen_ns: int = 0, **fields: Any
) -> SimpleNamespace:
    """Like distill_tracker_msgs/TrackedTarget."""
    x, y, w, h = (float(value) for value in xywh_to_cxcywh(box))
    centre = SimpleNamespace(position=SimpleNamespace(x=x, y=y), theta=0.0)
    usual = {"label": "", "confidence": 0.9, "age_frames": 5, "reason": ""}
    return SimpleNamespace(
        id=id,
        state=state,
        box=SimpleNamespace(center=centre, size_x=w, size_y=h),
        last_seen=time_of(seen_ns),
        **usual | fields,
    )


def status(stamp_ns: int, *targets: SimpleNamespace, **fields: Any) -> SimpleNamespace:
    """Like distill_tracker_msgs/TrackerStatus."""
    usual = {
        "message": "",
        "model": "tiny",
        "backend": "onnxruntime",
        "latency_ms": 12.34,
        "processing_ms": 3.21,
        "frames_received": 0,
        "frames_dropped": 0,
    }
    header = SimpleNamespace(stamp=time_of(stamp_ns))
    return SimpleNamespace(header=header, targets=list(targets), **usual | fields)


def diagnosis(name: str, level: int, message: str = "") -> SimpleNamespace:
    """Like diagnostic_msgs/DiagnosticStatus."""
    return SimpleNamespace(name=name, level=bytes([level]), message=message)


class TrackerDouble:
    """Answers as nodes.tracker_client does: at once, or when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.holds = False  # leave questions open
        self.views = (view(),)
        self.open: list[Future[Any]] = []

    def set_target(self, box_xywh: Any, stamp_ns: int, id: str, label: str) -> Future[Any]:
        return self._ask("set", tuple(box_xywh), stamp_ns, id, label)

    def clear_target(self, id: str) -> Future[Any]:
        return self._ask("clear", id)

    def get_views(self, id: str) -> Future[Any]:
        return self._ask("views", id)

    def _ask(self, *question: Any) -> Future[Any]:
        self.asked.append(question)
        future: Future[Any] = Future()
        if self.holds:
            self.open.append(future)
        elif "broken" in question:
            future.set_exception(RuntimeError("a fault of the test"))
        elif "unknown" in question:
            future.set_result(said(False, "there is no target 'unknown'"))
        else:
            future.set_result(said(True, "done", id="car", views=self.views))
        return future


def said(success: bool, message: str, id: str = "", views: tuple[Any, ...] = ()) -> SimpleNamespace:
    return SimpleNamespace(success=success, message=message, id=id, views=views)


def view(confidence: float = 0.5, jpeg: bytes = b"\xff\xd8jpeg", **fields: Any) -> SimpleNamespace:
    """Like distill_tracker_msgs/TargetView."""
    usual = {"initial": True, "in_template": True, "age_frames": 7}
    picture = SimpleNamespace(data=jpeg)
    return SimpleNamespace(picture=picture, confidence=confidence, **usual | fields)
