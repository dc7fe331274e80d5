"""How a template is kept up to date: what the tracker offers to every rule, and asks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .frame import Pixels


@dataclass(frozen=True)
class View:
    """How the target looked in one frame."""

    frame_number: int  # frames since the target was set
    confidence: float
    crop: Pixels  # (Hz, Wz, 3) RGB, template size
    embedding: NDArray[np.float32]  # (E,), L2-normalised; E = 0 if the model gives none


class UpdateRule(Protocol):
    """A bounded memory of views. It holds no network: the tracker encodes the crop that it is given.

    The initial template never enters and is never lost: it stays in slot 1 of the tracker.
    """

    @property
    def views(self) -> tuple[View, ...]:
        """The views held, the one that was taken last at the end."""
        ...

    def __len__(self) -> int:
        """Views held."""
        ...

    def wants(self, frame_number: int, confidence: float) -> bool:
        """Whether a view of this frame may be taken; asked before one is cut."""
        ...

    def offer(self, view: View) -> bool:
        """Take a view, or refuse it."""
        ...

    def refresh(self, frame_number: int, initial: Pixels) -> Pixels | None:
        """The crop for every slot but the first from this frame on; None leaves them as they are.

        It is asked once a frame, after the frame's own view was offered.

        Args:
            initial: the initial template, for a rule that goes back to it.
        """
        ...


class FixedTemplate:
    """The rule "none": the initial template is all that there is."""

    views: tuple[View, ...] = ()

    def __len__(self) -> int:
        return 0

    def wants(self, frame_number: int, confidence: float) -> bool:
        return False

    def offer(self, view: View) -> bool:
        return False

    def refresh(self, frame_number: int, initial: Pixels) -> Pixels | None:
        return None
