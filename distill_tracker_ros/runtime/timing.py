"""How long networks take: in a frame, and beside each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        with self._timed():
            return self._engine.search(search, states)

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


def median_times_ms(engines: Mapping[str, Engine], calls: int = 300) -> dict[str, dict[str, float]]:
    """`search_ms` of one search region and `template_ms` of one set of templates, of noise.

    The engines take turns, so that all meet the same load.
    """
    inputs = {name: _noise(engine.spec) for name, engine in engines.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(calls):
        for name, engine in engines.items():
            templates, search = inputs[name]
            began = time.perf_counter()
            state = engine.encode_template(templates)
            between = time.perf_counter()
            engine.search(search, [state])
            taken[name].append((time.perf_counter() - between, between - began))
    medians = {name: np.median(each, axis=0) * 1e3 for name, each in taken.items()}
    return {name: {"search_ms": float(s), "template_ms": float(t)} for name, (s, t) in medians.items()}


def _noise(spec: ModelSpec) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Templates and search region of one target."""
    rng, z, x = np.random.default_rng(0), spec.template_size, spec.search_size
    templates = rng.integers(0, 256, (1, spec.template_slots, z, z, 3), np.uint8)
    return templates, rng.integers(0, 256, (1, x, x, 3), np.uint8)
