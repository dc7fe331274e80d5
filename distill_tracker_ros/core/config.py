"""Every number of the tracker, with its default, its unit and its range: the only place they are written.

The ROS parameters, `--help` and the README's table are made from these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


def option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field that carries its description and its range (both ends included)."""
    metadata = {"help": help, "low": low, "high": high, "accepted": ()}
    return field(default=default, metadata=metadata)


def choice(help: str, *accepted: str) -> Any:
    """A text field that is one of these; the first is the default."""
    metadata = {"help": help, "low": None, "high": None, "accepted": accepted}
    return field(default=accepted[0], metadata=metadata)


def check_ranges(config: Any) -> None:
    """Raise ValueError for the first field of a dataclass of `option`s and `choice`s that is not accepted."""
    for f in fields(config):
        value, low, high = getattr(config, f.name), f.metadata["low"], f.metadata["high"]
        what, accepted = f"{type(config).__name__}.{f.name} = {value!r}", f.metadata["accepted"]
        if low is not None and not low <= value <= high:
            raise ValueError(f"{what} is out of range: accepted is {low} to {high}")
        if accepted and value not in accepted:
            raise ValueError(f"{what} is unknown: accepted is {' or '.join(accepted)}")


@dataclass(frozen=True)
class NoUpdate:
    """The template is never refreshed."""

    rule: ClassVar[str] = "none"  # the manifest's word for it
    least_slots: ClassVar[int] = 1  # what a model must have for this rule
    least_embedding: ClassVar[int] = 0


@dataclass(frozen=True)
class StoreConfig:
    """The Target Store (EATrack). The source names the mechanism, not the numbers: they are ours."""

    rule: ClassVar[str] = "target_store"
    least_slots: ClassVar[int] = 2
    least_embedding: ClassVar[int] = 1

    threshold: float = option(0.65, "confidence from which a view may enter the store", 0.0, 1.0)
    min_gap_frames: int = option(5, "frames between two insertions, so that views differ", 1, 10_000)
    capacity: int = option(16, "views kept; the oldest leaves", 1, 256)
    interval_frames: int = option(25, "frames between two refreshes of the template", 1, 100_000)
    gate: float = option(0.5, "least cosine between a view's embedding and the first one's", -1.0, 1.0)
    reset_after_frames: int = option(
        150, "frames without an insertion after which the initial template is restored", 1, 1_000_000
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class BestInIntervalConfig:
    """The best view of an interval is the template of the next (MixFormer).

    The source has intervals of 10 to 200 frames, a data set each; ours is for video from drones.
    """

    rule: ClassVar[str] = "best_in_interval"
    least_slots: ClassVar[int] = 2
    least_embedding: ClassVar[int] = 0

    interval_frames: int = option(25, "frames between two refreshes of the template", 1, 100_000)
    threshold: float = option(0.5, "confidence from which a view may be the best", 0.0, 1.0)
    decay: float = option(
        1.0, "what is left of the best view's confidence a frame later; below 1 prefers newer views", 0.0, 1.0
    )

    def __post_init__(self) -> None:
        check_ranges(self)


UpdateConfig = NoUpdate | StoreConfig | BestInIntervalConfig
UPDATE_RULES: dict[str, type[UpdateConfig]] = {
    kind.rule: kind for kind in (NoUpdate, StoreConfig, BestInIntervalConfig)
}


@dataclass(frozen=True)
class TrackerConfig:
    """How a track is held, doubted, lost and found again."""

    lost_threshold: float = option(
        0.0, "confidence below which a frame does not move the box; 0 = the model's own value", 0.0, 1.0
    )
    lost_after_ms: int = option(1000, "time below the threshold after which a target is LOST", 0, 600_000)
    min_side_px: float = option(
        4.0,
        "least side of a box; targets seen from a drone are often below the field's usual 10",
        1.0,
        1000.0,
    )
    size_rate: float = option(
        0.4,
        "share of a frame's change of size (logarithm) that the box takes over; 1 = all, as published",
        0.01,
        1.0,
    )
    region_growth: float = option(1.05, "growth of the search region per UNCERTAIN frame", 1.0, 2.0)
    region_growth_max: float = option(1.6, "largest search region, in usual ones", 1.0, 8.0)
    redetect: bool = option(True, "scan the whole frame for a LOST target")
    redetect_threshold: float = option(
        0.0, "confidence a scanned place needs, twice; 0 = the model's own value", 0.0, 1.0
    )
    redetect_tiles: int = option(
        3, "tiles of the frame scanned per update while LOST (bounds the cost)", 1, 64
    )
    redetect_max_tiles: int = option(
        64, "tiles of a whole scan; larger tiles are used to stay below", 1, 4096
    )
    refresh_template: bool = option(True, "let the model's update rule refresh the template")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class SessionConfig:
    """All targets of one camera."""

    max_targets: int = option(4, "targets tracked at once", 1, 64)
    min_target_px: float = option(4.0, "least side of a box that is accepted as a target", 1.0, 1000.0)

    def __post_init__(self) -> None:
        check_ranges(self)
