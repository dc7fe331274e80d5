"""What is known of the tracker, and the state of it that a page is told."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..core.texts import LONGEST_LINE, one_line
from ..messages import BoxError, box_from_msg, stamp_ns
from .protocol import rounded, stamp_text

SILENT_AFTER_S = 2.0  # without a status
SPAN_S = 5.0  # of rates and shares; also how long a diagnosis counts
KEPT = 32  # states; a picture comes later than the status of its image by the time of its encoding
MOST_COUNTS = 1000
MOST_TARGETS = 64
MOST_DIAGNOSTICS = 16
STATES = {1: "TRACKING", 2: "UNCERTAIN", 3: "LOST"}
LEVELS = {1: "WARN", 2: "ERROR", 3: "STALE"}  # those of which a page is told

State = dict[str, Any]  # STATE of the protocol, or its part that comes from a status


@dataclass(frozen=True)
class _Count:
    at_s: float  # of arrival
    received: int
    dropped: int


class Board:
    """The newest that the tracker said. Times are those of one steady clock, in s; not thread-safe.

    Messages are distill_tracker_msgs/TrackerStatus and diagnostic_msgs/DiagnosticStatus. Their texts come
    from others, and what is kept of them is bounded.
    """

    def __init__(self) -> None:
        self._present = False  # whether there is a tracker node, silent or not
        self._heard_s = -math.inf  # when the newest status came
        self._states: deque[tuple[int, State]] = deque(maxlen=KEPT)  # stamp of the image in ns, its state
        self._number = 0  # of statuses so far
        self._counts: deque[_Count] = deque(maxlen=MOST_COUNTS)  # of the statuses of the last seconds
        self._diagnostics: dict[str, tuple[float, State]] = {}  # by name, with the time of arrival

    def heard(self, status: Any, now_s: float) -> None:
        """A status came."""
        count = _Count(now_s, status.frames_received, status.frames_dropped)
        if self._counts and count.received < self._counts[-1].received:
            self._counts.clear()  # it is another tracker, or was activated again
        self._counts.append(count)
        self._number += 1
        self._states.append((stamp_ns(status.header.stamp), {"number": self._number, **_state(status)}))
        self._heard_s = now_s

    def diagnosed(self, statuses: Iterable[Any], now_s: float) -> None:
        """Diagnostics of the tracker came."""
        self._diagnostics = {
            name: entry for name, entry in self._diagnostics.items() if now_s - entry[0] < SPAN_S
        }
        for status in statuses:
            name, level = _text(status.name), LEVELS.get(int.from_bytes(status.level, "little"))
            self._diagnostics.pop(name, None)
            if level and len(self._diagnostics) < MOST_DIAGNOSTICS:
                told = {"name": name, "level": level, "message": _text(status.message)}
                self._diagnostics[name] = now_s, told

    def found(self, present: bool, now_s: float) -> None:
        """Whether there is a tracker node, silent or not; what one that has gone said is forgotten."""
        self._present = present
        if self.presence(now_s) == "absent":
            self._states.clear()

    def presence(self, now_s: float) -> str:
        """running, silent or absent."""
        if now_s - self._heard_s < SILENT_AFTER_S:
            return "running"
        return "silent" if self._present else "absent"

    def outline(self, now_s: float) -> object:
        """Presence and the targets' states: when these change, viewers are told at once."""
        return self.presence(now_s), [(target["id"], target["state"]) for target in self._newest["targets"]]

    def is_settled(self, image_ns: int, now_s: float) -> bool:
        """Whether the status of the image with this stamp is there, or will not come."""
        if self.presence(now_s) != "running":
            return True
        return self._states[-1][0] > image_ns or any(stamp == image_ns for stamp, _ in self._states)

    def state(self, now_s: float, image_ns: int | None = None) -> State:
        """STATE of the protocol: that of the image with this stamp if it is there, else the newest.

        Its `number` counts statuses as they come: of two states the one with the lower number is older.
        """
        presence = self.presence(now_s)
        found = [state for stamp, state in self._states if stamp == image_ns]
        told = found[-1] if found else self._newest
        if presence == "absent":
            told = {**told, "targets": []}  # the boxes of a tracker that is gone say nothing
        rate_hz, dropped = self._flow(now_s)
        return {
            "number": self._number,
            **told,
            "tracker": presence,
            "silent_s": rounded(now_s - self._heard_s, 1) if self._states else None,
            "rate_hz": rounded(rate_hz, 1),
            "dropped": rounded(dropped, 2),
            "diagnostics": [told for at_s, told in self._diagnostics.values() if now_s - at_s < SPAN_S],
        }

    @property
    def _newest(self) -> State:
        return self._states[-1][1] if self._states else _NOTHING

    def _flow(self, now_s: float) -> tuple[float, float]:
        """Results per second, and the share of images that were dropped."""
        while self._counts and now_s - self._counts[0].at_s >= SPAN_S:
            self._counts.popleft()
        if len(self._counts) < 2:
            return 0.0, 0.0
        first, last = self._counts[0], self._counts[-1]
        received, dropped = last.received - first.received, last.dropped - first.dropped
        rate_hz = (len(self._counts) - 1) / max(last.at_s - first.at_s, 1e-3)
        return rate_hz, min(max(dropped / max(received, 1), 0.0), 1.0)


_NOTHING: State = {
    "stamp": stamp_text(0),
    "message": "",
    "model": "",
    "backend": "",
    "latency_ms": None,
    "processing_ms": 0.0,
    "targets": [],
}


def _state(status: Any) -> State:
    image_ns = stamp_ns(status.header.stamp)
    return {
        "stamp": stamp_text(image_ns),
        "message": _text(status.message),
        "model": _text(status.model),
        "backend": _text(status.backend),
        "latency_ms": rounded(status.latency_ms, 1) if status.latency_ms >= 0 else None,
        "processing_ms": rounded(status.processing_ms, 1),
        "targets": [_target(target, image_ns) for target in status.targets[:MOST_TARGETS]],
    }


def _text(text: str) -> str:
    """As much of it as is told anyway, so that a long one costs no time."""
    return one_line(text[:LONGEST_LINE])


def _target(target: Any, image_ns: int) -> State:
    try:
        box = box_from_msg(target.box).tolist()
    except BoxError:  # not of our tracker
        box = [0.0] * 4
    return {
        "id": _text(target.id),
        "label": _text(target.label),
        "state": STATES.get(target.state, "LOST"),
        "confidence": rounded(target.confidence, 3),
        "box": [rounded(side, 1) for side in box],
        "reason": _text(target.reason),
        "unseen_s": rounded(max(image_ns - stamp_ns(target.last_seen), 0) / 1e9, 2),
        "age_frames": target.age_frames,
    }
