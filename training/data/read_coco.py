"""COCO: instances files, whose every large enough object is a still."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .index import Index, Plan, texts

FILES = "annotations/instances_*.json"
MIN_SIDE_PX = 50.0  # smaller objects are not used, as in OSTrack
LAYOUTS = ("annotations/instances_train2017.json and images/train2017/*.jpg (COCO)",)


def plan(folder: Path) -> Plan | None:
    """Of the instances files of training, or of all if none says that it is; None if there is none."""
    files = sorted(folder.glob(FILES))
    training = [file for file in files if file.stem.startswith("instances_train")] or files
    return Plan(partial(_read, folder, training), training) if files else None


def _read(folder: Path, files: Sequence[Path]) -> Index:
    """Every annotation that is no crowd and has both sides above MIN_SIDE_PX, as a still."""
    stills = [still for path in tqdm(files, f"reading {folder.name}") for still in _stills(folder, path)]
    return Index(
        texts(still.name for still in stills),
        texts(still.folder for still in stills),
        np.ones(len(stills), np.int64),
        texts(still.file for still in stills),
        np.array([still.box_xywh for still in stills], np.float64).reshape(-1, 4),
        np.ones(len(stills), bool),
        np.array(False),
    )


class _Still(NamedTuple):
    name: str
    folder: str
    file: str
    box_xywh: list[float]


def _stills(folder: Path, path: Path) -> list[_Still]:
    try:
        content = json.loads(path.read_bytes())
        files = {image["id"]: image["file_name"] for image in content["images"]}
        boxes = {
            annotation["id"]: (files[annotation["image_id"]], [float(value) for value in annotation["bbox"]])
            for annotation in content["annotations"]
            if not annotation.get("iscrowd") and min(annotation["bbox"][2:]) > MIN_SIDE_PX
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no instances file of COCO ({type(error).__name__}: {error}): it must hold images "
            "(id, file_name) and annotations (id, image_id, bbox of x, y, w, h)"
        ) from error
    split = path.stem.removeprefix("instances_")
    place = _images(folder, split, {file for file, _ in boxes.values()})
    return [_Still(f"{split}/{number}", place, file, box) for number, (file, box) in boxes.items()]


def _images(folder: Path, split: str, files: set[str]) -> str:
    """The folder of the images, relative to that of the data set.

    Raises:
        ValueError: it is not there, or an image is not in it.
    """
    places = [f"images/{split}", split, "images"]
    place = next((place for place in places if (folder / place).is_dir()), None)
    if place is None:
        raise ValueError(f"COCO needs {folder / places[0]}: the folder of the images of {split}")
    there = set(os.listdir(folder / place))
    missing = sorted(file for file in files - there if not (folder / place / file).is_file())
    if missing:
        more = f" and {len(missing) - 1} more images" if len(missing) > 1 else ""
        raise ValueError(f"COCO needs {folder / place / missing[0]}{more}: {FILES} names it")
    return place
