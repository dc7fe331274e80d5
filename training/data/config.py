"""What samples are made of: the `data` section of a recipe, and the sizes that a model wants to see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

KINDS = ("video", "still", "region", "pasted")
SAMPLING = ("free", "causal", "trident")
RESIDENT = (True, False, "auto")


class Sizes(NamedTuple):
    """Crop sides in pixels, and crop side / sqrt(w h) of the target."""

    search_size: int
    search_factor: float
    template_size: int
    template_factor: float
    template_slots: int


def _chance(default: float) -> float:
    return field(default=default, metadata={"chance": True, "strong": 1.0})


def _strength(default: float, strong: float) -> float:
    """`strong` shows the part at its worst, see DataConfig.alone."""
    return field(default=default, metadata={"strong": strong})


@dataclass(frozen=True)
class DataConfig:
    """Every part of sample making has a strength of its own; 0 switches it off.

    Chances are per sample unless something else is said. Deviations of sizes and factors are those of the
    logarithm. `kinds` are weights of: frames of a video; a still, seen twice; a random region of a still, for
    matching needs no class; an object (half of them a region) cut out and pasted on other images.
    """

    # Where samples come from
    sources: dict[str, float] = field(default_factory=dict)  # name -> weight, within videos and within stills
    kinds: dict[str, float] = field(
        default_factory=lambda: {"video": 0.4, "still": 0.2, "region": 0.1, "pasted": 0.3}
    )
    held_out: tuple[str, ...] = ()  # tracks (source/name) kept for validation
    sampling: str = "free"  # frames of a video: any (free), causal or trident, see data.picks
    max_gap: int = 200  # frames, of causal and trident
    same_template: float = _chance(0.4)  # all templates equal to the first, as at the start of a track

    # Where the search region lies
    centre_jitter: float = _strength(
        3.0, 3.0
    )  # camera shake: offset in sqrt(w h), uniform over its full width
    scale_jitter: float = _strength(0.25, 0.6)  # scale change: deviation of both sides of the jittered box
    template_jitter: float = _strength(
        0.1, 0.6
    )  # centre of the templates after the first: boxes at run time are not exact
    template_scale_jitter: float = _strength(0.0, 0.4)  # and their size
    absent: float = _chance(0.06)  # the search region shows another place
    out_of_view: float = _chance(0.0)  # the search region lies beside the target

    # How the views of a sample differ: 1.5 times as much for a still, half as much for a video, which brings
    # its own change
    turn_degrees: float = _strength(8.0, 25.0)  # deviation
    stretch: float = _strength(0.08, 0.3)  # aspect change: deviation of each axis
    shear: float = _strength(0.05, 0.25)  # deviation
    own_mirror: float = _chance(0.0)  # a view
    # and what they share
    quarter_turn: float = _chance(0.3)  # for targets seen from above
    mirror: float = _chance(0.5)

    # What else is in the picture
    distractor: float = _chance(0.3)  # another object beside the target
    look_alike: float = _chance(0.0)  # of the distractors, those that look like the target
    occlusion: float = _chance(0.2)  # something in front of a part of the target
    filled_border: float = _chance(0.4)  # a crop: outside the image another image instead of zeros

    # Light and lens
    grey: float = _chance(0.1)  # all views without colour
    brightness: float = _strength(0.2, 0.6)  # deviations, shared by the views of a sample
    contrast: float = _strength(0.2, 0.6)
    saturation: float = _strength(0.3, 1.0)
    tint: float = _strength(0.05, 0.3)  # of each colour
    own_light: float = _strength(
        0.1, 0.5
    )  # deviation of each view's brightness, contrast and saturation from the shared ones
    low_light: float = _chance(0.0)  # all views dark, with sensor noise
    motion_blur: float = _chance(0.15)  # a search region; a template half as often
    defocus: float = _chance(0.15)  # likewise
    noise: float = _strength(0.03, 0.15)  # largest deviation of a search region's noise, in shares of white

    # How samples reach the device
    resident: bool | str = "auto"  # all images on the device; auto = on CUDA, where they fit

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name} = {value} must be a number from 0 on")
            if item.metadata.get("chance") and value > 1:
                raise ValueError(f"{item.name} = {value} is a probability: 0 to 1")
        for name, accepted in (("sampling", SAMPLING), ("resident", RESIDENT)):
            if getattr(self, name) not in accepted:
                known = ", ".join(map(str, accepted))
                raise ValueError(f"{name} = {getattr(self, name)!r} is unknown; accepted are {known}")
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise ValueError(f"kinds has the unknown {unknown[0]!r}; accepted are {', '.join(KINDS)}")
        for name in ("kinds", "sources"):
            for key, weight in getattr(self, name).items():
                if not weight >= 0:
                    raise ValueError(f"{name}: the weight of {key!r} is {weight}; 0 or more is accepted")
        if not sum(self.kinds.values()) > 0:
            raise ValueError("kinds: at least one weight must be above 0")
        if self.max_gap < 1:
            raise ValueError(f"max_gap = {self.max_gap} must be at least 1 frame")

    def alone(self, part: str) -> DataConfig:
        """All parts off but this one, which is strong, or but one of the kinds: to look at it.

        Raises:
            ValueError: there is no such part; the accepted ones are named.
        """
        parts = {item.name: item.metadata["strong"] for item in fields(self) if "strong" in item.metadata}
        if part not in (*KINDS, *parts):
            raise ValueError(f"there is no part {part!r}; accepted are {', '.join((*KINDS, *parts))}")
        values: dict[str, Any] = dict.fromkeys(parts, 0.0)
        if part in KINDS:
            return replace(self, **values, kinds={part: 1.0})
        values |= {part: parts[part]}
        if part == "look_alike":
            values["distractor"] = 1.0
        return replace(self, **values)
