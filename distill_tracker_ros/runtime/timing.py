"""How long networks take: in a frame, and beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.engine import Engine, ModelSpec, SearchOutput, State

K = TypeVar("K", bound=Hashable)


class TimedEngine:
    """An `Engine` that notes when another one's calls begin, how long they take and how many there are."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._call_began_ns = 0  # of the call that is going on; 0 = none is
        self.reset()

    def reset(self) -> None:
        """Forget the calls up to now."""
        self.began_ns = 0  # of the first call, by time.perf_counter_ns; 0 = there was none
        self.elapsed_ns = 0  # of all calls
        self.template_calls = 0

    @property
    def waiting_s(self) -> float:
        """For how long the present call has not returned; may be asked from any thread."""
        began_ns = self._call_began_ns
        return (time.perf_counter_ns() - began_ns) / 1e9 if began_ns else 0.0

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
        self._call_began_ns = began = time.perf_counter_ns()
        self.began_ns = self.began_ns or began
        try:
            yield
        finally:
            self._call_began_ns = 0
            self.elapsed_ns += time.perf_counter_ns() - began


def interleaved_ms(
    calls: Mapping[K, Callable[[], object]], rounds: Iterable[int]
) -> dict[K, NDArray[np.float64]]:
    """How long each call takes in each of the rounds, ms; `rounds` is a range, or one that shows progress.

    They take turns, so that all meet the same load; each round begins with another one, so that none always
    follows the same.
    """
    taken: dict[K, list[float]] = {key: [] for key in calls}
    order = list(calls)
    for turn in rounds:
        first = turn % len(order)
        for key in order[first:] + order[:first]:
            began = time.perf_counter()
            calls[key]()
            taken[key].append(1e3 * (time.perf_counter() - began))
    return {key: np.array(each) for key, each in taken.items()}


def median_times_ms(engines: Mapping[str, Engine], calls: int = 300) -> dict[str, dict[str, float]]:
    """`search_ms` of one search region and `template_ms` of one set of templates, of noise."""
    steps: dict[tuple[str, str], Callable[[], object]] = {}
    for name, engine in engines.items():
        templates, search = noise(engine.spec)
        steps[name, "template_ms"] = partial(engine.encode_template, templates)
        steps[name, "search_ms"] = partial(engine.search, search, [engine.encode_template(templates)])
    taken = interleaved_ms(steps, range(calls))
    keys = ("search_ms", "template_ms")
    return {name: {key: float(np.median(taken[name, key])) for key in keys} for name in engines}


def noise(spec: ModelSpec, targets: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Templates and search regions of this many targets."""
    rng, z, x = np.random.default_rng(0), spec.template_size, spec.search_size
    templates = rng.integers(0, 256, (targets, spec.template_slots, z, z, 3), np.uint8)
    return templates, rng.integers(0, 256, (targets, x, x, 3), np.uint8)
