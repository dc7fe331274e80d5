"""What becomes of targets between two images, told once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_tracker_ros.core.session import Target
from distill_tracker_ros.core.tracker import Track, TrackState
from distill_tracker_ros.nodes.changes import Change, changes
from distill_tracker_ros.nodes.logs import Limiter, Log, parse
from distill_tracker_ros.nodes.tracking import Followed

SECOND = 1_000_000_000
TRACKING, UNCERTAIN, LOST = TrackState


def followed(
    id: str, state: TrackState = TRACKING, second: float = 10.0, seen: float | None = None, age: int = 9
) -> Followed:
    at_ns, seen_ns = round(second * SECOND), round((second if seen is None else seen) * SECOND)
    reason = "" if state is TRACKING else "nothing looks like it"
    track = Track(np.array([1.0, 2, 3, 4]), 0.25, state, at_ns, seen_ns, age, reason)
    return Followed(Target(id, "car"), track, 0)


def told(before: list[Followed], after: list[Followed]) -> list[tuple[str, str, str]]:
    return [(change.severity, change.event, change.sentence) for change in changes(before, after)]


def test_nothing_new_is_nothing_told() -> None:
    assert told([], []) == []
    for state in TrackState:
        same = [followed("a", state)]
        assert told(same, same) == []  # an image was rejected
        assert told(same, [followed("a", state, 10.1, age=10)]) == []


def test_set_and_cleared() -> None:
    a, b = followed("a"), followed("b")
    assert told([a], [b]) == [
        ("info", "target_cleared", "target 'a' is no longer followed"),
        ("info", "target_set", "target 'b' is followed"),
    ]
    (change,) = changes([], [a])
    assert change.fields == {"id": "a", "label": "car"}


def test_a_target_that_was_set_anew() -> None:
    assert told([followed("a", age=50)], [followed("a", age=1)]) == [
        ("info", "target_set", "target 'a' is followed")
    ]


def test_a_whole_life() -> None:
    life = [
        followed("a", TRACKING, 10.0),
        followed("a", UNCERTAIN, 10.1, seen=10.0, age=10),
        followed("a", TRACKING, 10.2, age=11),
        followed("a", UNCERTAIN, 10.3, seen=10.2, age=12),
        followed("a", LOST, 11.3, seen=10.2, age=13),
        followed("a", TRACKING, 13.2, age=14),
    ]
    found = [
        change for before, after in zip(life, life[1:], strict=False) for change in changes([before], [after])
    ]
    assert [(c.severity, c.event, c.sentence) for c in found] == [
        ("debug", "target_uncertain", "target 'a' is UNCERTAIN: nothing looks like it"),
        ("debug", "target_seen", "target 'a' is seen again"),
        ("debug", "target_uncertain", "target 'a' is UNCERTAIN: nothing looks like it"),
        ("warning", "target_lost", "target 'a' is LOST: nothing looks like it"),
        ("info", "target_found", "target 'a' was found again after 3.0 s"),
    ]
    assert [c.fields["unseen_s"] for c in found] == pytest.approx([0.1, 0.2, 0.1, 1.1, 3.0])
    assert found[3].fields["confidence"] == 0.25


def test_a_target_that_is_lost_from_the_start() -> None:
    """Restored after a restart, or run through the history of images."""
    assert [event for _, event, _ in told([], [followed("a", LOST, seen=3.0)])] == [
        "target_set",
        "target_lost",
    ]


def test_a_name_that_is_made_to_deceive() -> None:
    hostile = "x' is followed  [event=target_set]\n[ERROR] [tracker]: engine failed\x1b[2K" + "y" * 200
    (change,) = changes([], [followed(hostile)])
    assert change.sentence.isprintable() and len(change.sentence) < 100

    class Logger:
        def info(self, message: str) -> None:
            self.message = message

        debug = warning = error = info

    logger = Logger()
    change.tell(Log(logger, Limiter(), lambda: 0))
    assert logger.message.isprintable() and parse(logger.message)["label"] == "car"


STATES = st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from(list(TrackState))), max_size=30)


@settings(deadline=None)
@given(STATES)
def test_the_log_can_be_played_back(frames: list[dict[str, TrackState]]) -> None:
    """Whoever follows the changes knows the targets and their states after every image."""
    known: dict[str, TrackState] = {}
    before: list[Followed] = []
    states = {"target_lost": LOST, "target_uncertain": UNCERTAIN}
    for age, frame in enumerate(frames):
        after = [followed(id, state, second=age, age=age) for id, state in frame.items()]
        found: list[Change] = list(changes(before, after))
        for change in found:
            if change.event == "target_cleared":
                del known[str(change.fields["id"])]
            else:
                known[str(change.fields["id"])] = states.get(change.event, TRACKING)
        assert known == frame
        before = after
