"""Which objects, frames and images a sample shows. How they lie and look: see views, scene and effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from . import picks
from .config import DataConfig
from .draws import Draws
from .footage import Footage, Shot
from .images import Image, ImageStore, UnreadableImage

REDRAWS = 20
PIECE_PX = 16.0  # least side of a random piece of an image


class Wish(NamedTuple):
    """What one sample shall show."""

    same_template: bool
    elsewhere: bool
    distractor: bool
    look_alike: bool
    occluder: bool
    filled: list[bool]  # a view: an image around the image


def wishes(config: DataConfig, views: int, draws: Draws) -> list[Wish]:
    parts = (
        draws.chance("same template", config.same_template),
        draws.chance("absent", config.absent),
        draws.chance("distractor", config.distractor),
        draws.chance("look-alike", config.look_alike),
        draws.chance("occlusion", config.occlusion),
        draws.uniform("filled border", views) < config.filled_border,
    )
    return [Wish(*row) for row in zip(*(part.tolist() for part in parts), strict=True)]


class Choice(NamedTuple):
    """The objects and images of one sample."""

    shots: list[Shot]  # T templates and the search frame
    backdrops: list[Path | None]  # of the views; not opened yet, as few are needed
    distractor: Shot | None
    occluder: Shot | None
    still: bool  # all views are of one image
    pasted: bool  # the object alone, on the backdrops
    same_template: bool  # all templates are the first
    elsewhere: bool  # the search frame shows another object
    look_alike: bool  # the distractor is the object itself


class Book:
    """The images of some samples, opened once and numbered."""

    def __init__(self, images: ImageStore) -> None:
        self.arrays: list[Image] = []
        self.numbers: dict[Path, int] = {}
        self._images = images

    def number(self, path: Path) -> int:
        """Raises UnreadableImage."""
        if path not in self.numbers:
            self.arrays.append(self._images[path])
            self.numbers[path] = len(self.numbers)
        return self.numbers[path]

    def can_open(self, path: Path) -> bool:
        try:
            self.number(path)
        except UnreadableImage:
            return False
        return True

    def size(self, path: Path) -> tuple[int, int]:
        """Width and height; raises UnreadableImage."""
        height, width = self.arrays[self.number(path)].shape[:2]
        return width, height


class Chooser:
    """Chooses by weight a source, of it an object, of that its frames: a function of (seed, number)."""

    def __init__(self, footage: Sequence[Footage], config: DataConfig, slots: int, seed: int) -> None:
        """
        Raises:
            ValueError: no object is left that can be used.
        """
        self.config, self.slots, self.seed = config, slots, seed
        self._kinds, self._kind_shares = list(config.kinds), _shares(list(config.kinds.values()))
        held_out = set(config.held_out)
        self._usable = [
            item
            for item in footage
            if f"{item.source}/{item.name}" not in held_out and picks.usable(item.visible, slots, item.spaced)
        ]
        self._videos = _Pool([item for item in self._usable if item.is_video], config.sources)
        self._stills = _Pool([item for item in self._usable if not item.is_video], config.sources)
        if not self._stills and not self._videos:
            raise ValueError("no object to train on: every source is empty, held out or of no weight")

    def choose(self, number: int, wish: Wish, book: Book) -> Choice:
        """Objects and images of a sample, opened; where one cannot be read, all are chosen anew.

        Raises:
            UnreadableImage: REDRAWS times.
        """
        for attempt in range(REDRAWS):
            with suppress(UnreadableImage):
                return self._choose(np.random.default_rng((self.seed, number, attempt)), wish, book)
        return self._choose(np.random.default_rng((self.seed, number, REDRAWS)), wish, book)

    def _choose(self, rng: Generator, wish: Wish, book: Book) -> Choice:
        kind = self._kinds[_place(rng, self._kind_shares)]
        footage = self._object(rng, kind)
        shots = self._shots(rng, footage, kind, book)
        other = self._elsewhere(rng, footage, shots, kind, book) if wish.elsewhere else None
        if other is not None:
            shots[-1] = other
        pasted = kind == "pasted"
        backdrops = [self._any_image(rng) if pasted or filled else None for filled in wish.filled]
        if wish.same_template:
            shots[: self.slots] = shots[:1] * self.slots
            backdrops[: self.slots] = backdrops[:1] * self.slots
        distractor = occluder = None
        if wish.distractor:
            distractor = shots[-1] if wish.look_alike else self._still(rng)
        if wish.occluder:
            occluder = self._piece(rng, self._still(rng).image, book)
        for shot in (*shots, distractor):
            if shot is not None:
                book.number(shot.image)
        return Choice(
            shots,
            backdrops,
            distractor,
            occluder,
            still=kind != "video" or not footage.is_video,
            pasted=pasted,
            same_template=wish.same_template,
            elsewhere=other is not None,
            look_alike=wish.look_alike,
        )

    def _object(self, rng: Generator, kind: str) -> Footage:
        """Videos stand in for stills that are missing, and the other way round."""
        first, second = (self._videos, self._stills) if kind == "video" else (self._stills, self._videos)
        return (first or second).draw(rng)

    def _shots(self, rng: Generator, footage: Footage, kind: str, book: Book) -> list[Shot]:
        """T + 1 shots of one object; but of a video, T + 1 times the same one."""
        if kind == "video" and footage.is_video:
            return [footage.shot(frame) for frame in self._frames(rng, footage)]
        shot = footage.shot(_any_visible(rng, footage))
        if kind == "region" or (kind == "pasted" and rng.random() < 0.5):
            shot = self._piece(rng, shot.image, book)
        return [shot] * (self.slots + 1)

    def _frames(self, rng: Generator, footage: Footage) -> Sequence[int]:
        if self.config.sampling == "causal":
            return picks.causal(rng, footage.visible, self.slots, self.config.max_gap)
        if self.config.sampling == "trident":
            return picks.trident(rng, footage.visible, self.slots, self.config.max_gap)
        seen, count = np.flatnonzero(footage.visible), self.slots + 1
        return [int(frame) for frame in rng.choice(seen, count, replace=len(seen) < count)]

    def _elsewhere(
        self, rng: Generator, footage: Footage, shots: Sequence[Shot], kind: str, book: Book
    ) -> Shot | None:
        """Another object in another image; none if there seems to be none."""
        known = {shot.image for shot in shots}
        for _ in range(REDRAWS):
            other = self._object(rng, kind)
            shot = self._shots(rng, other, kind, book)[-1]
            if other is not footage and shot.image not in known:
                return shot
        return None

    def _still(self, rng: Generator) -> Shot:
        footage = self._object(rng, "still")
        return footage.shot(_any_visible(rng, footage))

    def _any_image(self, rng: Generator) -> Path:
        """Of any object, whatever the weights of the sources."""
        footage = self._usable[rng.integers(len(self._usable))]
        return footage.images[rng.integers(len(footage))]

    def _piece(self, rng: Generator, image: Path, book: Book) -> Shot:
        """A random part of an image as an object: matching needs no class."""
        width, height = book.size(image)
        side = np.exp(rng.uniform(np.log(PIECE_PX), np.log(max(PIECE_PX, min(width, height) / 2))))
        aspect = np.exp(rng.normal(0, 0.35))
        w, h = min(side * aspect, width * 0.7), min(side / aspect, height * 0.7)
        return Shot(image, (float(rng.uniform(0, width - w)), float(rng.uniform(0, height - h)), w, h))


class _Pool:
    """Objects by source: a source is drawn by its weight, 1 if it has none, then one of its objects."""

    def __init__(self, footage: Sequence[Footage], weights: Mapping[str, float]) -> None:
        found: dict[str, list[Footage]] = {}
        for item in footage:
            if weights.get(item.source, 1.0) > 0:
                found.setdefault(item.source, []).append(item)
        self._sources = list(found.values())
        self._shares = _shares([weights.get(source, 1.0) for source in found])

    def __len__(self) -> int:
        return len(self._sources)

    def draw(self, rng: Generator) -> Footage:
        source = self._sources[_place(rng, self._shares)]
        return source[rng.integers(len(source))]


def _shares(weights: Sequence[float]) -> NDArray[np.float64]:
    """Running sums, for _place."""
    return np.cumsum(np.asarray(weights, np.float64))


def _place(rng: Generator, shares: NDArray[np.float64]) -> int:
    """A place, drawn by the weights that `shares` are the running sums of."""
    return int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))


def _any_visible(rng: Generator, footage: Footage) -> int:
    seen = np.flatnonzero(footage.visible)
    return int(seen[rng.integers(len(seen))])
