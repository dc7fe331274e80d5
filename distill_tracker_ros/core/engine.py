"""What the core knows of a network: its description and two calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration
from .config import UpdateConfig

# What `encode_template` gave, for the engine that gave it: arrays of its runtime, perhaps on a device.
State = tuple[Any, ...]


@dataclass(frozen=True)
class TensorSpec:
    """A state tensor between the template graph and the search graph; `shape` is without the batch axis."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ModelSpec:
    """Everything the tracker must know of a model, whatever its method."""

    name: str
    method: str
    template_slots: int  # T, crops that the template graph takes at once
    template_size: int  # px, side of a template crop
    template_factor: float  # region side / sqrt(w h) of the target
    search_size: int
    search_factor: float
    grid: int  # G, side of the score map
    window_weight: float  # 0..1, see decode.hann_window
    states: tuple[TensorSpec, ...]
    embedding_size: int  # E, 0 when the search graph gives none
    update: UpdateConfig  # how the template is refreshed: the rule and its numbers
    confidence_kind: Literal["probability", "peakedness"]
    lost_threshold: float  # of the calibrated confidence, as all thresholds
    tracking_threshold: float = 0.0  # from which the box is believed; 0 = the lost threshold
    redetect_threshold: float = 0.0  # what a scanned place needs; 0 = halfway from the lost threshold to 1
    calibration: Calibration = Calibration()  # peak of the score map -> confidence


class SearchOutput(NamedTuple):
    """The maps of B search regions."""

    score_map: NDArray[np.float32]  # (B, G, G), in (0, 1), no window
    box_map: NDArray[np.float32]  # (B, 4, G, G), cxcywh relative to the search side
    embedding: NDArray[np.float32] | None  # (B, E), L2-normalised


class Engine(Protocol):
    """A loaded model behind a runtime. Calls are synchronous and not thread-safe."""

    @property
    def spec(self) -> ModelSpec: ...

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        """(B, T, Hz, Wz, 3) RGB -> the state tensors, each with a leading axis B."""
        ...

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        """(B, Hx, Wx, 3) RGB and the states of the regions, in order; their leading axes add up to B."""
        ...

    def close(self) -> None:
        """Free what the runtime holds; the engine is not used afterwards."""
        ...


def joined(states: Sequence[State]) -> State:
    """States of numpy arrays, of several targets, as one."""
    return states[0] if len(states) == 1 else tuple(map(np.concatenate, zip(*states, strict=True)))
