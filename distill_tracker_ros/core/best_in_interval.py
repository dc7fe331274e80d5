"""The best view of an interval becomes the template of the next one (MixFormer, MixFormerV2)."""

from __future__ import annotations

from .config import BestInIntervalConfig
from .frame import Pixels
from .update_rule import View


class BestInInterval:
    """Holds the most confident view of the interval that is running: one view at most.

    An interval without a view above the threshold ends with the initial template.
    """

    def __init__(self, config: BestInIntervalConfig) -> None:
        self._config = config
        self._best: View | None = None

    def __len__(self) -> int:
        return int(self._best is not None)

    @property
    def views(self) -> tuple[View, ...]:
        """The best view, if there is one."""
        return () if self._best is None else (self._best,)

    def wants(self, frame_number: int, confidence: float) -> bool:
        """Whether a view of this frame would be taken: above the threshold and what is left of the best."""
        best, left = self._best_of_interval(frame_number), 0.0
        if best is not None:
            left = best.confidence * self._config.decay ** (frame_number - best.frame_number)
        return confidence > max(self._config.threshold, left)

    def offer(self, view: View) -> bool:
        """Take a view if it is the best; it takes the place of the one before."""
        if not self.wants(view.frame_number, view.confidence):
            return False
        self._best = view
        return True

    def refresh(self, frame_number: int, initial: Pixels) -> Pixels | None:
        """The best view of the interval that ends with this frame, else the initial template."""
        if frame_number % self._config.interval_frames:
            return None
        best = self._best_of_interval(frame_number)
        return initial if best is None else best.crop

    def _best_of_interval(self, frame_number: int) -> View | None:
        """The best view if it is of the same interval as this frame; intervals begin after a multiple."""
        if self._best is None:
            return None
        interval = self._config.interval_frames
        same = (self._best.frame_number - 1) // interval == (frame_number - 1) // interval
        return self._best if same else None
