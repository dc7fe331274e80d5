"""One target: where it is searched for, what the answer means, and when its template is refreshed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import boxes, crop
from .best_in_interval import BestInInterval
from .boxes import Boxes
from .config import BestInIntervalConfig, NoUpdate, StoreConfig, TrackerConfig
from .crop import Region
from .decode import Peak, hann_window, peak
from .engine import Engine, SearchOutput, State
from .frame import Frame, Pixels
from .scan import Scan
from .target_store import TargetStore
from .update_rule import FixedTemplate, UpdateRule, View

_UPDATE_RULES: dict[type, Callable[..., UpdateRule]] = {
    NoUpdate: lambda _config, _age: FixedTemplate(),
    StoreConfig: TargetStore,
    BestInIntervalConfig: lambda config, _age: BestInInterval(config),
}
_UNIFORM = 4.0  # grey levels of standard deviation below which a picture shows nothing


class TrackState(IntEnum):
    """How far a track can be trusted; the numbers are those of distill_tracker_msgs/TrackedTarget."""

    TRACKING = 1  # seen in this frame
    UNCERTAIN = 2  # in doubt: the box follows a likeness, or is held where it was when there is none
    LOST = 3  # not seen for longer than lost_after_ms: the frame is being scanned


@dataclass(frozen=True)
class Track:
    """What is known of one target after one frame."""

    box_xywh: Boxes  # frame pixels; the last accepted box
    confidence: float  # 0..1, that the box of this frame is right, if the model is calibrated
    state: TrackState
    stamp_ns: int  # of this frame
    last_seen_ns: int  # of the last frame in which it was TRACKING
    age_frames: int  # frames since the target was set
    reason: str = ""  # why it is not TRACKING, in words


@dataclass(frozen=True)
class Snapshot:
    """What it takes to go on with a target elsewhere: on another engine of its model, or after a restart."""

    track: Track
    frame_size: tuple[int, int]  # px, width and height of the frames that the box is in
    initial_crop: Pixels  # (Hz, Wz, 3) RGB, slot 1 of the template
    latest_crop: Pixels  # the other slots


@dataclass(frozen=True)
class Remembered:
    """A view of the target that is in the update rule's memory, in the template, or both."""

    crop: Pixels  # (Hz, Wz, 3) RGB
    initial: bool  # the one on which the target was set
    in_template: bool
    confidence: float | None = None  # None: the rule has forgotten it, but the template is still made of it
    age_frames: int = 0  # frames since the target was set


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
        box = np.array(box_xywh, np.float64)
        crop_ = _cut_template(engine, frame, box)
        track = Track(box, 1.0, TrackState.TRACKING, stamp_ns, stamp_ns, 0)
        self._begin(engine, Snapshot(track, (frame.width, frame.height), crop_, crop_), config)

    @classmethod
    def resume(cls, engine: Engine, snapshot: Snapshot, config: TrackerConfig) -> Tracker:
        """Go on where another tracker was, with empty memory of views; a LOST target is scanned for at once.

        Raises:
            ValueError: the crops have not the size that the engine's model takes.
        """
        side = engine.spec.template_size
        for pixels in (snapshot.initial_crop, snapshot.latest_crop):
            if pixels.shape != (side, side, 3):
                raise ValueError(f"a crop of {pixels.shape} is no template of {engine.spec.name}: {side} px")
        tracker = cls.__new__(cls)
        tracker._begin(engine, snapshot, config)
        return tracker

    def _begin(self, engine: Engine, snapshot: Snapshot, config: TrackerConfig) -> None:
        track = snapshot.track
        self.config = config
        self.state, self._reason = track.state, track.reason
        self.engine, self._spec = engine, engine.spec
        self._box = track.box_xywh.copy()
        self._frame_size = snapshot.frame_size
        self._confidence = track.confidence
        self._stamp_ns, self._last_seen_ns = track.stamp_ns, track.last_seen_ns
        self._age = track.age_frames
        self._growth = 1.0
        self._scan = self._new_scan() if track.state is TrackState.LOST else None
        self.update_rule = _UPDATE_RULES[type(self._spec.update)](self._spec.update, self._age)
        self._initial_crop, self._latest_crop = snapshot.initial_crop, snapshot.latest_crop
        self._template_state = self._encode(self._latest_crop)
        self.refreshed_ns: int | None = None  # stamp of the frame of the last refresh of the template

    @property
    def track(self) -> Track:
        return Track(
            self._box.copy(),
            self._confidence,
            self.state,
            self._stamp_ns,
            self._last_seen_ns,
            self._age,
            self._reason,
        )

    @property
    def snapshot(self) -> Snapshot:
        """The target as it is now; cheap, the crops are not copied (nothing writes into them)."""
        return Snapshot(self.track, self._frame_size, self._initial_crop, self._latest_crop)

    @property
    def remembered(self) -> tuple[Remembered, ...]:
        """The initial view, then those of the update rule, the newest at the end; crops are not copied."""
        latest = self._latest_crop
        found = [Remembered(self._initial_crop, True, True, 1.0)]
        held = self.update_rule.views
        if latest is not self._initial_crop and all(view.crop is not latest for view in held):
            found.append(Remembered(latest, False, True))
        found += [Remembered(v.crop, False, v.crop is latest, v.confidence, v.frame_number) for v in held]
        return tuple(found)

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

    @property
    def frames_without_tiles(self) -> int:
        """How long it is LOST and waits for its turn to scan the frame; -1 if there is nothing to scan."""
        return -1 if self._scan is None or self._scan.has_candidate else self._scan.frames_without_tiles

    def regions_to_search(self, tiles: bool = True) -> list[Region]:
        """Where to look in the next frame: one region, or several when LOST, if it may scan `tiles` now."""
        if not self.config.redetect:
            self._scan = None
        around_box = crop.region_around(self._box, self._spec.search_factor * self._growth)
        return self._scan.next_regions(around_box, tiles) if self._scan else [around_box]

    def absorb(
        self,
        frame: Frame,
        stamp_ns: int,
        regions: Sequence[Region],
        crops: NDArray[np.uint8],
        output: SearchOutput,
    ) -> Track:
        """Move the box and keep the template up to date.

        Args:
            regions: that were searched; axis 0 of `crops`, their pixels, and of `output`, their maps.
        """
        self._age += 1
        self._stamp_ns = stamp_ns
        index, found = self._best_candidate(regions, output)
        self._confidence = found.confidence
        self._move(boxes.cxcywh_to_xywh(found.box_cxcywh), stamp_ns)
        self._reason = "" if self.state is TrackState.TRACKING else self._why_not(crops[0])
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
        confidence = self._spec.calibration(peaks[index].confidence)
        return index, Peak(boxes.xywh_to_cxcywh(box_xywh), confidence)

    def _move(self, box_xywh: Boxes, stamp_ns: int) -> None:
        """The state machine: believe the box, follow it in doubt, hold the old one, or scan the frame."""
        config = self.config
        box_xywh = boxes.clip(box_xywh, *self._frame_size, config.min_side_px)
        if not self._scan:
            box_xywh = boxes.resize_towards(box_xywh, self._box, config.size_rate)
            box_xywh = boxes.clip(box_xywh, *self._frame_size, config.min_side_px)
        if self._scan:
            needed = (
                config.redetect_threshold or self._spec.redetect_threshold or (1 + self._lost_threshold) / 2
            )
            accepted = self._scan.judge(box_xywh, self._confidence, needed)
        else:
            accepted = self._confidence >= self._lost_threshold
        if accepted:
            self._box, self._growth = box_xywh, 1.0
        else:
            self._growth = min(self._growth * config.region_growth, config.region_growth_max)
        unseen_ns = stamp_ns - self._last_seen_ns
        if accepted and (self._scan or self._confidence >= self._spec.tracking_threshold):
            self.state, self._scan, self._last_seen_ns = TrackState.TRACKING, None, stamp_ns
        elif self.state is TrackState.LOST or unseen_ns >= config.lost_after_ms * 1_000_000:
            self.state = TrackState.LOST
            if self._scan is None:
                self._scan = self._new_scan()
        else:
            self.state = TrackState.UNCERTAIN

    @property
    def _lost_threshold(self) -> float:
        return self.config.lost_threshold or self._spec.lost_threshold

    def _new_scan(self) -> Scan | None:
        if not self.config.redetect:
            return None
        return Scan.of_frame(*self._frame_size, self._box, self._spec.search_factor, self.config)

    def _why_not(self, searched: NDArray[np.uint8]) -> str:
        """Why the target is not TRACKING, given the pixels of the first region that was searched."""
        mean, deviation = cv2.meanStdDev(searched)
        if deviation.max() < _UNIFORM:
            return f"the picture shows nothing where it is searched for (grey level {mean.mean():.0f} of 255)"
        if self._scan and self._scan.has_candidate:
            return "something like it was found: a second look decides"
        if self._scan is None and self._confidence >= self._lost_threshold:
            return f"what is followed may be something else (confidence {self._confidence:.2f})"
        (x1, y1, x2, y2), (width, height) = boxes.xywh_to_xyxy(self._box), self._frame_size
        touched = {"left": x1 < 1, "right": x2 > width - 1, "top": y1 < 1, "bottom": y2 > height - 1}
        if sides := [side for side, touches in touched.items() if touches]:
            return f"it was last seen at the border of the frame ({', '.join(sides)})"
        return f"nothing looks enough like it (confidence {self._confidence:.2f})"

    # The template.

    def _offer_view(self, frame: Frame, embedding: NDArray[np.float32] | None) -> None:
        if self.update_rule.wants(self._age, self._confidence) and self._lies_inside(frame):
            own = np.zeros(0, np.float32) if embedding is None else embedding.copy()
            view = _cut_template(self.engine, frame, self._box)
            self.update_rule.offer(View(self._age, self._confidence, view, own))

    def _refresh_template(self) -> None:
        """Encode what the rule says, if it says something, beside the initial template."""
        latest = self.update_rule.refresh(self._age, self._initial_crop)
        if latest is not None:
            self._template_state = self._encode(latest)
            self._latest_crop, self.refreshed_ns = latest, self._stamp_ns

    def _encode(self, latest_crop: NDArray[np.uint8]) -> State:
        """The states for the initial crop in slot 1 and `latest_crop` in all other slots."""
        slots = [self._initial_crop] + [latest_crop] * (self._spec.template_slots - 1)
        return self.engine.encode_template(np.stack(slots)[None])

    def _lies_inside(self, frame: Frame) -> bool:
        """Whether the box keeps off the border, where it may have been cut."""
        x1, y1, x2, y2 = boxes.xywh_to_xyxy(self._box)
        return bool(min(x1, y1) >= 1 and x2 <= frame.width - 1 and y2 <= frame.height - 1)


