"""How much of the time that a frame takes is the network's."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from ..core.engine import Engine, ModelSpec, SearchOutput, State


class TimedEngine:
    """An `Engine` that sums up the time spent in another one's calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.elapsed_ns = 0  # of all calls; the caller may set it back to 0

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        began = time.perf_counter_ns()
        try:
            return self._engine.encode_template(templates)
        finally:
            self.elapsed_ns += time.perf_counter_ns() - began

    def search(self, search: NDArray[np.uint8], state: State) -> SearchOutput:
        began = time.perf_counter_ns()
        try:
            return self._engine.search(search, state)
        finally:
            self.elapsed_ns += time.perf_counter_ns() - began

    def close(self) -> None:
        self._engine.close()
