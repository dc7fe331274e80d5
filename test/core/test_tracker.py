"""One target: followed, doubted, lost, found again; and its template, refreshed or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from stub_engine import StubEngine
from synthetic import BLUE, RED, Box, Colour, Rgb, background, draw_square, moving_square

from distill_tracker_ros.core import boxes, crop
from distill_tracker_ros.core.config import BestInIntervalConfig, NoUpdate, StoreConfig, TrackerConfig
from distill_tracker_ros.core.engine import SearchOutput, State, TensorSpec, joined
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.tracker import Track, Tracker, TrackState, update_together

MS = 1_000_000
STEP_NS = 40 * MS  # 25 frames per second
TRACKING, UNCERTAIN, LOST = TrackState.TRACKING, TrackState.UNCERTAIN, TrackState.LOST


def follow(
    video: Iterable[tuple[Rgb, Box]], engine: StubEngine, config: TrackerConfig | None = None
) -> tuple[list[Track], list[Box]]:
    """Set the target on the first frame, update on all others: tracks and true boxes of those."""
    (first, box), *others = video
    tracker = Tracker(engine, ArrayFrame(first), box, 0, config or TrackerConfig())
    tracks = [tracker.update(ArrayFrame(rgb), n * STEP_NS) for n, (rgb, _) in enumerate(others, start=1)]
    return tracks, [true for _, true in others]


def jumping_square(seen: int, hidden: int, after: int, place: tuple[int, int]) -> list[tuple[Rgb, Box]]:
    """A 640x480 video: a square at rest at (100, 100), then gone, then at rest somewhere else."""
    gone = range(seen, seen + hidden)
    return list(
        moving_square(
            seen + hidden + after,
            640,
            480,
            path=lambda n: (100, 100) if n < seen else place,
            out_of_view=gone,
        )
    )


def as_bytes(tracks: Iterable[Track]) -> bytes:
    return b"".join(
        t.box_xywh.tobytes() + np.array([t.confidence, t.state, t.stamp_ns, t.last_seen_ns]).tobytes()
        for t in tracks
    )


@pytest.mark.parametrize("grid", [1, 8, 16])
def test_a_moving_target_is_followed_whatever_the_grid(grid: int) -> None:
    """X-5: a head of one box and a head of maps go through the same code."""
    tracks, true = follow(moving_square(120), StubEngine(grid=grid))
    assert boxes.iou([t.box_xywh for t in tracks], true).min() > 0.9
    assert {t.state for t in tracks} == {TRACKING}
    assert [t.age_frames for t in tracks] == list(range(1, 120))
    assert all(t.last_seen_ns == t.stamp_ns == t.age_frames * STEP_NS for t in tracks)


def test_the_track_before_the_first_update_is_what_was_set() -> None:
    tracker = Tracker(StubEngine(), ArrayFrame(background(320, 240)), (10, 20, 30, 40), 7, TrackerConfig())
    assert tracker.track.box_xywh.tolist() == [10, 20, 30, 40]
    assert (tracker.track.state, tracker.track.stamp_ns, tracker.track.age_frames) == (TRACKING, 7, 0)


def test_a_track_that_was_given_out_does_not_change() -> None:
    """Neither when the target moves nor when the frame, and with it the box, is rescaled."""
    (rgb, box), (next_rgb, _) = list(moving_square(8))[::7]
    larger = np.repeat(np.repeat(next_rgb, 2, axis=0), 2, axis=1)
    for following in (next_rgb, larger):
        tracker = Tracker(StubEngine(), ArrayFrame(rgb), box, 0, TrackerConfig())
        before = tracker.track
        tracker.update(ArrayFrame(following), STEP_NS)
        assert before.box_xywh.tolist() == box.tolist() != tracker.track.box_xywh.tolist()


def test_tracking_uncertain_lost_and_found_again_elsewhere() -> None:
    """The whole state machine: the square leaves, stays away for 2 s, and comes back across the frame."""
    video = jumping_square(seen=10, hidden=50, after=30, place=(520, 380))
    config = TrackerConfig(lost_after_ms=1000, redetect_tiles=3)
    tracks, true = follow(video, StubEngine(), config)
    states = [t.state for t in tracks]
    # Frame n is tracks[n - 1]; last seen in frame 9; 25 frames are 1 s.
    assert states[:9] == [TRACKING] * 9
    assert states[9:33] == [UNCERTAIN] * 24
    assert states[33:59] == [LOST] * 26
    for held in tracks[9:59]:
        np.testing.assert_array_equal(held.box_xywh, tracks[8].box_xywh)
        assert held.last_seen_ns == 9 * STEP_NS and held.confidence < 0.4
    found = states.index(TRACKING, 34)
    assert boxes.iou(tracks[found].box_xywh, true[found]) > 0.85
    assert states[found:] == [TRACKING] * (len(states) - found)
    # One round of all tiles (64 at most, 3 per frame) and the second look.
    assert found - 59 <= 64 / 3 + 2


def test_without_redetection_a_lost_target_is_found_only_near_its_last_place() -> None:
    config = TrackerConfig(redetect=False)
    for place, state in (((520, 380), LOST), ((110, 90), TRACKING)):
        engine = StubEngine()
        tracks, _ = follow(jumping_square(10, 40, 30, place), engine, config)
        assert tracks[45].state is LOST and tracks[-1].state is state
        assert set(engine.search_batches) == {1}


def test_a_lucky_tile_does_not_move_the_track() -> None:
    """The square is seen in one single frame of the scan: not twice, so not believed."""
    video = jumping_square(seen=2, hidden=28, after=60, place=(520, 380))
    shown, _ = video[40]
    config = TrackerConfig(lost_after_ms=200, redetect_tiles=16, redetect_max_tiles=16)
    for frames_shown, state in ((1, LOST), (2, TRACKING)):
        frames = video[:30] + [(shown, video[40][1])] * frames_shown + video[20:30]
        tracks, _ = follow(frames, StubEngine(), config)
        assert tracks[28 + frames_shown].state is state
        if state is LOST:
            np.testing.assert_array_equal(tracks[-1].box_xywh, tracks[5].box_xywh)


@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_a_change_of_size_is_taken_over_at_the_given_rate(rate: float) -> None:
    """A square of 20 px that is suddenly 30 px: after n frames (1 - rate)^n of the logarithm is missing."""
    video = []
    for side in (20, 30, 30, 30):
        rgb = background(320, 240)
        box = np.array([160 - side / 2, 120 - side / 2, side, side])
        draw_square(rgb, box, RED)
        video.append((rgb, box))
    tracks, _ = follow(video, StubEngine(), TrackerConfig(size_rate=rate))
    expected = [30 * (20 / 30) ** ((1 - rate) ** n) for n in (1, 2, 3)]
    assert [track.box_xywh[2] for track in tracks] == pytest.approx(expected, rel=0.1)
    assert np.allclose(tracks[-1].box_xywh[:2] + tracks[-1].box_xywh[2:] / 2, (160, 120), atol=2)


def test_the_cost_of_a_scan_is_bounded_per_update() -> None:
    engine = StubEngine()
    follow(jumping_square(2, 60, 1, (600, 400)), engine, TrackerConfig(lost_after_ms=200, redetect_tiles=5))
    assert max(engine.search_batches) == 6  # five tiles and the last place
    assert engine.search_batches[:5] == [1] * 5


def test_redetection_can_be_switched_off_during_a_scan() -> None:
    """Bug: the running scan went on."""
    engine = StubEngine()
    video = jumping_square(2, 30, 60, (520, 380))
    tracker = Tracker(engine, ArrayFrame(video[0][0]), video[0][1], 0, TrackerConfig(lost_after_ms=200))
    for n, (rgb, _) in enumerate(video[1:31], start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    assert tracker.state is LOST and engine.search_batches[-1] == 4
    tracker.config = replace(tracker.config, redetect=False)
    for n, (rgb, _) in enumerate(video[31:], start=31):
        assert tracker.update(ArrayFrame(rgb), n * STEP_NS).state is LOST
        assert engine.search_batches[-1] == 1


def test_the_search_region_grows_while_uncertain_up_to_its_limit_and_shrinks_back() -> None:
    config = TrackerConfig(region_growth=1.1, region_growth_max=1.3, lost_after_ms=600_000)
    video = list(moving_square(40, path=lambda n: (160, 120), out_of_view=range(5, 25)))
    tracker = Tracker(StubEngine(), ArrayFrame(video[0][0]), video[0][1], 0, config)
    sides = []
    for n, (rgb, _) in enumerate(video[1:], start=1):
        sides.append(tracker.regions_to_search()[0].side)
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    usual = crop.region_around(video[0][1], 4.0).side
    assert sides[:5] == pytest.approx([usual] * 5, abs=1)
    assert sides[5:9] == pytest.approx([usual * g for g in (1.1, 1.21, 1.3, 1.3)], abs=2)
    assert sides[-1] == pytest.approx(usual, abs=3)


def test_a_target_that_outruns_the_usual_region_is_caught_in_the_grown_one() -> None:
    """65 px further: outside of a region of 96 px, inside of one of 1.6 times that."""
    video = list(
        moving_square(20, path=lambda n: (100 if n < 5 else 165, 120), out_of_view=range(5, 15), side=24)
    )
    caught, _ = follow(video, StubEngine(), TrackerConfig(lost_after_ms=600_000))
    assert caught[-1].state is TRACKING
    missed, _ = follow(video, StubEngine(), TrackerConfig(lost_after_ms=600_000, region_growth_max=1.0))
    assert missed[-1].state is UNCERTAIN


def test_the_window_prefers_the_target_that_moved_little() -> None:
    """Two squares of one colour: the one in the middle of the region is the target."""
    frames = []
    for rgb, box in moving_square(30, path=lambda n: (150 + n, 120)):
        draw_square(rgb, box - [34, 0, 0, 0], RED)
        frames.append((rgb, box))
    tracks, true = follow(frames, StubEngine(window_weight=1.0))
    assert boxes.iou([t.box_xywh for t in tracks], true).min() > 0.85
    without, _ = follow(frames, StubEngine(window_weight=0.0))
    assert boxes.iou([t.box_xywh for t in without], true).min() < 0.1  # on the other one


def test_the_threshold_of_the_configuration_overrides_the_models() -> None:
    """A colour at some distance scores about 0.6."""
    video = list(moving_square(3, colour=lambda n: RED if n == 0 else (195, 70, 60)))
    states = {}
    for threshold in (0.0, 0.3, 0.9):
        tracks, _ = follow(video, StubEngine(lost_threshold=0.4), TrackerConfig(lost_threshold=threshold))
        assert 0.4 < tracks[0].confidence < 0.9
        states[threshold] = tracks[0].state
    assert states == {0.0: TRACKING, 0.3: TRACKING, 0.9: UNCERTAIN}


def test_two_runs_are_byte_identical() -> None:
    runs = [
        follow(moving_square(200, out_of_view=range(60, 110), occluded=range(150, 155)), StubEngine())[0]
        for _ in range(2)
    ]
    assert as_bytes(runs[0]) == as_bytes(runs[1])
    assert {t.state for t in runs[0]} == {TRACKING, UNCERTAIN, LOST}


def test_identical_targets_in_one_batch_have_identical_tracks() -> None:
    (first, box), *others = moving_square(60, out_of_view=range(30, 40))
    together, alone = StubEngine(), StubEngine()
    twins = [Tracker(together, ArrayFrame(first), box, 0, TrackerConfig()) for _ in range(3)]
    single = Tracker(alone, ArrayFrame(first), box, 0, TrackerConfig())
    for n, (rgb, _) in enumerate(others, start=1):
        frame, stamp_ns = ArrayFrame(rgb), n * STEP_NS
        tracks = update_together(twins, frame, stamp_ns)
        expected = as_bytes([single.update(frame, stamp_ns)])
        assert [as_bytes([t]) for t in tracks] == [expected] * 3
    assert together.search_batches == [3] * 59


class ManyStates(StubEngine):
    """One slot, and three states: the colour, and what must belong to it in every row of a batch."""

    def __init__(self, grid: int) -> None:
        states = (
            TensorSpec("state_0", (1, 3), "float32"),
            TensorSpec("state_1", (2, 3, 1, 1), "float16"),
            TensorSpec("state_2", (5,), "float32"),
        )
        super().__init__(
            states=states,
            grid=grid,
            template_slots=1,
            embedding_size=0,
            update=NoUpdate(),
            confidence_kind="peakedness",
        )

    def encode_template(self, templates: np.ndarray) -> State:
        (colours,) = super().encode_template(templates)
        halves = (colours.reshape(-1, 1, 3, 1, 1) / 2).repeat(2, axis=1).astype(np.float16)
        return colours, halves, colours.sum(axis=(1, 2))[:, None].repeat(5, axis=1)

    def search(self, search: np.ndarray, states: Sequence[State]) -> SearchOutput:
        colours, halves, sums = state = joined(states)
        assert [s.dtype for s in state] == [t.dtype for t in self.spec.states]
        np.testing.assert_allclose(halves.sum(axis=1).reshape(-1, 1, 3), colours, rtol=1e-3)
        np.testing.assert_allclose(sums, colours.sum(axis=(1, 2))[:, None].repeat(5, axis=1), rtol=1e-6)
        return super().search(search, states)


@pytest.mark.parametrize("grid", [1, 16])
def test_several_states_of_any_shape_stay_with_their_target(grid: int) -> None:
    """X-5: no slot to refresh, no embedding; two targets, one of them lost and searched for in tiles."""
    engine = ManyStates(grid)
    red = list(moving_square(80))
    blue = list(moving_square(80, colour=BLUE, path=lambda n: (60, 40), out_of_view=range(20, 60)))
    trackers, states = [], [TRACKING]
    for n, ((rgb, red_box), (_, blue_box)) in enumerate(zip(red, blue, strict=True)):
        if not 20 <= n < 60:
            draw_square(rgb, blue_box, BLUE)
        frame = ArrayFrame(rgb)
        if n == 0:
            config = TrackerConfig(lost_after_ms=400)
            trackers = [Tracker(engine, frame, box, 0, config) for box in (red_box, blue_box)]
        else:
            tracks = update_together(trackers, frame, n * STEP_NS)
            assert boxes.iou(tracks[0].box_xywh, red_box) > 0.85
            states.append(tracks[1].state)
    assert states == [TRACKING] * 20 + [UNCERTAIN] * 9 + [LOST] * 32 + [TRACKING] * 19
    assert boxes.iou(tracks[1].box_xywh, blue_box) > 0.85
    assert set(engine.search_batches) == {2, 5} and engine.template_calls == 2


def test_nothing_to_track_calls_nothing() -> None:
    assert update_together([], ArrayFrame(background(64, 64)), 0) == []


# Template and store.


def turning(n: int) -> Colour:
    """Red that becomes magenta in 200 frames: less in one refresh than a template's reach, more in all."""
    return RED[0], RED[1], RED[2] + round(180 * min(n, 200) / 200)


