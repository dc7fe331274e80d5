"""Keeps targets followed when the engine fails or hangs, and keeps them in a file for a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..core.session import SavedTarget
from ..runtime.load import Loaded
from .options import Options
from .tracking import Outcome, Tracking

RETRY_S = 10.0  # from an engine that took over to the next one, if it fails, too
MOST_HUNG = 3  # engines that hang: each keeps a thread and its memory until the process ends
LEAVE_AFTER_S = 0.2  # that a call which hangs already still gets
STOP_AFTER_S = 5.0  # that a call gets at the end


class OutOfEngines(RuntimeError):
    """So many engines hang that only a new process helps."""


class Supervisor:
    """Tracking that goes on with another engine when one does not work.

    `tracking` and `loaded` are those of now: ask for them anew every time.
    """

    def __init__(
        self,
        loaded: Loaded,
        reload: Callable[[Loaded], Loaded],
        options: Callable[[], Options],
        report: Callable[[Outcome], None],
        failed: Callable[[str, Exception | None], None],
        keep: Callable[[tuple[SavedTarget, ...]], None] | None = None,
        saved: tuple[SavedTarget, ...] = (),
        max_age_s: float = 0.0,
    ) -> None:
        """
        Args:
            loaded: the first engine; all are closed here.
            reload: gives the next one, after one that does not work; may raise ValueError or ImportError.
            options, report, failed, keep, saved, max_age_s: see Tracking; `failed` is told of engines that
                are replaced, too.
        """
        self.loaded = loaded
        self.trouble = ""  # what is wrong with the engine right now
        self.since_s = time.monotonic()  # when the present engine took over
        self.replaced = ""  # why the present engine is not the first one
        self._reload, self._options = reload, options
        self._failed = failed
        self._hung = 0
        self._ended = False
        self._replaced_s = -RETRY_S  # by time.monotonic
        self._changing = threading.Lock()
        self.tracking = Tracking(loaded.engine, options, report, failed, keep, saved, max_age_s)

    def watch(self) -> None:
        """Look after the engine; to be called a few times a second, from any thread but the tracking one.

        Raises:
            OutOfEngines: another engine would not help.
        """
        if not self._changing.acquire(blocking=False):
            return
        try:
            if self._ended:
                return
            watchdog = self._options().watchdog
            self.trouble = self.tracking.trouble(watchdog.call_timeout_s, watchdog.failures)
            soon = time.monotonic() - self._replaced_s < RETRY_S
            hangs = self.tracking.hangs(watchdog.call_timeout_s) and not self.tracking.stopped
            if hangs or (self.trouble and not soon):
                self._replace(self.trouble)
        finally:
            self._changing.release()

    def stop(self) -> bool:
        """End it all; False if a thread had to be left behind, which the end of Python would wait for."""
        with self._changing:
            self._ended = True
            return self._end(self.tracking, STOP_AFTER_S) and not self._hung

    def _replace(self, why: str) -> None:
        old, before = self.tracking, self.loaded
        began = self._replaced_s = time.monotonic()
        is_first_try = not old.stopped
        if not self._end(old, LEAVE_AFTER_S) and is_first_try:
            self._hung += 1
        if self._hung >= MOST_HUNG:
            raise OutOfEngines(f"{why}; it is the {self._hung}. engine that hangs")
        try:
            self.loaded = self._reload(before)
        except (ValueError, ImportError) as error:
            self._failed(f"{why}, and no other engine can take over: {error}", error)
            return
        self.since_s = time.monotonic()
        took = self.since_s - began
        self.replaced = f"{why}: {self.loaded.backend} ({self.loaded.device}) took over within {took:.2f} s"
        self.tracking = old.successor(self.loaded.engine, self.replaced)
        self.trouble = ""
        self._failed(self.replaced, None)

    def _end(self, tracking: Tracking, patience_s: float) -> bool:
        if not tracking.stop(patience_s):
            return False  # its engine is in use: to close it would end the process
        with suppress(Exception):  # what a broken engine raises is of no use to anybody
            self.loaded.engine.close()
        return True
