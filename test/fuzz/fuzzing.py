"""Hostile inputs by the thousand: each works or is refused by name, soon, and without growing memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.strategies import SearchStrategy

LONGEST_S = 1.0  # processor time of one case, so that a busy machine does not count
HANGS_S = 30  # after so long a case is ended
ROOM_MB = 4_000  # address space beyond what the process has when it begins
GROWTH_MB = 64  # of memory after the warm-up, over all cases of a target
BLOCK = 250  # cases of one run of hypothesis, which remembers all cases of a run
LONGEST_TEXT = 1_000  # characters of a refusal; paths of tests are long


@dataclass
class Tally:
    """The figures of one target, as docs/field.md has them."""

    input: str
    cases: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_ms: float = 0.0  # processor time
    growth_mb: float = 0.0


def fuzz(
    name: str,
    title: str,
    cases: SearchStrategy[Any],
    action: Callable[[Any], object],
    refusals: type[Exception] | tuple[type[Exception], ...],
    *,
    share: float,
    total: int,
    figures: Path | None,
    most_mb: float = 64.0,
) -> Tally:
    """Try an action on drawn cases.

    Args:
        name, title: of the target, for a file and for people.
        refusals: documented errors; every other one is a failure.
        share: of `total` cases.
        figures: folder for NAME.json; None = none is written.
        most_mb: memory that one case may take beyond the most that was ever taken.

    Raises:
        AssertionError: a case broke a promise; hypothesis shows it.
    """
    tally, count = Tally(title), max(10, round(share * total))

    def seconds_again(case: Any) -> float:
        """The processor time of a case that was slow: another process may have been in its way."""
        began = time.process_time()
        with contextlib.suppress(refusals):
            action(case)
        return time.process_time() - began

    def try_one(case: Any) -> None:
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        signal.alarm(HANGS_S)
        try:
            action(case)
        except refusals as error:
            text = str(error)
            assert is_sentence(text), f"no clear sentence: {text!r}"
            tally.refused += 1
        else:
            tally.accepted += 1
        finally:
            signal.alarm(0)
        spent_s = time.process_time() - began
        if spent_s > LONGEST_S:
            spent_s = min(spent_s, seconds_again(case))
        spent_ms = 1000 * spent_s
        taken_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb) / 1024
        tally.cases += 1
        tally.slowest_ms = max(tally.slowest_ms, round(spent_ms, 1))
        assert spent_s <= LONGEST_S, f"it took {spent_ms:.0f} ms"
        assert taken_mb <= most_mb, f"it took {taken_mb:.0f} MB"

    with _bounded():
        warm_mb = 0.0
        for block in range(-(-count // BLOCK)):
            _run(try_one, cases, min(BLOCK, count - block * BLOCK), block)
            if block == min(2, count // BLOCK // 10):
                warm_mb = _memory_mb()
        tally.growth_mb = round(max(0.0, _memory_mb() - warm_mb), 1)
    assert tally.growth_mb < GROWTH_MB, tally
    if figures:
        figures.mkdir(parents=True, exist_ok=True)
        (figures / f"{name}.json").write_text(json.dumps(asdict(tally), indent=1) + "\n")
    return tally


def is_sentence(text: str) -> bool:
    """One line, not longer than one can read, with nothing in it that a terminal obeys."""
    controls = {unicodedata.category(character) for character in text} & {"Cc", "Cs", "Zl", "Zp"}
    return 0 < len(text) <= LONGEST_TEXT and not controls


def _run(try_one: Callable[[Any], None], cases: SearchStrategy[Any], count: int, block: int) -> None:
    """The same cases on every run."""

    @hypothesis.seed(block)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @hypothesis.given(cases)
    def run(case: Any) -> None:
        try_one(case)

    run()


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """With an alarm for a case that hangs, and an end to the memory that can be asked for."""

    def hangs(*_: object) -> None:
        raise AssertionError(f"a case hangs: it has not ended after {HANGS_S} s")

    before, limits = signal.signal(signal.SIGALRM, hangs), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _memory_mb() -> float:
    """Resident memory, MB, after everything that can be given back was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
