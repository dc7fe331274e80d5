"""Images with boxes in one table: annotations.csv with the header image,x,y,w,h,label,track.

A row a box, pixels of the stored image, left-top-width-height. The rows of one `track` show one object in
several images of a video, in the order of time; an empty `track` is a still.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from .index import Index, Plan, Track, texts

FILE = "annotations.csv"
COLUMNS = ["image", "x", "y", "w", "h", "label", "track"]
MIN_SIDE_PX = 8.0
LAYOUTS = (f"{FILE} ({','.join(COLUMNS)})",)


def plan(folder: Path) -> Plan | None:
    """None if the folder is of another layout."""
    path = folder / FILE
    return Plan(partial(_read, path), [path]) if path.is_file() else None


def _read(path: Path) -> Index:
    """Boxes with a side below MIN_SIDE_PX, or with nan, are left out.

    Raises:
        ValueError: another header, or a row that is not numbers (file and line are named).
    """
    tracks: dict[str, list[tuple[str, list[float]]]] = defaultdict(list)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"{path}: the header is {reader.fieldnames}; accepted is {COLUMNS}")
        for row in reader:
            try:
                box = [float(row[key]) for key in ("x", "y", "w", "h")]
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
            if all(map(math.isfinite, box)) and min(box[2:]) >= MIN_SIDE_PX:
                tracks[row["track"] or f"still {reader.line_num}"].append((row["image"], box))
    return Index.of(map(_track, tracks, tracks.values()), spaced=True)


def _track(name: str, shots: list[tuple[str, list[float]]]) -> Track:
    images, boxes = zip(*shots, strict=True)
    return Track(name, ".", texts(images), np.array(boxes), np.ones(len(shots), bool))
