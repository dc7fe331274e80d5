"""Numbers of the last seconds, never since the start: a rate that has dropped must show."""

from __future__ import annotations

import threading
from collections import deque
from statistics import median
from typing import NamedTuple

MOST_ENTRIES = 10_000  # of a window; those of a clock that stands still would never grow old


class Summary(NamedTuple):
    """Of the values of a window."""

    median: float
    p95: float
    worst: float


class Window:
    """Values with the time at which they were added; those older than the span are forgotten. Thread-safe.

    It has no clock: time comes in, in ns. A time that goes back begins anew: at once when a value is added,
    else from the span on, because a reader's time may be a little older than a writer's. It keeps the newest
    MOST_ENTRIES values.
    """

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._entries: deque[tuple[int, float]] = deque(maxlen=MOST_ENTRIES)
        self._newest_ns: int | None = None
        self._lock = threading.Lock()

    def add(self, now_ns: int, value: float = 0.0) -> None:
        with self._lock:
            if self._newest_ns is not None and now_ns < self._newest_ns:
                self._entries.clear()
            self._entries.append((now_ns, value))
            self._newest_ns = now_ns
            self._forget(now_ns)

    def newest_ns(self, now_ns: int) -> int | None:
        """When the last value was added, however long ago."""
        with self._lock:
            self._forget(now_ns)
            return self._newest_ns

    def count(self, now_ns: int) -> int:
        with self._lock:
            self._forget(now_ns)
            return len(self._entries)

    def rate_hz(self, now_ns: int) -> float:
        """Entries per second from the oldest one until now, so that it falls when no more come."""
        with self._lock:
            self._forget(now_ns)
            if len(self._entries) < 2:
                return 0.0
            newest_ns, oldest_ns = self._entries[-1][0], self._entries[0][0]
            period_ns = (newest_ns - oldest_ns) / (len(self._entries) - 1)
            # The time since the newest one counts as soon as the next one is overdue.
            lasted_ns = max(newest_ns, now_ns - period_ns) - oldest_ns
            return (len(self._entries) - 1) * 1e9 / lasted_ns if lasted_ns else 0.0

    def summary(self, now_ns: int) -> Summary | None:
        """None when there are no values."""
        with self._lock:
            self._forget(now_ns)
            values = sorted(value for _, value in self._entries)
        if not values:
            return None
        return Summary(median(values), values[round(0.95 * (len(values) - 1))], values[-1])

    def _forget(self, now_ns: int) -> None:
        if self._newest_ns is not None and self._newest_ns > now_ns + self._span_ns:
            self._entries.clear()
            self._newest_ns = None
        while self._entries and self._entries[0][0] <= now_ns - self._span_ns:
            self._entries.popleft()
