"""The parts of a sequence that protocols ask for."""

from __future__ import annotations

import numpy as np
import pytest
from tracked import tracked, walk

from distill_tracker_ros.core.frame import Pixels
from distill_tracker_ros.evaluation.protocols import PROTOCOLS, by_parent, expand, tre_starts
from distill_tracker_ros.evaluation.sequences import Frames, NoFrames, Sequence, SequenceError


class Numbered(Frames):
    """Frames of one pixel that say which they are."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def _read(self, index: int) -> Pixels:
        if index >= self._count:
            raise IndexError(index)
        return np.full((1, 1, 3), index, np.uint8)


def sequence(frames: int = 120, hidden: tuple[int, ...] = (), **fields) -> Sequence:
    truth = walk(frames)
    truth[list(hidden)] = np.nan
    return Sequence("walk", Numbered(frames), truth, **fields)


def numbers(part: Sequence) -> list[int]:
    return [int(rgb[0, 0, 0]) for rgb in part.frames]


def test_one_pass_begins_with_the_first_true_box():
    whole = sequence()
    assert expand(whole, "one-pass") == [whole]
    (part,) = expand(sequence(hidden=(0, 1, 5)), "one-pass")
    assert (part.name, part.parent, len(part.frames)) == ("walk", "", 118)
    assert numbers(part)[:3] == [2, 3, 4]


def test_the_parts_of_vot_go_both_ways():
    whole = sequence(120)
    forward, middle, backward = expand(whole, "vot")
    assert [p.name for p in (forward, middle, backward)] == ["walk@0", "walk@50", "walk@100-back"]
    assert {p.parent for p in (forward, middle, backward)} == {"walk"}
    assert numbers(forward) == list(range(120))
    assert numbers(middle) == list(range(50, 120))
    assert numbers(backward) == list(range(100, -1, -1))
    np.testing.assert_array_equal(backward.truth_xywh, whole.truth_xywh[100::-1])


def test_time_goes_on_in_a_part_that_goes_back():
    stamps = np.arange(120, dtype=np.int64) ** 2
    *_, backward = expand(sequence(120, stamps_ns=stamps), "vot")
    assert backward.stamps_ns[0] == 0
    assert (np.diff(backward.stamps_ns) == np.diff(stamps[:101])[::-1]).all()
    forward, *_ = expand(sequence(120, stamps_ns=stamps), "vot")
    np.testing.assert_array_equal(forward.stamps_ns, stamps)


def test_anchors_of_the_benchmark_are_used():
    parts = expand(sequence(60, anchors=(0, -40, 40)), "vot")
    assert [part.name for part in parts] == ["walk@0", "walk@40-back", "walk@40"]


def test_twenty_starts_are_evenly_spread():
    starts = tre_starts(sequence(210))
    assert len(starts) == 20
    assert (starts[0], starts[-1]) == (0, 190)  # from the last one there are 20 frames to the end
    assert set(np.diff(starts)) <= {9, 10, 11}
    parts = expand(sequence(210), "tre")
    assert [part.name for part in parts[:2]] == ["walk@0", "walk@10"]
    assert [len(part.frames) for part in parts] == [210 - start for start in starts]
    assert all(part.parent == "walk" for part in parts)


def test_starts_are_where_the_target_can_be_seen():
    hidden = tuple(range(30, 100))
    starts = tre_starts(sequence(210, hidden))
    assert len(starts) == 20
    assert not set(starts) & set(hidden)
    assert starts[-1] == 190


@pytest.mark.parametrize("frames, starts", [(1, [0]), (19, [0]), (20, [0]), (23, [0, 1, 2, 3])])
def test_a_short_sequence_has_fewer_starts(frames: int, starts: list[int]):
    assert tre_starts(sequence(frames)) == starts


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_sequence_without_truth_cannot_be_expanded(protocol: str):
    with pytest.raises(SequenceError, match="blind has no true box to start from"):
        expand(Sequence("blind", NoFrames(30, "no pictures")), protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_part_begins_with_a_true_box(protocol: str):
    hidden = (0, 1, 50, 51, 52, 100, 119)
    parts = expand(sequence(120, hidden), protocol)
    assert all(part.visible[0] for part in parts)
    assert len({part.name for part in parts}) == len(parts)


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(ValueError, match="no protocol 'twice': one-pass, vot, tre"):
        expand(sequence(), "twice")


def test_parts_are_grouped_by_what_they_are_parts_of():
    parts = [tracked("a@0", parent="a"), tracked("b"), tracked("a@50", parent="a")]
    groups = by_parent(parts)
    assert list(groups) == ["a", "b"]
    assert [part.name for part in groups["a"]] == ["a@0", "a@50"]
