"""The Target Store: confident views of the target, and the one that stands for them (EATrack)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .config import StoreConfig
from .frame import Pixels
from .update_rule import View


def representative(views: Sequence[View]) -> View:
    """The weighted medoid: argmax_n c_n mean_m <e_n, e_m>, ties to the newest.

    The reading of EATrack's "representative embedding" as the most central reliable view.
    """
    embeddings = np.stack([v.embedding for v in views])
    centrality = (embeddings @ embeddings.T).mean(axis=1)
    merit = np.array([v.confidence for v in views]) * centrality
    newest_best = len(views) - 1 - int(np.argmax(merit[::-1]))
    return views[newest_best]


class TargetStore:
    """A bounded set of views that resemble the first one; at intervals the template is one of them."""

    def __init__(self, config: StoreConfig, began: int = 0) -> None:
        """`began`: number of the frame before the first one that is offered."""
        self._config = config
        self._views: deque[View] = deque(maxlen=config.capacity)
        self._anchor: NDArray[np.float32] | None = None  # embedding of the first confident frame
        self._last_insertion = began

    def __len__(self) -> int:
        return len(self._views)

    @property
    def views(self) -> tuple[View, ...]:
        """The views held, in the order of their insertion."""
        return tuple(self._views)

    def clear(self, frame_number: int) -> None:
        """Forget all views but not the anchor, and count from this frame on."""
        self._views.clear()
        self._last_insertion = frame_number

    def wants(self, frame_number: int, confidence: float) -> bool:
        """Whether a view of this frame would be taken: confident, and not too soon after the last."""
        soon = bool(self._views) and frame_number - self._last_insertion < self._config.min_gap_frames
        return confidence > self._config.threshold and not soon

    def offer(self, view: View) -> bool:
        """Take a view if it is wanted and resembles the first one; the oldest leaves when full."""
        if not self.wants(view.frame_number, view.confidence):
            return False
        if self._anchor is None:
            self._anchor = view.embedding
        if float(view.embedding @ self._anchor) < self._config.gate:
            return False
        self._views.append(view)
        self._last_insertion = view.frame_number
        return True

    def refresh(self, frame_number: int, initial: Pixels) -> Pixels | None:
        """At the interval: the representative view; the initial template after too long without a view."""
        if not self.due(frame_number):
            return None
        if self.stale(frame_number):
            self.clear(frame_number)
            return initial
        view = self.choose()
        return view.crop if view else None

    def due(self, frame_number: int) -> bool:
        """Whether this frame is one at which the template may be refreshed."""
        return frame_number > 0 and frame_number % self._config.interval_frames == 0

    def stale(self, frame_number: int) -> bool:
        """Whether nothing was inserted for so long that the refreshed template is no longer trusted."""
        return frame_number - self._last_insertion >= self._config.reset_after_frames

    def choose(self) -> View | None:
        """The view that represents the store, or None when it is empty."""
        return representative(self._views) if self._views else None
