"""What all viewers are told: pictures, each made into a message once, and the state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import protocol
from .pictures import Holder, Picture
from .state import Board
from .viewer import Viewer

STATE_PERIOD_S = 1.0


class Broadcast:
    """The viewers and what they see.

    Times are those of one steady clock, in s. Other threads than the server's may ask for `wanted` alone.
    """

    def __init__(self) -> None:
        self.viewers: set[Viewer] = set()
        self.pictures = 0  # made into messages so far
        self._board, self._holder = Board(), Holder()
        self._outline: object = None  # of what viewers were told last
        self._told_s = 0.0  # when that was

    @property
    def wanted(self) -> bool:
        """Whether a viewer can take a picture now."""
        return any(viewer.ready for viewer in tuple(self.viewers))

    def show(self, picture: Picture, now_s: float) -> None:
        """A picture was made."""
        self._holder.add(picture, now_s)

    def heard(self, status: Any, now_s: float) -> None:
        """A status of the tracker came."""
        self._board.heard(status, now_s)

    def diagnosed(self, statuses: Iterable[Any], now_s: float) -> None:
        """Diagnostics of the tracker came."""
        self._board.diagnosed(statuses, now_s)

    def found(self, present: bool, now_s: float) -> None:
        """Whether there is a tracker node, silent or not."""
        self._board.found(present, now_s)

    def state(self, now_s: float) -> str:
        """The message with the present state."""
        return protocol.state(self._board.state(now_s))

    def send(self, now_s: float) -> float | None:
        """Send what is due; the time until the next picture is, or None."""
        picture = self._holder.due(now_s, lambda held: self._board.is_settled(held.stamp_ns, now_s))
        if picture is not None and self.wanted:
            self.pictures += 1
            state = self._board.state(now_s, picture.stamp_ns)
            message = protocol.picture(self.pictures, picture.stamp_ns, picture.size, state, picture.jpeg)
            for viewer in self.viewers:
                viewer.offer(self.pictures, message)
        outline = self._board.outline(now_s)
        if outline != self._outline or now_s - self._told_s >= STATE_PERIOD_S:
            self._outline, self._told_s = outline, now_s
            state_message = self.state(now_s) if self.viewers else ""
            for viewer in self.viewers:
                viewer.tell(state_message)
        return self._holder.wait_s(now_s)
