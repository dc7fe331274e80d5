"""The pixels of footage: held in memory where they fit, else read when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from .footage import Footage

Image = NDArray[np.uint8]  # (H, W, 3) RGB

MAX_UNREADABLE = 0.01  # of the images
ENOUGH_TRIED = 100  # images, before that share is judged


class UnreadableImage(ValueError):
    """An image cannot be read. Rare ones are no reason to stop: draw another object."""


class TooManyUnreadable(RuntimeError):
    """More than MAX_UNREADABLE of the images cannot be read."""


class ImageStore:
    """The images of footage by their paths.

    All are decoded at the start if they fit into the budget; forked worker processes share them. Else every
    process reads for itself, without a lock.

    Attributes:
        unreadable: files that this process could not read, in the order in which it met them.
    """

    def __init__(self, footage: Sequence[Footage], budget_bytes: int = 4 << 30) -> None:
        """
        Raises:
            TooManyUnreadable: more than MAX_UNREADABLE of them cannot be read (the first are named).
        """
        self.unreadable: list[Path] = []
        self._footage = footage
        self._tried = self._failed = 0
        self._held = self._load(_that_fit(footage, budget_bytes), budget_bytes)

    def __getitem__(self, path: Path) -> Image:
        """(H, W, 3) RGB. Others see the same array: copy it to write to it.

        Raises:
            UnreadableImage: it cannot be read.
            TooManyUnreadable: nor can more than MAX_UNREADABLE of those that this process has tried.
        """
        if path in self._held:
            image = self._held[path]
        else:
            image = self._counted(path, _decode(path))
            self._judge(ENOUGH_TRIED)
        if image is None:
            raise UnreadableImage(f"{path} cannot be read as an image")
        return image

    @property
    def held(self) -> Mapping[Path, Image | None]:
        """What is in memory: all or nothing; None for what cannot be read."""
        return self._held

    def random(self, rng: Generator) -> Image:
        """A frame of an object; which one does not depend on what is held in memory.

        Raises:
            UnreadableImage, TooManyUnreadable: as above.
        """
        images = self._footage[rng.integers(len(self._footage))].images
        return self[images[int(rng.integers(len(images)))]]

    def _load(self, paths: Sequence[Path], room_bytes: int) -> dict[Path, Image | None]:
        """None for those that cannot be read; nothing at all if they do not fit after all."""
        held = {}
        with ThreadPoolExecutor() as pool:
            bar = tqdm(pool.map(_decode, paths), "reading images", len(paths), unit="image", mininterval=1.0)
            for path, image in zip(paths, bar, strict=True):
                held[path] = self._counted(path, image)
                room_bytes -= 0 if image is None else image.nbytes
                if room_bytes < 0:
                    pool.shutdown(cancel_futures=True)
                    return {}
        self._judge(len(paths))
        return held

    def _counted(self, path: Path, image: Image | None) -> Image | None:
        self._tried += 1
        if image is None:
            self._failed += 1
            if path not in self.unreadable:
                self.unreadable.append(path)
                warnings.warn(f"{path} cannot be read as an image: it is left out", stacklevel=3)
        return image

    def _judge(self, enough: int) -> None:
        if self._tried >= enough and self._failed > MAX_UNREADABLE * self._tried:
            first = ", ".join(map(str, self.unreadable[:5]))
            raise TooManyUnreadable(
                f"{self._failed} of {self._tried} images cannot be read, more than {MAX_UNREADABLE:.0%}; "
                f"the first: {first}"
            )


def _that_fit(footage: Sequence[Footage], budget_bytes: int) -> list[Path]:
    """All images, sorted; none if they are too many, judged by the sizes of some that can be read."""
    rng = np.random.default_rng(0)
    some = [footage[i].images[0] for i in rng.permutation(len(footage))[:32]]
    sizes = [image.nbytes for path in some if (image := _decode(path)) is not None]
    most = budget_bytes / np.mean(sizes) if sizes else 0
    distinct: set[Path] = set()
    for item in footage:
        distinct.update(item.images)
        if len(distinct) > most:
            return []
    return sorted(distinct)


def _decode(path: Path) -> Image | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
