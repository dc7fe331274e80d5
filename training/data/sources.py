"""Annotated images on disk: `<root>/<source>/annotations.csv` with the header image,x,y,w,h,label,track.

One row a box, pixels of the stored image, left-top-width-height, 0-based. Rows with one `track` show one
object in several images of a video; an empty `track` is a still image.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Image = NDArray[np.uint8]  # (H, W, 3) RGB
COLUMNS = ["image", "x", "y", "w", "h", "label", "track"]


@dataclass(frozen=True)
class Shot:
    """One object in one image."""

    image: Path
    box_xywh: tuple[float, float, float, float]


@dataclass(frozen=True)
class Footage:
    """All shots of one object: several images of a video, or one still."""

    source: str
    name: str
    shots: tuple[Shot, ...]

    @property
    def is_video(self) -> bool:
        return len(self.shots) > 1


def read_source(folder: Path, min_side_px: float = 8.0) -> list[Footage]:
    """The objects of one source; boxes with a side below `min_side_px` are left out.

    Raises:
        FileNotFoundError: no annotations.csv in the folder.
        ValueError: another header, or a row that is not numbers (file and line are named).
    """
    path = folder / "annotations.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: a source is a folder with images and annotations.csv")
    tracks: dict[str, list[Shot]] = defaultdict(list)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"{path}: the header is {reader.fieldnames}; accepted is {COLUMNS}")
        for row in reader:
            try:
                x, y, w, h = (float(row[key]) for key in ("x", "y", "w", "h"))
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
            if min(w, h) >= min_side_px:
                name = row["track"] or f"still {reader.line_num}"
                tracks[name].append(Shot(folder / row["image"], (x, y, w, h)))
    return [Footage(folder.name, name, tuple(shots)) for name, shots in tracks.items()]


class ImageStore:
    """Decoded images in memory. All are read at once, so that worker processes share them."""

    def __init__(self, paths: set[Path]) -> None:
        ordered = sorted(paths)
        with ThreadPoolExecutor(4) as pool:
            images = list(
                tqdm(
                    pool.map(_read, ordered),
                    total=len(ordered),
                    desc="reading images",
                    unit="image",
                    mininterval=1.0,
                )
            )
        self._images = dict(zip(ordered, images, strict=True))
        self._ordered = ordered

    def __getitem__(self, path: Path) -> Image:
        return self._images[path]

    def random(self, rng: np.random.Generator) -> Image:
        return self._images[self._ordered[rng.integers(len(self._ordered))]]


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} cannot be read as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