def test_the_store_lets_a_target_change_its_looks() -> None:
    """Periodic activation, end to end: with the initial template alone the same target is lost."""
    engine = StubEngine(update=StoreConfig(gate=-1.0, interval_frames=10, capacity=3))
    tracks, true = follow(moving_square(260, colour=turning), engine)
    assert {t.state for t in tracks} == {TRACKING}
    assert boxes.iou([t.box_xywh for t in tracks], true).min() > 0.85
    fixed, _ = follow(moving_square(260, colour=turning), engine, TrackerConfig(refresh_template=False))
    assert fixed[-1].state is LOST


@pytest.mark.parametrize("grid", [1, 16])
def test_the_best_of_an_interval_lets_a_target_change_its_looks(grid: int) -> None:
    """X-5: another rule, without embeddings and with one box a search, through the same code."""
    engine = StubEngine(update=BestInIntervalConfig(interval_frames=10), embedding_size=0, grid=grid)
    tracks, true = follow(moving_square(130, colour=turning), engine)
    assert {t.state for t in tracks} == {TRACKING} and engine.template_calls == 13
    assert boxes.iou([t.box_xywh for t in tracks], true).min() > 0.85


def test_scores_up_to_a_half_leave_the_initial_template() -> None:
    """M-15: followed all the time, but with about 0.45."""
    engine = StubEngine(update=BestInIntervalConfig(interval_frames=10), lost_threshold=0.2)
    (first, box), *others = moving_square(60, colour=lambda n: RED if n == 0 else (180, 68, 45))
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    initial = tracker.template_state[0].copy()
    for n, (rgb, _) in enumerate(others, start=1):
        track = tracker.update(ArrayFrame(rgb), n * STEP_NS)
        assert track.state is TRACKING and 0.3 < track.confidence <= 0.5
        np.testing.assert_array_equal(tracker.template_state[0], initial)