def describe_change(old: tuple[int, int], new: tuple[int, int]) -> str:
    return f"the frame changed from {old[0]}x{old[1]} to {new[0]}x{new[1]}"


def _cut_template(engine: Engine, frame: Frame, box_xywh: Boxes) -> Pixels:
    return crop.cut(
        frame, crop.region_around(box_xywh, engine.spec.template_factor), engine.spec.template_size
    )


def update_together(trackers: Sequence[Tracker], frame: Frame, stamp_ns: int) -> list[Track]:
    """One frame for all targets of one engine: cut, search once, then each decodes and moves.

    Targets that are LOST take turns in scanning the frame, so that a frame never costs more than a search
    region a target and the tiles of one scan.
    """
    if not trackers:
        return []
    engine = trackers[0].engine
    for tracker in trackers:
        tracker.rescale(frame.width, frame.height)
    scanning = max(trackers, key=lambda tracker: tracker.frames_without_tiles)
    regions = [tracker.regions_to_search(tiles=tracker is scanning) for tracker in trackers]
    crops = np.stack([crop.cut(frame, region, engine.spec.search_size) for own in regions for region in own])
    states = [tracker.template_state for tracker, own in zip(trackers, regions, strict=True) for _ in own]
    output = engine.search(crops, states)
    ends = np.cumsum([len(own) for own in regions])
    return [
        tracker.absorb(frame, stamp_ns, own, crops[end - len(own) : end], _rows(output, end - len(own), end))
        for tracker, own, end in zip(trackers, regions, ends, strict=True)
    ]


def _rows(output: SearchOutput, start: int, end: int) -> SearchOutput:
    scores, box_maps, embeddings = output
    rows = slice(start, end)
    return SearchOutput(scores[rows], box_maps[rows], None if embeddings is None else embeddings[rows])
