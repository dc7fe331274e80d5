"""Leaving a run early, and in good order: signals and the end of the time that a run was given."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

TIME_OVER = 1  # as a reason, beside the numbers of SIGINT and SIGTERM


class Stopped(Exception):
    """A run left before its end, with everything saved. The message says how to go on."""

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.exit_code = 0 if reason == TIME_OVER else 128 + reason


class Interrupt:
    """Inside its block SIGINT and SIGTERM are only noted; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self, deadline: float | None = None) -> None:
        """
        Args:
            deadline: time.monotonic() at which the time is over; None = never.
        """
        self._deadline = deadline
        self._signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def reason(self) -> int:
        """The number of the signal that came, TIME_OVER, or 0: go on."""
        if self._signal:
            return self._signal
        return TIME_OVER if self._deadline is not None and time.monotonic() >= self._deadline else 0

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
