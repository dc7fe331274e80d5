"""One target: where it is searched for, what the answer means, and when its template is refreshed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import boxes, crop
from .best_in_interval import BestInInterval
from .boxes import Boxes
from .config import BestInIntervalConfig, NoUpdate, StoreConfig, TrackerConfig
from .crop import Region
from .decode import Peak, hann_window, peak
from .engine import Engine, SearchOutput, State
from .frame import Frame
from .scan import Scan
from .target_store import TargetStore
from .update_rule import FixedTemplate, UpdateRule, View

_UPDATE_RULES: dict[type, Callable[..., UpdateRule]] = {
    NoUpdate: lambda _: FixedTemplate(),
    StoreConfig: TargetStore,
    BestInIntervalConfig: BestInInterval,
}


class TrackState(IntEnum):
    """How far a track can be trusted; the numbers are those of distill_tracker_msgs/TrackedTarget."""

    TRACKING = 1  # seen in this frame
    UNCERTAIN = 2  # below the threshold: the box is held where it was
    LOST = 3  # not seen for longer than lost_after_ms: the frame is being scanned


@dataclass(frozen=True)
class Track:
    """What is known of one target after one frame."""

    box_xywh: Boxes  # frame pixels; the last accepted box
    confidence: float  # 0..1, score of this frame
    state: TrackState
    stamp_ns: int  # of this frame
    last_seen_ns: int  # of the frame in which the box was accepted
    age_frames: int  # frames since the target was set


class Tracker:
    """Follows one target. Sees frames, stamps and calls: no clock, no thread, no randomness.

    The template is encoded once and cached; a frame costs only its search region. The model's update rule
    (the Target Store of EATrack, for example) may refresh all slots of the template but the first.
    """

    def __init__(
        self, engine: Engine, frame: Frame, box_xywh: ArrayLike, stamp_ns: int, config: TrackerConfig
    ) -> None:
        """Start on the frame on which the box (frame pixels) was drawn.

        Raises:
            ValueError: the box is not finite or has no size.
        """
        self.config = config
        self.state = TrackState.TRACKING
        self.engine, self._spec = engine, engine.spec
        self._box = np.array(box_xywh, np.float64)
        self._frame_size = (frame.width, frame.height)
        self._confidence = 1.0
        self._stamp_ns = self._last_seen_ns = stamp_ns
        self._age = 0
        self._growth = 1.0
        self._scan: Scan | None = None
        self.update_rule = _UPDATE_RULES[type(self._spec.update)](self._spec.update)
        self._initial_crop = self._cut_template(frame)
        self._template_state = self._encode(self._initial_crop)

    @property
    def track(self) -> Track:
        return Track(
            self._box.copy(), self._confidence, self.state, self._stamp_ns, self._last_seen_ns, self._age
        )

    def update(self, frame: Frame, stamp_ns: int) -> Track:
        """Find the target in the next frame."""
        return update_together([self], frame, stamp_ns)[0]

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the last frame, in whose pixels the box is."""
        return self._frame_size

    def discontinuity(self, frame: Frame, stamp_ns: int) -> str:
        """Why this frame cannot follow the last one: time went back, or another aspect; empty if it can."""
        if stamp_ns < self._stamp_ns:
            return f"time went back by {(self._stamp_ns - stamp_ns) / 1e9:.3f} s"
        old, new = self._frame_size, (frame.width, frame.height)
        # A pixel of rounding is not another aspect.
        if abs(new[0] * old[1] - new[1] * old[0]) > max(*old, *new):
            return f"{describe_change(old, new)}, another aspect"
        return ""

    # The steps of one frame, in the order of `update_together`.

    def rescale(self, width: int, height: int) -> None:
        """Carry the box over to frames of this size."""
        if (width, height) != self._frame_size:
            self._box *= width / self._frame_size[0]
            self._frame_size = (width, height)
            self._scan = None

    def regions_to_search(self) -> list[Region]:
        """Where to look in the next frame: one region, or several tiles of the frame when LOST."""
        if not self.config.redetect:
            self._scan = None
        around_box = crop.region_around(self._box, self._spec.search_factor * self._growth)
        return self._scan.next_regions(around_box) if self._scan else [around_box]

    def absorb(self, frame: Frame, stamp_ns: int, regions: Sequence[Region], output: SearchOutput) -> Track:
        """Take the maps of `regions` (axis 0 of `output`), move the box, keep the template up to date."""
        self._age += 1
        self._stamp_ns = stamp_ns
        index, found = self._best_candidate(regions, output)
        self._confidence = found.confidence
        self._move(boxes.cxcywh_to_xywh(found.box_cxcywh), stamp_ns)
        if self.config.refresh_template:
            if self.state is TrackState.TRACKING:
                self._offer_view(frame, None if output.embedding is None else output.embedding[index])
            self._refresh_template()
        return self.track

    @property
    def template_state(self) -> State:
        """The cached output of the template graph, each tensor with a leading axis of 1."""
        return self._template_state

    def _best_candidate(self, regions: Sequence[Region], output: SearchOutput) -> tuple[int, Peak]:
        """The region with the highest peak, and that peak with its box in frame pixels (cxcywh)."""
        # A scan has no idea where the target is, hence no window.
        window = hann_window(self._spec.grid, 0.0 if len(regions) > 1 else self._spec.window_weight)
        peaks = [peak(s, b, window) for s, b in zip(output.score_map, output.box_map, strict=True)]
        index = max(range(len(peaks)), key=lambda i: peaks[i].confidence)
        box_xywh = crop.box_to_frame(peaks[index].box_cxcywh, regions[index])
        return index, Peak(boxes.xywh_to_cxcywh(box_xywh), peaks[index].confidence)

    def _move(self, box_xywh: Boxes, stamp_ns: int) -> None:
        """The state machine: accept the box, hold the old one, or scan for the target."""
        config = self.config
        box_xywh = boxes.clip(box_xywh, *self._frame_size, config.min_side_px)
        if not self._scan:
            box_xywh = boxes.resize_towards(box_xywh, self._box, config.size_rate)
            box_xywh = boxes.clip(box_xywh, *self._frame_size, config.min_side_px)
        threshold = config.lost_threshold or self._spec.lost_threshold
        if self._scan:
            needed = config.redetect_threshold or (1 + threshold) / 2
            accepted = self._scan.judge(box_xywh, self._confidence, needed)
        else:
            accepted = self._confidence >= threshold
        if accepted:
            self._box = box_xywh
            self._last_seen_ns = stamp_ns
            self.state = TrackState.TRACKING
            self._growth, self._scan = 1.0, None
        elif stamp_ns - self._last_seen_ns >= config.lost_after_ms * 1_000_000:
            self.state = TrackState.LOST
            if config.redetect and self._scan is None:
                factor = self._spec.search_factor
                self._scan = Scan.of_frame(*self._frame_size, self._box, factor, config)
        else:
            self.state = TrackState.UNCERTAIN
        if not accepted:
            self._growth = min(self._growth * config.region_growth, config.region_growth_max)

    # The template.

    def _offer_view(self, frame: Frame, embedding: NDArray[np.float32] | None) -> None:
        if self.update_rule.wants(self._age, self._confidence) and self._lies_inside(frame):
            own = np.zeros(0, np.float32) if embedding is None else embedding.copy()
            self.update_rule.offer(View(self._age, self._confidence, self._cut_template(frame), own))

    def _refresh_template(self) -> None:
        """Encode what the rule says, if it says something, beside the initial template."""
        latest = self.update_rule.refresh(self._age, self._initial_crop)
        if latest is not None:
            self._template_state = self._encode(latest)

    def _encode(self, latest_crop: NDArray[np.uint8]) -> State:
        """The states for the initial crop in slot 1 and `latest_crop` in all other slots."""
        slots = [self._initial_crop] + [latest_crop] * (self._spec.template_slots - 1)
        return self.engine.encode_template(np.stack(slots)[None])

    def _cut_template(self, frame: Frame) -> NDArray[np.uint8]:
        region = crop.region_around(self._box, self._spec.template_factor)
        return crop.cut(frame, region, self._spec.template_size)

    def _lies_inside(self, frame: Frame) -> bool:
        """Whether the box keeps off the border, where it may have been cut."""
        x1, y1, x2, y2 = boxes.xywh_to_xyxy(self._box)
        return bool(min(x1, y1) >= 1 and x2 <= frame.width - 1 and y2 <= frame.height - 1)


