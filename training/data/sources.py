"""Data sets on disk: each is a folder whose layout is told by the names in it; see docs/training_data.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill_tracker_ros.evaluation.benchmarks.layout import folders

from . import read_annotations, read_coco, read_sequences
from .footage import Footage
from .index import Plan, cached

PLANS = (read_annotations.plan, read_coco.plan, read_sequences.plan)
LAYOUTS = "; or ".join(read_annotations.LAYOUTS + read_coco.LAYOUTS + read_sequences.LAYOUTS)


def read_sources(root: Path, names: Sequence[str] = (), cache: Path | None = None) -> list[Footage]:
    """The footage of data sets.

    Args:
        root: folder of the data sets.
        names: their folders; none = all that are there.
        cache: folder in which their indices are kept, so that the next start takes seconds (see
            `index.cached`); None = read the data sets.

    Raises:
        FileNotFoundError: a data set is missing, or there is none.
        ValueError: a data set is of no known layout, or a piece of it is missing or wrong (it is named).
    """
    names = list(names) or [folder.name for folder in folders(root)]
    if not names:
        raise FileNotFoundError(f"{root} holds no data set: expected are folders with {LAYOUTS}")
    return [item for name in names for item in cached(root / name, cache, _plan).footage(name, root / name)]


def _plan(folder: Path) -> Plan:
    """How to read a data set, by its layout."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist: a data set is a folder with {LAYOUTS}")
    for plan_for in PLANS:
        if plan := plan_for(folder):
            return plan
    raise ValueError(f"{folder} is no data set that is known: it must hold {LAYOUTS}")
