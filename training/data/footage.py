"""Footage: the annotated frames of one object, a video or a still, without its pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray


class Shot(NamedTuple):
    """One object in one image."""

    image: Path
    box_xywh: tuple[float, float, float, float]  # pixels of the stored image


class Files(Sequence[Path]):
    """Image files of one folder. Their names are kept in an array, as a path object for each of millions of
    frames would take gigabytes."""

    __slots__ = ("folder", "names")

    def __init__(self, folder: str, names: NDArray[np.bytes_]) -> None:
        """
        Args:
            names: (N) relative to the folder, as `os.fsencode` gives them.
        """
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    def __getitem__(self, index: int | slice) -> Path | Files:
        if isinstance(index, slice):
            return Files(self.folder, self.names[index])
        return Path(self.folder, os.fsdecode(self.names[index]))


@dataclass(frozen=True, eq=False, slots=True)
class Footage:
    """All annotated frames of one object, in the order of time; a still is footage of one frame.

    Attributes:
        source: name of the data set it is from, a folder of the data folder.
        name: of the object within its source.
        images: (N) files, often made when asked for.
        boxes_xywh: (N, 4) pixels of the stored images; nan or any value where the target is not to be seen.
        visible: (N,) whether the frame shows the target; only such frames may be positives.
        spaced: frames are samples far apart (annotations.csv) instead of one after the other.
    """

    source: str
    name: str
    images: Sequence[Path]
    boxes_xywh: NDArray[np.float64]
    visible: NDArray[np.bool_]
    spaced: bool = False

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.boxes_xywh.shape != (count, 4) or self.visible.shape != (count,):
            raise ValueError(
                f"{self.source}/{self.name} has {count} images, boxes {self.boxes_xywh.shape} and visible "
                f"{self.visible.shape}: it needs ({count}, 4) and ({count},)"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_video(self) -> bool:
        return len(self.images) > 1

    def shot(self, index: int) -> Shot:
        x, y, w, h = self.boxes_xywh[index].tolist()
        return Shot(self.images[index], (x, y, w, h))
