"""A thread that handles the newest item and never lags behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_COMMANDS = 32  # that wait; whoever sends faster than they can be carried out must not fill the memory


class Busy(RuntimeError):
    """Too many commands are waiting."""


class Worker(Generic[T]):
    """Handles items one at a time, and commands between two items, all in one thread of its own.

    There is one place for a waiting item: a newer one takes it, so that the work is always on the newest.
    A call that does not come back cannot be ended: then the worker is left behind, thread and all.
    """

    def __init__(
        self,
        handle: Callable[[T], None],
        left: Callable[[T], None] = lambda item: None,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """
        Args:
            handle: does the work, in the worker's thread.
            left: is told each item that leaves the waiting place, handled or replaced, in the order of their
                arrival; called under a lock, so it must be quick.
            failed: is told what `handle` raised; the worker goes on.
        """
        self._handle, self._left, self._failed = handle, left, failed
        self._changed = Condition()
        self._waiting: list[T] = []  # none or one
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopped = False
        self._running: Future[Any] | None = None
        self._thread = Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def offer(self, item: T) -> bool:
        """Put an item into the waiting place; True if it replaced one."""
        with self._changed:
            replaced = self.discard()
            self._waiting = [item]
            self._changed.notify()
            return replaced

    def discard(self) -> bool:
        """Empty the waiting place; True if there was an item."""
        with self._changed:
            discarded = self._waiting
            self._waiting = []
            for item in discarded:
                self._left(item)
            return bool(discarded)

    def submit(self, command: Callable[[], R]) -> Future[R]:
        """Run a command in the worker's thread after the item it is at; the future gets what it returns."""
        future: Future[R] = Future()
        with self._changed:
            if self._stopped:
                future.cancel()
            elif len(self._commands) >= MOST_COMMANDS:
                future.set_exception(Busy(f"{MOST_COMMANDS} commands are waiting already"))
            else:
                self._commands.append((command, future))
                self._changed.notify()
        return future

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    @property
    def at_command(self) -> bool:
        """Whether it is at a command, not at an item."""
        return self._running is not None

    def stop(self, patience_s: float | None = None) -> bool:
        """End the thread after the item it is at; False if that lasted too long: it is left behind.

        Commands that have not begun are cancelled; so is the one that it is left behind with.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(patience_s)
        for _, future in self._commands:
            future.cancel()
        if not self._thread.is_alive():
            return True
        if self._running is not None:
            with suppress(InvalidStateError):  # it has just come back
                self._running.set_exception(CancelledError())
        return False

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._commands or self._stopped)
                if self._stopped:
                    return
                items, self._waiting = self._waiting, []
                for item in items:
                    self._left(item)
            for item in items:
                try:
                    self._handle(item)
                except Exception as error:
                    self._failed(error)
            self._obey()

    def _obey(self) -> None:
        """Carry out commands until an item waits, but one at least: neither holds the other up for ever."""
        while True:
            with self._changed:
                if self._stopped or not self._commands:
                    return
                command, future = self._commands.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._running = future
            with suppress(InvalidStateError):  # the worker was left behind meanwhile
                try:
                    future.set_result(command())
                except Exception as error:
                    future.set_exception(error)
            self._running = None
            if self._waiting:
                return
