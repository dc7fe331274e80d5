"""Cut-outs of photographs that move over another: videos whose every box is known, and what is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Rgb = NDArray[np.uint8]
Boxes = NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
RATE_HZ = 30.0
_SEEN = 0.25  # of the target; less counts as away


@dataclass(frozen=True)
class Thing:
    """A cut-out and where it is in each frame."""

    rgb: Rgb  # (H, W, 3)
    alpha: NDArray[np.float32]  # (H, W) 0..1
    centres: NDArray[np.float64]  # (N, 2) frame pixels; it may be outside

    @property
    def boxes_xywh(self) -> Boxes:
        """(N, 4) of the whole thing, also where it is hidden."""
        size = np.array(self.alpha.shape[::-1], np.float64)
        return np.hstack([np.round(self.centres - size / 2), np.tile(size, (len(self.centres), 1))])


def cut_out(
    photo: Rgb, box_xywh: ArrayLike, side_px: float, centres: ArrayLike, round_: bool = True
) -> Thing:
    """What is in a box of a photograph, scaled to sqrt(w h) = `side_px`; as an oval, or the whole box."""
    x, y, w, h = (round(float(v)) for v in np.asarray(box_xywh))
    scale = side_px / np.sqrt(w * h)
    size = (max(4, round(w * scale)), max(4, round(h * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    rgb = cv2.resize(np.ascontiguousarray(photo[y : y + h, x : x + w]), size, interpolation=interpolation)
    v, u = (np.mgrid[: size[1], : size[0]] + 0.5) / np.array(size[::-1]).reshape(2, 1, 1) * 2 - 1
    oval = np.clip((1 - np.hypot(u, v)) * min(size) / 3, 0, 1) if round_ else np.ones(size[::-1])
    return Thing(rgb, oval.astype(np.float32), np.asarray(centres, np.float64))


def ground(photo: Rgb) -> Rgb:
    """A photograph, in colour, enlarged so that it fills the frame wherever `film` moves it."""
    if photo.ndim == 2:
        photo = cv2.cvtColor(photo, cv2.COLOR_GRAY2RGB)
    scale = max(1.5 * WIDTH / photo.shape[1], 1.5 * HEIGHT / photo.shape[0])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


def film(below: Rgb, things: Sequence[Thing], seed: int = 0) -> Iterator[Rgb]:
    """The frames: the things over a ground that drifts below them, the last on top; a little noise."""
    rng = np.random.default_rng(seed)
    room = np.array([below.shape[1] - WIDTH, below.shape[0] - HEIGHT])
    phases = rng.uniform(0, 2 * np.pi, 2)
    grain = rng.normal(0, 2, (HEIGHT + 64, WIDTH + 64, 1)).astype(np.float32)
    for number in range(len(things[0].centres)):
        x, y = (room * (0.5 + 0.4 * np.sin(number / 70 + phases))).astype(int)
        frame = below[y : y + HEIGHT, x : x + WIDTH].astype(np.float32)
        for thing in things:
            _draw(frame, thing, number)
        row, column = rng.integers(0, 64, 2)
        frame += grain[row : row + HEIGHT, column : column + WIDTH]
        yield cv2.convertScaleAbs(np.maximum(frame, 0))


def truth(things: Sequence[Thing], index: int) -> Boxes:
    """(N, 4) xywh of a thing, cut at the frame's border; nan where less than a quarter of it is seen."""
    found = np.full((len(things[index].centres), 4), np.nan)
    for number, (x, y, w, h) in enumerate(things[index].boxes_xywh):
        seen = things[index].alpha.copy()
        seen[_outside(h, y, HEIGHT)] = 0
        seen[:, _outside(w, x, WIDTH)] = 0
        for over in things[index + 1 :]:
            _draw(seen[..., None], replace(over, rgb=np.zeros((*over.alpha.shape, 1))), number, (x, y))
        if seen.sum() >= _SEEN * things[index].alpha.sum():
            corners = np.clip([[x, y], [x + w, y + h]], 0, [WIDTH, HEIGHT])
            found[number] = [*corners[0], *(corners[1] - corners[0])]
    return found


def _outside(length: float, start: float, limit: int) -> NDArray[np.bool_]:
    """(length,) which pixels of a side that begins at `start` are not in the frame."""
    at = np.arange(int(length)) + start
    return (at < 0) | (at >= limit)


def _draw(
    frame: NDArray[np.float32], thing: Thing, number: int, origin: tuple[float, float] = (0, 0)
) -> None:
    """In place; `origin` is where the frame's first pixel lies."""
    x, y, w, h = (thing.boxes_xywh[number] - [*origin, 0, 0]).astype(int)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, frame.shape[1]), min(y + h, frame.shape[0])
    if right > left and bottom > top:
        own = (slice(top - y, bottom - y), slice(left - x, right - x))
        alpha = thing.alpha[own][..., None]
        frame[top:bottom, left:right] += alpha * (thing.rgb[own] - frame[top:bottom, left:right])


def along(*stops: tuple[float, float, float]) -> NDArray[np.float64]:
    """(N, 2) centres: from stop to stop, each a time (s) and a place (x, y); it starts and arrives gently."""
    times, places = np.array([s[0] for s in stops]), np.array([s[1:] for s in stops])
    now = np.arange(round(times[-1] * RATE_HZ) + 1) / RATE_HZ
    at = np.clip(np.searchsorted(times, now, side="right") - 1, 0, len(stops) - 2)
    share = (now - times[at]) / (times[at + 1] - times[at])
    smooth = (share * share * (3 - 2 * share))[:, None]
    return places[at] * (1 - smooth) + places[at + 1] * smooth
