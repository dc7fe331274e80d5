"""Which frames of a video make a sample: T templates and one search frame.

The rules are those of the samplers of OSTrack's family of trackers.

All functions take `visible`, (N,) bool: whether each frame shows the target. They pick visible frames alone;
of a still (N = 1) its one frame, T + 1 times.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

MAX_GAP = 200  # frames between the search frame and a template drawn near it
WIDENING = 5  # frames by which an interval grows when it holds no visible frame
MIN_LENGTH = 20  # frames of a video

Frames = NDArray[np.int64]  # numbers of frames, rising


def usable(visible: NDArray[np.bool_], templates: int, spaced: bool = False) -> bool:
    """Whether footage shows its target often enough.

    A video: more than 2 (T + 1) visible frames, and at least MIN_LENGTH frames. A video of `spaced` frames,
    few and chosen by hand: at least two visible ones. A still: its one.
    """
    seen = int(np.count_nonzero(visible))
    if len(visible) == 1:
        return seen == 1
    return seen >= 2 if spaced else seen > 2 * (templates + 1) and len(visible) >= MIN_LENGTH


def causal(rng: Generator, visible: NDArray[np.bool_], templates: int, max_gap: int = MAX_GAP) -> list[int]:
    """Templates, then a later search frame: as a tracker meets them.

    A base frame b from [T - 1, N - 1), the other templates from [b - max_gap, b), the search frame from
    (b, b + max_gap). If an interval holds no visible frame, both become WIDENING frames longer and all is
    drawn again. That ends when they are as long as the video: then b is drawn among the frames that have
    visible ones on either side, where nothing can fail. If no frame has them, b stands for what is missing.

    Returns:
        T templates in the order of time, of which b is the last, and the search frame.

    Raises:
        ValueError: no frame is visible.
    """
    seen = _seen(visible)
    bases = _between(seen, templates - 1, len(visible) - 1)
    for gap in range(max_gap, len(visible) if len(bases) else 0, WIDENING):
        base = _draw(rng, bases)
        earlier, later = _between(seen, base - gap, base), _between(seen, base + 1, base + gap)
        if len(later) and (len(earlier) or templates == 1):
            return _ordered(rng, earlier, base, later, templates)
    inner = seen[min(1, templates - 1) : -1]
    base = _draw(rng, inner if len(inner) else seen[:1])
    return _ordered(rng, seen[seen < base], base, seen[seen > base], templates)


def trident(rng: Generator, visible: NDArray[np.bool_], templates: int, max_gap: int = MAX_GAP) -> list[int]:
    """A first template t and a search frame s anywhere, and dynamic templates near s on the side of t.

    The dynamic templates are from [s, s + max_gap) if t >= s, else from [s - max_gap, s). If that interval
    holds no visible frame, it becomes WIDENING frames longer, which ends at t at the latest.

    Returns:
        t, T - 1 dynamic templates, and s.

    Raises:
        ValueError: no frame is visible.
    """
    seen = _seen(visible)
    first, search = _draw(rng, seen), _draw(rng, seen)
    gap, near = max_gap, seen[:0]
    while not len(near):
        start, end = (search, search + gap) if first >= search else (search - gap, search)
        near = _between(seen, start, end)
        gap += WIDENING
    return [first, *(_draw(rng, near) for _ in range(templates - 1)), search]


def _seen(visible: NDArray[np.bool_]) -> Frames:
    seen = np.flatnonzero(visible)
    if not len(seen):
        raise ValueError(f"none of the {len(visible)} frames shows the target: there is nothing to pick")
    return seen


def _between(seen: Frames, first: int, end: int) -> Frames:
    """The visible frames in [first, end)."""
    return seen[np.searchsorted(seen, first) : np.searchsorted(seen, end)]


def _draw(rng: Generator, frames: Frames) -> int:
    return int(frames[rng.integers(len(frames))])


def _ordered(rng: Generator, earlier: Frames, base: int, later: Frames, templates: int) -> list[int]:
    """T - 1 of the earlier frames in the order of time, the base, one of the later frames."""
    before = sorted(_draw(rng, earlier) if len(earlier) else base for _ in range(templates - 1))
    return [*before, base, _draw(rng, later) if len(later) else base]
