"""How much of the time that a frame takes is the network's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..core.engine import Engine, ModelSpec, SearchOutput, State


class TimedEngine:
    """An `Engine` that notes when another one's calls begin, how long they take and how many there are."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.reset()

    def reset(self) -> None:
        """Forget the calls up to now."""
        self.began_ns = 0  # of the first call, by time.perf_counter_ns; 0 = there was none
        self.elapsed_ns = 0  # of all calls
        self.template_calls = 0

    @property
    def spec(self) -> ModelSpec:
        return self._engine.spec

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        self.template_calls += 1
        with self._timed():
            return self._engine.encode_template(templates)

    def search(self, search: NDArray[np.uint8], state: State) -> SearchOutput:
        with self._timed():
            return self._engine.search(search, state)

    def close(self) -> None:
        self._engine.close()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter_ns()
        self.began_ns = self.began_ns or began
        try:
            yield
        finally:
            self.elapsed_ns += time.perf_counter_ns() - began
