"""Tracking data sets, read as the evaluation reads them, with their labels of absence.

What training adds is which part of a data set it may see, and that no piece may be missing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from distill_tracker_ros.evaluation.benchmarks.general import Got10k, Lasot, TrackingNet
from distill_tracker_ros.evaluation.benchmarks.layout import Layout, folders, listed
from distill_tracker_ros.evaluation.benchmarks.own import Folder
from distill_tracker_ros.evaluation.benchmarks.uav import VisDrone
from distill_tracker_ros.evaluation.sequences import TRUTH_FILE, ImageFrames, SequenceError, is_image

from .index import Index, Plan, Track, texts

EXCLUDED = "exclude.txt"
IN_PROCESS = 100  # sequences; fewer are read faster than processes start
MAX_PROCESSES = 16

GOT10K, LASOT = Got10k(), Lasot("LaSOT", is_extension=False)
TRACKINGNET, VISDRONE, FOLDER = TrackingNet(), VisDrone(), Folder()


class Kind(NamedTuple):
    """A layout of sequences, and what of it is for training."""

    layout: Layout
    expects: str
    find: Callable[[Path], dict[str, Path]]  # name -> place of each sequence; empty if it is another layout
    labels: dict[str, str] = {}  # files of a sequence that tell where its target can be seen -> how they look


def plan(folder: Path) -> Plan | None:
    """None if the folder is of another layout.

    Raises:
        ValueError: a piece of the data set is missing.
    """
    for kind in KINDS:
        if found := kind.find(folder):
            excluded = _excluded(folder)
            wanted = {name: place for name, place in found.items() if name not in excluded}
            return Plan(partial(_read, folder, kind, wanted), _watched(folder, found))
    return None


def _got10k(folder: Path) -> dict[str, Path]:
    """The training split, or the split that the folder is."""
    train = folder / "train"
    return GOT10K.find(train if train.is_dir() else folder)


def _lasot(folder: Path) -> dict[str, Path]:
    """All but the test set."""
    found, testing = LASOT.find_all(folder), folder / "testing_set.txt"
    if not found:
        return {}
    if not testing.exists():
        raise LASOT.lacks(testing, "the names of its test sequences, one a line; they are not trained on")
    tested = set(listed(testing))
    return {name: place for name, place in found.items() if name not in tested}


def _trackingnet(folder: Path) -> dict[str, Path]:
    """The chunks of the training set, or the chunk that the folder is."""
    chunks = [chunk for chunk in folders(folder) if chunk.name.startswith("TRAIN_")]
    found: dict[str, Path] = {}
    for chunk in chunks:
        if not (part := TRACKINGNET.find(chunk)):
            raise TRACKINGNET.lacks(chunk / "anno/NAME.txt", f"and {chunk / 'frames/NAME/0.jpg'}")
        found |= part
    return found if chunks or (folder / "TEST").is_dir() else TRACKINGNET.find(folder)


def _visdrone(folder: Path) -> dict[str, Path]:
    return VISDRONE.find(folder) if VISDRONE.recognises(folder) else {}


def _own_folders(folder: Path) -> dict[str, Path]:
    """Folders of images with boxes; one without boxes among them is an error."""
    found = {name: place for name, place in FOLDER.find(folder).items() if (place / TRUTH_FILE).exists()}
    if found and folder not in found.values():
        for child in folders(folder):
            if child.name not in found and any(map(is_image, child.iterdir())):
                raise FOLDER.lacks(child / TRUTH_FILE, "x,y,w,h a line for each of its images")
    return found


def _excluded(folder: Path) -> set[str]:
    """Sequences that are not to be trained on, such as those that a benchmark shares with others."""
    path = folder / EXCLUDED
    return {line.strip() for line in path.read_text().splitlines()} if path.exists() else set()


def _watched(folder: Path, found: dict[str, Path]) -> list[Path]:
    """The folders that hold the sequences, the lists in them, and the files of boxes."""
    holders = {folder, *(place.parent for place in found.values() if place != folder)}
    lists = {path for holder in holders for path in holder.glob("*.txt")}
    truths = {place if place.suffix == ".txt" else place / TRUTH_FILE for place in found.values()}
    return sorted(holders | lists | truths)


def _read(folder: Path, kind: Kind, found: dict[str, Path]) -> Index:
    read = partial(_track, folder, kind)
    bar = partial(tqdm, desc=f"reading {folder.name}", total=len(found), unit="sequence", mininterval=1.0)
    if len(found) < IN_PROCESS:
        tracks = list(bar(map(read, found.items())))
    else:
        with ProcessPoolExecutor(min(MAX_PROCESSES, os.cpu_count() or 1)) as pool:
            tracks = list(bar(pool.map(read, found.items(), chunksize=16)))
    broken = [track for track in tracks if isinstance(track, str)]
    if broken:
        raise ValueError(
            f"{len(broken)} of {len(found)} sequences of {folder} cannot be read: repair them, or leave them "
            f"out by naming them in {folder / EXCLUDED}, one a line. The first: {'; '.join(broken[:3])}"
        )
    return Index.of((track for track in tracks if not isinstance(track, str)), spaced=False)


def _track(folder: Path, kind: Kind, found: tuple[str, Path]) -> Track | str:
    """The text says what is wrong with it."""
    name, place = found
    for label, looks in kind.labels.items():
        if not (place / label).exists():
            return f"{kind.layout.title} needs {place / label}: {looks}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about attributes
            sequence = kind.layout.read(folder, name, place)
    except SequenceError as error:
        return str(error)
    assert isinstance(sequence.frames, ImageFrames) and sequence.truth_xywh is not None
    files = sequence.frames.paths
    images = os.path.relpath(files[0].parent, folder)
    return Track(name, images, texts(file.name for file in files), sequence.truth_xywh, sequence.visible)


KINDS = (
    Kind(VISDRONE, VISDRONE.expects, _visdrone),
    Kind(TRACKINGNET, "TRAIN_0/anno/NAME.txt and TRAIN_0/frames/NAME/0.jpg", _trackingnet),
    Kind(
        GOT10K,
        "train/list.txt, train/NAME/00000001.jpg and train/NAME/groundtruth.txt",
        _got10k,
        {
            "absence.label": "0 or 1 a line for each frame, 1 where the target is absent",
            "cover.label": "0 to 8 a line for each frame, 0 where the target is hidden",
        },
    ),
    Kind(
        LASOT,
        f"testing_set.txt, {LASOT.expects}",
        _lasot,
        {
            "full_occlusion.txt": "0 or 1 for each frame, separated by commas, 1 where the target is hidden",
            "out_of_view.txt": "0 or 1 for each frame, separated by commas, 1 where the target is outside",
        },
    ),
    Kind(FOLDER, FOLDER.expects, _own_folders),
)
LAYOUTS = tuple(f"{kind.expects} ({kind.layout.title})" for kind in KINDS)
