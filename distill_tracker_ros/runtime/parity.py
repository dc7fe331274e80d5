"""Whether an engine of another precision or runtime gives what the original gives, on real pictures.

The pictures are shipped with the package (`reference_views.jpg`, with their boxes in `reference_views.txt`):
a robot that builds an engine has no others. `distill_tracker_ros.demo.reference_views` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core import boxes, crop
from ..core.boxes import Boxes
from ..core.crop import Region
from ..core.decode import hann_window, peak
from ..core.engine import Engine, ModelSpec, SearchOutput
from ..core.frame import ArrayFrame, Frame

BOX_LIMIT_PX = 1.0
SCORE_LIMIT = 0.02
TILE_PX = 288  # side of a shipped picture: the search region of a 64 px target, and a border

_BATCHES = (1, 2)
_PICTURES = Path(__file__).with_name("reference_views.jpg")
_BOXES = Path(__file__).with_name("reference_views.txt")


class ParityError(ValueError):
    """An engine does not give what the original gives; the text has the numbers and what to try instead."""


@dataclass(frozen=True)
class View:
    """A target that is marked in one picture and searched for in another."""

    template: Frame
    template_xywh: Boxes  # (4,) the target, pixels of `template`
    search: Frame
    around_xywh: Boxes  # (4,) where the target is thought to be, pixels of `search`


class Crops(NamedTuple):
    """What the two graphs are given for a view."""

    templates: NDArray[np.uint8]  # (T, Hz, Wz, 3) RGB
    search: NDArray[np.uint8]  # (Hx, Wx, 3) RGB
    region: Region  # of `search`, pixels of the view's search picture


@dataclass(frozen=True)
class Parity:
    """The largest differences over all views; infinite where a value is not finite."""

    box_px: float  # of a corner of the box that the tracker would take, pixels of the pictures
    score: float  # of that box

    @property
    def passed(self) -> bool:
        return self.box_px <= BOX_LIMIT_PX and self.score <= SCORE_LIMIT

    @property
    def numbers(self) -> dict[str, float]:
        """For a manifest, which holds finite numbers only: empty if they are not."""
        numbers = {"box_px": self.box_px, "score": self.score}
        return {key: float(f"{value:.3g}") for key, value in numbers.items() if math.isfinite(value)}

    def __str__(self) -> str:
        return (
            f"boxes differ by {self.box_px:.3g} px (at most {BOX_LIMIT_PX:g}) "
            f"and scores by {self.score:.3g} (at most {SCORE_LIMIT:g})"
        )


def reference_views() -> list[View]:
    """The shipped views; an even number of them."""
    sheet = cv2.imread(str(_PICTURES), cv2.IMREAD_COLOR)
    if sheet is None:
        raise OSError(f"{_PICTURES} cannot be read: install the package again")
    rgb = sheet[..., ::-1].reshape(-1, TILE_PX, 2, TILE_PX, 3).swapaxes(1, 2)  # a row of the sheet is a view
    numbers = np.loadtxt(_BOXES, ndmin=2)
    return [
        View(ArrayFrame(template), box[:4], ArrayFrame(search), box[4:])
        for (template, search), box in zip(rgb, numbers, strict=True)
    ]


def cut(view: View, spec: ModelSpec) -> Crops:
    """The crops of a view as the tracker cuts them; every template slot holds the same crop."""
    marked = crop.region_around(view.template_xywh, spec.template_factor)
    template = crop.cut(view.template, marked, spec.template_size)
    region = crop.region_around(view.around_xywh, spec.search_factor)
    return Crops(
        np.stack([template] * spec.template_slots), crop.cut(view.search, region, spec.search_size), region
    )


def compare(reference: Engine, candidate: Engine, views: Iterable[View]) -> Parity:
    """The largest difference between the boxes, and the scores, of two engines of one model.

    The candidate runs with one region a call and with two, for a runtime may compute these differently.

    Args:
        reference: the original, one region a call.
        views: boxes are compared in pixels of their pictures, so targets should be about 64 px large.
    """
    crops = [cut(view, reference.spec) for view in views]
    expected = _found(reference, crops, 1)
    differences = [
        _difference(one, other)
        for batch in _BATCHES
        for one, other in zip(expected, _found(candidate, crops, batch), strict=True)
    ]
    box_px, score = np.max(differences, axis=0)
    return Parity(float(box_px), float(score))


def check(parity: Parity, candidate: str, advice: str) -> None:
    """
    Args:
        candidate: what was compared, for example "eatrack_nano in float16 by TensorRT 10.3".
        advice: what to use instead, for example "set tensorrt.precision to float32".

    Raises:
        ParityError: the differences are above the limits.
    """
    if not parity.passed:
        raise ParityError(f"{candidate} does not give what the original gives: {parity}; {advice}")


class _Found(NamedTuple):
    """What an engine says of one view."""

    corners: Boxes  # xyxy, pixels of the search picture
    score: float


_NOT_FINITE = _Found(np.full(4, np.nan), math.nan)


def _found(engine: Engine, crops: Sequence[Crops], batch: int) -> list[_Found]:
    found = []
    for start in range(0, len(crops), batch):
        part = crops[start : start + batch]
        states = [engine.encode_template(each.templates[None]) for each in part]
        output = engine.search(np.stack([each.search for each in part]), states)
        found += [_taken(output, row, each.region, engine.spec) for row, each in enumerate(part)]
    return found


def _taken(output: SearchOutput, row: int, region: Region, spec: ModelSpec) -> _Found:
    """The box that the tracker would take from one row of the maps."""
    if not all(np.isfinite(values[row]).all() for values in output if values is not None):
        return _NOT_FINITE
    window = hann_window(spec.grid, spec.window_weight)
    best = peak(output.score_map[row], output.box_map[row], window)
    return _Found(boxes.xywh_to_xyxy(crop.box_to_frame(best.box_cxcywh, region)), best.confidence)


def _difference(expected: _Found, found: _Found) -> tuple[float, float]:
    """Of the corners in px, and of the scores."""
    box_px = float(np.abs(expected.corners - found.corners).max())
    score = abs(expected.score - found.score)
    return (box_px, score) if math.isfinite(box_px + score) else (math.inf, math.inf)
