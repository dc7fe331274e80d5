"""The frames of the last seconds, for a target that is marked late."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Generic, TypeVar

from ..core.config import check_ranges, option
from ..core.session import NotNowError, TargetError

T = TypeVar("T")


@dataclass(frozen=True)
class HistoryConfig:
    """How many frames are kept for a target that is marked late; what is reached first counts."""

    seconds: float = option(2.0, "time kept, s; not below the age of the picture an operator sees", 0.0, 60.0)
    megabytes: float = option(200.0, "memory kept, MB; a 1280x720 image in colour has 2.8", 0.0, 4000.0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class _Entry(Generic[T]):
    stamp_ns: int
    item: T
    bytes: int


class History(Generic[T]):
    """Items in the order of their stamps, the oldest leave first; the newest stays whatever the limits are.

    Thread-safe. A stamp that goes back begins a new history, a stamp that is repeated is left out.
    """

    def __init__(self, config: HistoryConfig) -> None:
        self.config = config
        self._entries: deque[_Entry[T]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        with self._lock:
            self._clear()

    def add(self, stamp_ns: int, item: T, bytes: int) -> None:
        with self._lock:
            newest_ns = self._entries[-1].stamp_ns if self._entries else stamp_ns - 1
            if stamp_ns == newest_ns:
                return
            if stamp_ns < newest_ns:
                self._clear()
            self._entries.append(_Entry(stamp_ns, item, bytes))
            self._bytes += bytes
            while len(self._entries) > 1 and self._exceeds(self.config):
                self._bytes -= self._entries.popleft().bytes

    def at(self, stamp_ns: int) -> T:
        """The item with this stamp, or the nearest within half a frame period; a stamp of 0 is the newest's.

        Raises:
            TargetError: there is none; the text names the range that there is.
        """
        with self._lock:
            entries = list(self._entries)
        if not entries:
            raise NotNowError("no image has been tracked on yet: wait for the first one")
        if not stamp_ns:
            return entries[-1].item
        nearest = min(entries, key=lambda entry: abs(entry.stamp_ns - stamp_ns))
        stamps = [entry.stamp_ns for entry in entries]
        if abs(nearest.stamp_ns - stamp_ns) > _period_ns(stamps) / 2:
            raise TargetError(_refusal(stamp_ns, nearest.stamp_ns, stamps))
        return nearest.item

    def first_from(self, stamp_ns: int) -> T | None:
        """The first item whose stamp is not below this one; None if there is none."""
        with self._lock:
            return next((entry.item for entry in self._entries if entry.stamp_ns >= stamp_ns), None)

    def _clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _exceeds(self, config: HistoryConfig) -> bool:
        span_ns = self._entries[-1].stamp_ns - self._entries[0].stamp_ns
        return span_ns > config.seconds * 1e9 or self._bytes > config.megabytes * 1e6


def _period_ns(stamps_ns: list[int]) -> float:
    """The usual time between two items; 0 if there is only one."""
    gaps = [later - earlier for earlier, later in pairwise(stamps_ns)]
    return float(median(gaps)) if gaps else 0.0


def _refusal(stamp_ns: int, nearest_ns: int, stamps_ns: list[int]) -> str:
    oldest, newest = stamps_ns[0], stamps_ns[-1]
    if oldest < stamp_ns < newest:
        what = f"no image came within half a frame period of the stamp {_text(stamp_ns)}"
        return f"{what}: the nearest is {_text(nearest_ns)}"
    age = "older" if stamp_ns < oldest else "newer"
    accepted = f"accepted are {_text(oldest)} to {_text(newest)}, or 0 for the newest image"
    return f"the stamp {_text(stamp_ns)} is {age} than every image that is kept: {accepted}"


def _text(stamp_ns: int) -> str:
    """Seconds with all nine digits: stamps are compared exactly."""
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"
