"""Stamps as cameras, networks and clocks make them."""

from __future__ import annotations

import pytest

from distill_tracker_ros.core.timeline import StampError, Timeline

MS = 1_000_000
SECOND = 1000 * MS


def taken(*stamps_ms: int) -> list[int]:
    """The stamps that are believed, ms."""
    timeline, believed = Timeline(), []
    for stamp in stamps_ms:
        try:
            timeline.check(stamp * MS)
        except StampError:
            continue
        believed.append(stamp)
    return believed


@pytest.mark.parametrize(
    ("stamps", "believed"),
    [
        ([0, 33, 66, 100], [0, 33, 66, 100]),
        ([0, 33, 33, 66], [0, 33, 66]),
        ([100, 133, 166, 120, 200], [100, 133, 166, 200]),  # overtaken on the way
        ([1000, 1033, 3_601_000, 1066, 1100], [1000, 1033, 1066, 1100]),  # one glitch ahead
        ([50_000, 50_033, 5, 50_066, 50_100], [50_000, 50_033, 50_066, 50_100]),  # one glitch back
        ([50_000, 50_033, 0, 33, 66], [50_000, 50_033, 33, 66]),  # a bag that begins again
        ([0, 33, 60_000, 60_033, 60_066], [0, 33, 60_033, 60_066]),  # a camera that was away
        ([0, 33, 9_000], [0, 33, 9_000]),  # a short pause needs no second look
        ([0, 20_000, 40_000, 60_000, 80_000], [0, 40_000, 80_000]),  # a very slow camera gets through
        ([50_000, 5, 30_000, 50_033], [50_000, 50_033]),  # two glitches back that do not agree
        ([50_000, 0, 49_900, 50_033], [50_000, 50_033]),
    ],
)
def test_odd_stamps(stamps: list[int], believed: list[int]) -> None:
    assert taken(*stamps) == believed


@pytest.mark.parametrize(
    ("stamp_ms", "words"),
    [
        (1000, "has the stamp of the one before and was skipped"),
        (900, "is 0.100 s older than the newest one, out of order: it was skipped"),
        (100, r"leaps by -0.900 s from the image before: skipped until the next one agrees"),
        (31_000, r"leaps by \+30.000 s from the image before"),
    ],
)
def test_every_refusal_says_why(stamp_ms: int, words: str) -> None:
    timeline = Timeline()
    timeline.check(SECOND)
    with pytest.raises(StampError, match=words):
        timeline.check(stamp_ms * MS)
