"""Training samples: T template crops, one search region, and where the target is in it.

Sample number i is a function of (seed, i) alone, whatever the number of workers, so a resumed run sees
what an uninterrupted one would have seen. The squares are those of `core.crop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset

from distill_tracker_ros.core import crop
from distill_tracker_ros.core.boxes import Boxes, xywh_to_cxcywh

from .cutout import blend, outline
from .geometry import Matrix, linear_map, region_matrix, render, warp_about, warp_box
from .sources import Footage, ImageStore, Shot


@dataclass(frozen=True)
class DataConfig:
    """What samples are made of. Probabilities are per sample."""

    sources: dict[str, float] = field(default_factory=dict)  # name -> weight, within videos and within stills
    kinds: dict[str, float] = field(
        default_factory=lambda: {"video": 0.4, "still": 0.2, "region": 0.1, "pasted": 0.3}
    )
    held_out: tuple[str, ...] = ()  # tracks (source/name) kept for validation
    centre_jitter: float = 3.0  # search region centre, in sqrt(w h), uniform over its full width
    scale_jitter: float = 0.25  # search region side, deviation of the logarithm
    turn_degrees: float = 8.0  # deviation between the views of one sample
    stretch: float = 0.08  # deviation of the logarithm of each axis between views
    quarter_turn: float = 0.3  # all views turned together, for targets seen from above
    mirror: float = 0.5  # all views together
    same_template: float = 0.4  # second template equal to the first, as at the start of a track
    template_jitter: float = 0.1  # centre of the other templates, as boxes at run time are not exact
    absent: float = 0.06  # search region without the target
    occlusion: float = 0.2
    distractor: float = 0.3
    filled_border: float = 0.4  # outside the image another image instead of zeros


class Sizes(NamedTuple):
    """What a model wants to see."""

    search_size: int
    search_factor: float
    template_size: int
    template_factor: float
    template_slots: int


class Batch(NamedTuple):
    """B samples; crops are uint8 RGB, boxes cxcywh relative to the search side."""

    templates: torch.Tensor  # [B, T, Hz, Wz, 3]
    search: torch.Tensor  # [B, Hx, Wx, 3]
    box: torch.Tensor  # [B, 4] float32
    present: torch.Tensor  # [B] bool


class View(NamedTuple):
    """One shot as a sample sees it: image pixels -> frame pixels, and the box in that frame."""

    shot: Shot
    matrix: Matrix
    box_xywh: Boxes


class Sampler(Dataset[Batch]):
    """An endless, numbered supply of samples."""

    def __init__(
        self,
        footage: Sequence[Footage],
        images: ImageStore,
        config: DataConfig,
        sizes: Sizes,
        seed: int,
        length: int,
    ) -> None:
        self.config, self.sizes, self.seed, self.length = config, sizes, seed, length
        self._images = images
        held_out = set(config.held_out)
        usable = [f for f in footage if f"{f.source}/{f.name}" not in held_out]
        self._videos = _by_source([f for f in usable if f.is_video])
        self._stills = _by_source([f for f in usable if not f.is_video]) or self._videos
        if not self._stills:
            raise ValueError("no object to train on: every source is empty or held out")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((self.seed, index))
        kinds = self.config.kinds
        kind = _choose(rng, list(kinds), list(kinds.values()))
        shots = self._shots(rng, kind)
        mask = outline(rng) if kind == "pasted" else None
        views = self._views(rng, shots)
        templates = [self._template(rng, view, mask, i) for i, view in enumerate(views[:-1])]
        if self.sizes.template_slots > 1 and rng.random() < self.config.same_template:
            templates[1:] = templates[:1] * (len(templates) - 1)
        search, box = self._search(rng, views[-1], mask)
        present = rng.random() >= self.config.absent
        if not present:
            other = self._views(rng, self._shots(rng, kind)[-1:])[-1]
            search, box = self._search(rng, other, mask)
        return Batch(
            torch.from_numpy(np.stack(templates)),
            torch.from_numpy(search),
            torch.from_numpy(box.astype(np.float32)),
            torch.tensor(present),
        )

    def _shots(self, rng: Generator, kind: str) -> list[Shot]:
        """T + 1 shots of one object; of a still, T + 1 times the same one."""
        pool = self._videos if kind == "video" and self._videos else self._stills
        weights = [self.config.sources.get(source, 1.0) for source in pool]
        source = pool[_choose(rng, list(pool), weights)]
        footage = source[rng.integers(len(source))]
        count = self.sizes.template_slots + 1
        if not footage.is_video:
            shot = footage.shots[0]
            if kind in ("region", "pasted") and (kind == "region" or rng.random() < 0.5):
                shot = Shot(shot.image, self._random_box(rng, shot.image))
            return [shot] * count
        picked = rng.choice(len(footage.shots), count, replace=len(footage.shots) < count)
        return [footage.shots[i] for i in picked]

    def _random_box(self, rng: Generator, image: Path) -> tuple[float, float, float, float]:
        """A random part of an image as a target: matching needs no class."""
        height, width = self._images[image].shape[:2]
        side = np.exp(rng.uniform(np.log(16), np.log(min(width, height) / 2)))
        aspect = np.exp(rng.normal(0, 0.35))
        w, h = min(side * aspect, width * 0.7), min(side / aspect, height * 0.7)
        return float(rng.uniform(0, width - w)), float(rng.uniform(0, height - h)), float(w), float(h)

    def _views(self, rng: Generator, shots: Sequence[Shot]) -> list[View]:
        """Each shot with its own small warp, and a turn and a mirroring that all share."""
        c = self.config
        degrees = 90.0 * rng.integers(4) if rng.random() < c.quarter_turn else 0.0
        mirrored = -1.0 if rng.random() < c.mirror else 1.0
        still = len({id(shot) for shot in shots}) == 1
        strength = 1.5 if still else 0.5  # real footage brings its own change
        views = []
        for shot in shots:
            own = linear_map(
                rng.normal(0, c.turn_degrees * strength),
                np.exp(rng.normal(0, c.stretch * strength)),
                np.exp(rng.normal(0, c.stretch * strength)),
                rng.normal(0, 0.05 * strength),
            )
            linear = own @ linear_map(degrees, mirrored, 1.0)
            matrix = warp_about(xywh_to_cxcywh(shot.box_xywh)[:2], linear)
            views.append(View(shot, matrix, warp_box(shot.box_xywh, matrix)))
        return views

    def _template(
        self, rng: Generator, view: View, mask: NDArray[np.uint8] | None, slot: int
    ) -> NDArray[np.uint8]:
        box = view.box_xywh
        if slot:
            box = box.copy()
            box[:2] += rng.uniform(-0.5, 0.5, 2) * self.config.template_jitter * np.sqrt(box[2] * box[3])
        region = crop.region_around(box, self.sizes.template_factor)
        return self._draw(rng, view, region, self.sizes.template_size, mask)

    def _search(
        self, rng: Generator, view: View, mask: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.uint8], Boxes]:
        """The search region around a jittered box, and the true box in it (cxcywh, relative)."""
        c, size = self.config, self.sizes.search_size
        jittered = xywh_to_cxcywh(view.box_xywh)
        jittered[2:] *= np.exp(rng.normal(0, c.scale_jitter, 2))
        jittered[:2] += rng.uniform(-0.5, 0.5, 2) * c.centre_jitter * np.sqrt(jittered[2] * jittered[3])
        jittered[:2] -= jittered[2:] / 2
        region = crop.region_around(jittered, self.sizes.search_factor)
        pixels = self._draw(rng, view, region, size, mask)
        box = crop.box_to_region(view.box_xywh, region)
        if rng.random() < c.distractor:
            pixels = self._paste_other(rng, pixels, box)
        if rng.random() < c.occlusion:
            pixels = self._occlude(rng, pixels, box)
        return pixels, box

    def _draw(
        self, rng: Generator, view: View, region: crop.Region, size: int, mask: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8]:
        """The view's image through warp and crop; with a mask, only the object, on another image."""
        image = self._images[view.shot.image]
        matrix = region_matrix(region, size) @ view.matrix
        if mask is None:
            fill = self._backdrop(rng, size) if rng.random() < self.config.filled_border else None
            return render(image, matrix, size, fill)
        x, y, w, h = view.shot.box_xywh
        to_box = np.array([[w / mask.shape[1], 0, x], [0, h / mask.shape[0], y], [0, 0, 1]])
        alpha = render(mask, matrix @ to_box, size)
        return blend(self._backdrop(rng, size), render(image, matrix, size), alpha)

    def _backdrop(self, rng: Generator, size: int) -> NDArray[np.uint8]:
        """A random square of a random image."""
        image = self._images.random(rng)
        height, width = image.shape[:2]
        side = int(rng.uniform(0.4, 1.0) * min(height, width))
        region = crop.Region(int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side)
        return render(image, region_matrix(region, size), size)

    def _paste_other(self, rng: Generator, pixels: NDArray[np.uint8], box: Boxes) -> NDArray[np.uint8]:
        """Another object of about the same size beside the target."""
        size = pixels.shape[0]
        shot = self._shots(rng, "still")[0]
        area = np.sqrt(box[2] * box[3]) * size * np.exp(rng.normal(0, 0.3))
        angle = rng.uniform(0, 2 * np.pi)
        distance = (np.hypot(box[2], box[3]) * size + area) / 2 * rng.uniform(0.9, 1.8)
        centre = box[:2] * size + distance * np.array([np.cos(angle), np.sin(angle)])
        return self._paste(rng, pixels, shot, centre, area)

    def _occlude(self, rng: Generator, pixels: NDArray[np.uint8], box: Boxes) -> NDArray[np.uint8]:
        """Something in front of a part of the target."""
        size = pixels.shape[0]
        shot = Shot(path := self._shots(rng, "still")[0].image, self._random_box(rng, path))
        angle = rng.uniform(0, 2 * np.pi)
        reach = box[2:] * size / 2
        centre = box[:2] * size + reach * rng.uniform(0.5, 1.1) * np.array([np.cos(angle), np.sin(angle)])
        return self._paste(
            rng, pixels, shot, centre, float(np.sqrt(reach[0] * reach[1])) * rng.uniform(0.6, 1.4)
        )

    def _paste(
        self, rng: Generator, pixels: NDArray[np.uint8], shot: Shot, centre: NDArray[np.float64], side: float
    ) -> NDArray[np.uint8]:
        """A shot's object at `centre` (crop pixels) with sqrt(w h) = `side`."""
        x, y, w, h = shot.box_xywh
        scale = max(side, 3.0) / np.sqrt(w * h)
        middle = np.array([x + w / 2, y + h / 2])
        matrix = warp_about(middle, linear_map(rng.uniform(-20, 20), scale, scale), centre - middle)
        mask = outline(rng)
        to_box = np.array([[w / mask.shape[1], 0, x], [0, h / mask.shape[0], y], [0, 0, 1]])
        size = pixels.shape[0]
        return blend(
            pixels, render(self._images[shot.image], matrix, size), render(mask, matrix @ to_box, size)
        )


def _by_source(footage: Sequence[Footage]) -> dict[str, list[Footage]]:
    found: dict[str, list[Footage]] = {}
    for item in footage:
        found.setdefault(item.source, []).append(item)
    return found


def _choose(rng: Generator, items: list[str], weights: list[float]) -> str:
    share = np.cumsum(weights)
    return items[int(np.searchsorted(share, rng.uniform(0, share[-1]), side="right"))]