def test_the_gate_keeps_other_looks_out() -> None:
    engine = StubEngine(update=StoreConfig(gate=0.9, interval_frames=10, capacity=3))
    tracks, _ = follow(moving_square(260, colour=turning), engine)
    assert tracks[-1].state is LOST


def test_the_initial_template_never_leaves_slot_1() -> None:
    engine = StubEngine(update=StoreConfig(gate=-1.0, interval_frames=10, capacity=3))
    (first, box), *others = moving_square(120, colour=turning)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    initial = tracker.template_state[0].copy()
    np.testing.assert_array_equal(initial[0, 0], initial[0, 1])
    for n, (rgb, _) in enumerate(others, start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    np.testing.assert_array_equal(tracker.template_state[0][0, 0], initial[0, 0])
    assert np.abs(tracker.template_state[0][0, 1] - initial[0, 1]).max() > 50


def test_the_template_graph_runs_once_per_interval_at_most() -> None:
    """E-12: once when set, and at frames 25, 50, 75, 100 of 110."""
    engine, calls = StubEngine(), []
    (first, box), *others = moving_square(111)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    for n, (rgb, _) in enumerate(others, start=1):
        before = engine.template_calls
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
        calls += [n] * (engine.template_calls - before)
    assert calls == [25, 50, 75, 100] and engine.search_calls == 110


def test_an_empty_store_leaves_the_template_alone() -> None:
    """E-12: frames below the store's threshold never enter, so the state stays the very same arrays."""
    engine = StubEngine(update=StoreConfig(threshold=1.0, reset_after_frames=10_000))
    (first, box), *others = moving_square(80)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    initial = tracker.template_state
    for n, (rgb, _) in enumerate(others, start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    assert tracker.template_state is initial and engine.template_calls == 1


def test_a_store_that_never_accepts_equals_no_store() -> None:
    """E-13."""
    video = list(moving_square(120, out_of_view=range(50, 60)))
    never = StubEngine(update=StoreConfig(threshold=1.0, interval_frames=10, reset_after_frames=30))
    runs = [
        follow(video, never)[0],
        follow(video, StubEngine(), TrackerConfig(refresh_template=False))[0],
        follow(video, StubEngine(update=NoUpdate()))[0],
    ]
    assert as_bytes(runs[0]) == as_bytes(runs[1]) == as_bytes(runs[2])


def test_encoding_unchanged_crops_again_changes_nothing() -> None:
    """X-8: refreshed at every frame with crops that equal the first one, or never."""
    still = list(moving_square(60, path=lambda n: (160, 120)))
    often = StubEngine(update=StoreConfig(interval_frames=1, min_gap_frames=1))
    refreshed, _ = follow(still, often)
    fixed, _ = follow(still, StubEngine(update=NoUpdate()))
    assert often.template_calls > 50
    assert as_bytes(refreshed) == as_bytes(fixed)


def test_a_template_that_is_not_confirmed_for_long_gives_way_to_the_initial_one() -> None:
    config = StoreConfig(interval_frames=10, reset_after_frames=40, min_gap_frames=1, gate=-1.0)
    engine = StubEngine(update=config)
    other: Colour = (205, 60, 60)
    video = list(moving_square(120, colour=lambda n: RED if n == 0 else other, out_of_view=range(30, 119)))
    tracker = Tracker(engine, ArrayFrame(video[0][0]), video[0][1], 0, TrackerConfig())
    initial = tracker.template_state[0].copy()
    seen = {}
    for n, (rgb, _) in enumerate(video[1:], start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
        seen[n] = bool(np.array_equal(tracker.template_state[0], initial))
    assert not seen[29] and not seen[60]
    assert seen[70] and seen[110]  # the first multiple of 10 that is 40 after the last view, in frame 29


def test_a_box_at_the_border_does_not_enter_the_store() -> None:
    """It may have been cut there. Bug: 0.03 px off the border passed for a whole target."""
    engine = StubEngine()
    config = TrackerConfig(size_rate=1.0)
    tracks, _ = follow(moving_square(60, path=lambda n: (6, 120)), engine, config)
    assert tracks[-1].state is TRACKING and tracks[-1].box_xywh[0] < 0.1
    assert engine.template_calls == 1


def test_a_model_without_update_rule_cuts_no_templates_for_a_store() -> None:
    """Bug: views were cut and kept though nothing would ever use them."""
    engine = StubEngine(update=NoUpdate())
    (first, box), *others = moving_square(40)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    for n, (rgb, _) in enumerate(others, start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    assert tracker.update_rule.views == () and engine.template_calls == 1


def test_what_is_remembered_is_the_initial_view_and_those_of_the_store() -> None:
    """The template's other slots hold a view that the store may have forgotten meanwhile."""
    config = StoreConfig(interval_frames=10, capacity=2, min_gap_frames=6, gate=-1.0)
    engine = StubEngine(update=config)
    (first, box), *others = moving_square(40)
    tracker = Tracker(engine, ArrayFrame(first), box, 0, TrackerConfig())
    (only,) = tracker.remembered
    assert (only.initial, only.in_template, only.confidence, only.age_frames) == (True, True, 1.0, 0)
    held: dict[int, list[tuple[int, bool]]] = {}
    for n, (rgb, _) in enumerate(others, start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
        initial, *views = tracker.remembered
        assert initial.crop is only.crop and initial.in_template
        used = [view for view in views if view.in_template]
        assert len(used) == (n >= 10)
        for view in used:
            slots = np.stack([initial.crop, view.crop])
            np.testing.assert_array_equal(tracker.template_state[0], engine.encode_template(slots[None])[0])
        held[n] = [(view.age_frames, view.in_template) for view in views if view.confidence is not None]
        assert len(views) - len(held[n]) <= len(used)
    assert held[9] == [(1, False), (7, False)]
    assert held[10] == [(1, False), (7, True)]
    assert held[19] == [(13, False), (19, False)]  # the one in the template is forgotten


# Robustness.


class BrokenEngine(StubEngine):
    """Breaks the box or the score of every search from the third on, until it is mended."""

    def __init__(self, box: tuple[float, float, float, float], score: float, **overrides: object) -> None:
        super().__init__(**overrides)
        self.broken: tuple[tuple[float, ...], float] | None = (box, score)

    def search(self, search: np.ndarray, states: Sequence[State]) -> SearchOutput:
        output = super().search(search, states)
        if self.broken and self.search_calls > 2:
            output.box_map[:] = np.array(self.broken[0], np.float32)[:, None, None]
            output.score_map[:] = self.broken[1]
        return output


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ((np.nan, 0.5, 0.2, 0.2), 0.99),
        ((0.5, 0.5, np.inf, 0.2), 0.99),
        ((0.5, 0.5, 0.2, 0.2), np.nan),
        ((0.5, 0.5, -0.2, -0.2), 0.99),
        ((0.5, 0.5, 0.0, 0.0), 0.99),
        ((50.0, -50.0, 1000.0, 0.01), 0.99),
    ],
)
@pytest.mark.parametrize("lost_after_ms", [0, 600_000])
def test_a_broken_network_output_neither_raises_nor_leaves_the_frame(
    box: tuple[float, float, float, float], score: float, lost_after_ms: int
) -> None:
    """Bug: NaN came into the box, and a candidate of negative size into a scan: every later frame raised."""
    engine = BrokenEngine(box, score)
    video = list(moving_square(40, path=lambda n: (160, 120)))
    config = TrackerConfig(lost_after_ms=lost_after_ms, lost_threshold=0.5)
    tracker = Tracker(engine, ArrayFrame(video[0][0]), video[0][1], 0, config)
    for n, (rgb, _) in enumerate(video[1:], start=1):
        track = tracker.update(ArrayFrame(rgb), n * STEP_NS)
        x1, y1, x2, y2 = boxes.xywh_to_xyxy(track.box_xywh)
        assert 0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 240
        assert 0 <= track.confidence <= 1


def test_a_target_that_leaves_the_frame_slowly_keeps_a_box_inside() -> None:
    tracks, _ = follow(moving_square(60, path=lambda n: (280 + n, 120)), StubEngine())
    for track in tracks:
        x1, y1, x2, y2 = boxes.xywh_to_xyxy(track.box_xywh)
        assert x1 >= 0 and x2 <= 320 and x2 - x1 >= 4 and y1 >= 0 and y2 <= 240
    assert tracks[-1].state is not TRACKING


def test_the_box_is_carried_over_to_another_resolution() -> None:
    video = list(moving_square(40))
    tracker = Tracker(StubEngine(), ArrayFrame(video[0][0]), video[0][1], 0, TrackerConfig())
    for n, (rgb, _) in enumerate(video[1:20], start=1):
        tracker.update(ArrayFrame(rgb), n * STEP_NS)
    for n, (rgb, true) in enumerate(video[20:], start=20):
        doubled = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)
        track = tracker.update(ArrayFrame(doubled), n * STEP_NS)
        assert track.state is TRACKING and boxes.iou(track.box_xywh, true * 2) > 0.9


@pytest.mark.parametrize("bad", [(np.nan, 0, 5, 5), (0, 0, 0, 5)])
def test_a_box_of_no_size_cannot_be_followed(bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite box of positive size"):
        Tracker(StubEngine(), ArrayFrame(background(64, 64)), bad, 0, TrackerConfig())


class TestGoingOnElsewhere:
    """A snapshot of a tracker, resumed on another engine of the same model."""

    def test_a_resumed_target_is_where_it_would_have_been(self) -> None:
        """Its template is the refreshed one, and what it has learnt is not taken for stale."""
        update = StoreConfig(gate=-1.0, interval_frames=10, capacity=3, reset_after_frames=60)
        clip = list(moving_square(200, colour=turning))
        whole, _ = follow(clip, StubEngine(update=update))
        tracker = Tracker(StubEngine(update=update), ArrayFrame(clip[0][0]), clip[0][1], 0, TrackerConfig())
        for number, (rgb, truth) in enumerate(clip[1:], start=1):
            if number % 65 == 0:
                before = tracker.track
                tracker = Tracker.resume(StubEngine(update=update), tracker.snapshot, TrackerConfig())
                assert as_bytes([tracker.track]) == as_bytes([before])
            track = tracker.update(ArrayFrame(rgb), number * STEP_NS)
            assert float(boxes.iou(track.box_xywh, truth)) > 0.85 and track.state is TRACKING
        assert track.age_frames == whole[-1].age_frames
        np.testing.assert_allclose(track.box_xywh, whole[-1].box_xywh, atol=0.5)

    def test_a_lost_target_is_scanned_for_at_once(self) -> None:
        video = jumping_square(2, 0, 60, (520, 380))
        tracker = Tracker(StubEngine(), ArrayFrame(video[0][0]), video[0][1], 0, TrackerConfig())
        lost = replace(tracker.snapshot, track=replace(tracker.track, state=LOST, reason="a restart"))
        engine = StubEngine()
        tracker = Tracker.resume(engine, lost, TrackerConfig())
        assert tracker.track.reason == "a restart"
        states = [
            tracker.update(ArrayFrame(rgb), n * STEP_NS).state for n, (rgb, _) in enumerate(video[2:], 2)
        ]
        assert engine.search_batches[0] == 4
        assert states[0] is LOST and states[-1] is TRACKING

    def test_crops_of_another_model_are_refused(self) -> None:
        (rgb, box), *_ = moving_square(1)
        snapshot = Tracker(StubEngine(), ArrayFrame(rgb), box, 0, TrackerConfig()).snapshot
        other = replace(snapshot, latest_crop=snapshot.latest_crop[:-1])
        with pytest.raises(ValueError, match=r"a crop of \(\d+, \d+, 3\) is no template of .*: \d+ px"):
            Tracker.resume(StubEngine(), other, TrackerConfig())


class TestWhyNot:
    """A target that is not TRACKING says why."""

    @pytest.mark.parametrize(("grey", "words"), [(0, "grey level 0 of 255"), (255, "grey level 255 of 255")])
    def test_a_covered_lens(self, grey: int, words: str) -> None:
        tracks = self.after_seeing(np.full((240, 320, 3), grey, np.uint8))
        assert tracks[0].state is UNCERTAIN and tracks[-1].state is LOST
        assert "the picture shows nothing where it is searched for" in tracks[-1].reason
        assert words in tracks[0].reason

    def test_a_target_that_is_nowhere(self) -> None:
        tracks = self.after_seeing(background(320, 240))
        assert tracks[0].reason == f"nothing looks enough like it (confidence {tracks[0].confidence:.2f})"

    def test_a_target_that_left(self) -> None:
        path = lambda n: (296 - 0.2 * n, 120) if n < 5 else (300 + 5 * n, 120)  # noqa: E731
        tracks, _ = follow(moving_square(60, path=path), StubEngine())
        assert tracks[-1].state is not TRACKING
        assert tracks[-1].reason == "it was last seen at the border of the frame (right)"

    def test_none_while_it_is_tracked(self) -> None:
        tracks, _ = follow(jumping_square(3, 10, 20, (110, 110)), StubEngine())
        assert [bool(t.reason) for t in tracks] == [t.state is not TRACKING for t in tracks]
        assert tracks[-1].state is TRACKING

    def after_seeing(self, rgb: Rgb) -> list[Track]:
        (first, box), *_ = moving_square(1)
        tracker = Tracker(StubEngine(), ArrayFrame(first), box, 0, TrackerConfig())
        return [tracker.update(ArrayFrame(rgb), n * STEP_NS) for n in range(1, 40)]


def test_lost_targets_take_turns_in_scanning() -> None:
    """A frame costs a region a target and the tiles of one scan, and no target waits for ever."""
    engine = StubEngine()
    rgb = background(640, 480)
    draw_square(rgb, np.array([100.0, 100, 24, 24]), RED)
    config = TrackerConfig(lost_after_ms=200, redetect_tiles=3)
    trackers = [Tracker(engine, ArrayFrame(rgb), [100, 100, 24, 24], 0, config) for _ in range(4)]
    for n in range(1, 40):
        update_together(trackers, ArrayFrame(background(640, 480)), n * STEP_NS)
        waited = sorted(tracker.frames_without_tiles for tracker in trackers)
        assert n < 15 or waited == [0, 1, 2, 3]
    assert {tracker.state for tracker in trackers} == {LOST}
    assert max(engine.search_batches) == 4 + 3


def test_a_box_that_is_more_likely_wrong_is_followed_in_doubt() -> None:
    """Below the tracking threshold the box moves on, but nobody is told that the target is seen."""
    engine = StubEngine(lost_threshold=0.2, tracking_threshold=0.6)
    faded = (180, 68, 45)  # scores about 0.45
    tracks, true = follow(moving_square(60, colour=lambda n: RED if n < 10 else faded), engine)
    assert boxes.iou([t.box_xywh for t in tracks], true)[:34].min() > 0.85
    assert [t.state for t in tracks[:9]] == [TRACKING] * 9
    assert {t.state for t in tracks[9:33]} == {UNCERTAIN} and 0.2 < tracks[20].confidence < 0.6
    assert tracks[20].reason.startswith("what is followed may be something else (confidence 0.4")
    assert tracks[33].state is LOST and tracks[33].last_seen_ns == 9 * STEP_NS
