"""The Target Store: what enters, what leaves, what stands for the rest (E-12)."""

from __future__ import annotations

import numpy as np
import pytest

from distill_tracker_ros.core.config import StoreConfig
from distill_tracker_ros.core.target_store import TargetStore, representative
from distill_tracker_ros.core.update_rule import View

CROP = np.zeros((4, 4, 3), np.uint8)


def view(frame_number: int, confidence: float = 0.9, angle: float = 0.0) -> View:
    """A view whose embedding points to an angle in degrees."""
    radians = np.deg2rad(angle)
    embedding = np.array([np.cos(radians), np.sin(radians)], np.float32)
    return View(frame_number, confidence, CROP, embedding)


def filled(config: StoreConfig, *views: View) -> TargetStore:
    store = TargetStore(config)
    assert [store.offer(v) for v in views] == [True] * len(views)
    return store


def test_only_views_above_the_threshold_enter() -> None:
    store = TargetStore(StoreConfig(threshold=0.65))
    assert not store.offer(view(1, confidence=0.65)) and len(store) == 0
    assert store.offer(view(1, confidence=0.66)) and len(store) == 1


def test_views_keep_their_gap_counted_from_the_last_that_entered() -> None:
    store = TargetStore(StoreConfig(min_gap_frames=5))
    entered = [n for n in range(1, 20) if store.offer(view(n))]
    assert entered == [1, 6, 11, 16]


def test_the_oldest_leaves_when_the_store_is_full() -> None:
    config = StoreConfig(capacity=3, min_gap_frames=1)
    store = filled(config, view(1, 0.99), view(2, 0.7), view(3, 0.7), view(4, 0.8))
    assert len(store) == 3
    chosen = store.choose()
    assert chosen is not None and chosen.frame_number == 4  # the best of all, number 1, is gone


def test_the_gate_compares_with_the_first_confident_view() -> None:
    store = filled(StoreConfig(min_gap_frames=1, gate=0.5), view(1, angle=0), view(2, angle=55))
    assert not store.offer(view(3, angle=65))  # 10 degrees from the last, but 65 from the first
    assert store.offer(view(4, angle=-55))


def test_a_view_refused_by_the_gate_does_not_delay_the_next() -> None:
    store = filled(StoreConfig(min_gap_frames=5), view(1))
    assert not store.offer(view(6, angle=90))
    assert store.offer(view(7))


def test_clearing_forgets_the_views_but_not_the_first_appearance() -> None:
    """Bug: the anchor was forgotten too, so after a drift the distractor passed the gate as the new first."""
    store = filled(StoreConfig(min_gap_frames=1), view(1, angle=0))
    store.clear(160)
    assert len(store) == 0 and store.choose() is None
    assert not store.offer(view(161, angle=90))
    assert store.offer(view(162, angle=10))


def test_due_at_the_multiples_of_the_interval_and_not_at_the_start() -> None:
    store = TargetStore(StoreConfig(interval_frames=25))
    assert [n for n in range(101) if store.due(n)] == [25, 50, 75, 100]


def test_stale_after_frames_without_insertion_counted_anew_from_a_clear() -> None:
    store = TargetStore(StoreConfig(reset_after_frames=150))
    assert not store.stale(149) and store.stale(150)
    store.offer(view(100))
    assert not store.stale(249) and store.stale(250)
    store.clear(250)
    assert not store.stale(399) and store.stale(400)


def test_the_majority_stands_for_the_store() -> None:
    """E-12: [a, a, b] with equal confidence returns an a, the newer one."""
    views = [view(1, angle=0), view(6, angle=0), view(11, angle=80)]
    assert representative(views) is views[1]
    assert representative([views[2], views[0], views[1]]) is views[1]


def test_confidence_weighs_against_centrality() -> None:
    views = [view(1, 0.70), view(2, 0.95), view(3, 0.70, angle=30)]
    assert representative(views) is views[1]
    assert representative([view(1, 0.9)]).frame_number == 1


def test_the_representative_equals_its_definition_on_random_views() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        vectors = rng.normal(size=(rng.integers(1, 17), 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        views = [View(i, float(rng.uniform(0.65, 1)), CROP, e) for i, e in enumerate(vectors)]
        merits = [v.confidence * np.mean([float(v.embedding @ w.embedding) for w in views]) for v in views]
        best = representative(views).frame_number
        assert merits[best] == pytest.approx(max(merits), abs=1e-6)