def describe_change(old: tuple[int, int], new: tuple[int, int]) -> str:
    return f"the frame changed from {old[0]}x{old[1]} to {new[0]}x{new[1]}"


def update_together(trackers: Sequence[Tracker], frame: Frame, stamp_ns: int) -> list[Track]:
    """One frame for all targets of one engine: cut, search once, then each decodes and moves."""
    if not trackers:
        return []
    engine = trackers[0].engine
    for tracker in trackers:
        tracker.rescale(frame.width, frame.height)
    regions = [tracker.regions_to_search() for tracker in trackers]
    crops = [crop.cut(frame, region, engine.spec.search_size) for own in regions for region in own]
    states = [tracker.template_state for tracker, own in zip(trackers, regions, strict=True) for _ in own]
    output = engine.search(np.stack(crops), states)
    ends = np.cumsum([len(own) for own in regions])
    return [
        tracker.absorb(frame, stamp_ns, own, _rows(output, end - len(own), end))
        for tracker, own, end in zip(trackers, regions, ends, strict=True)
    ]


def _rows(output: SearchOutput, start: int, end: int) -> SearchOutput:
    scores, box_maps, embeddings = output
    rows = slice(start, end)
    return SearchOutput(scores[rows], box_maps[rows], None if embeddings is None else embeddings[rows])
