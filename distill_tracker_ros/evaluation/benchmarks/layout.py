"""What all layouts of benchmarks have in common."""

from __future__ import annotations

import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.boxes import Boxes
from ...core.texts import shown
from ..annotations import read_lines, read_numbers, read_truth
from ..sequences import ImageFrames, Sequence, SequenceError, checked, image_files

LONGEST_NAME = 200  # characters


class Layout(ABC):
    """How a benchmark keeps its sequences on disk."""

    title: str  # as its authors write it
    expects: str  # what a folder of it looks like

    def recognises(self, root: Path) -> bool:
        """Whether a folder is of this benchmark, by the names in it.

        Raises:
            SequenceError: it is, and a piece of it is missing.
        """
        return bool(self.find(root))

    @abstractmethod
    def find(self, root: Path) -> dict[str, Path]:
        """Name -> place (a folder or an annotation file) of each sequence, in their order; may be empty.

        Raises:
            SequenceError: a piece of the benchmark is missing.
        """

    @abstractmethod
    def read(self, root: Path, name: str, place: Path) -> Sequence:
        """Open a sequence that `find` has found.

        Raises:
            SequenceError: it cannot be read.
        """

    def lacks(self, path: Path, what: str) -> SequenceError:
        return SequenceError(f"{self.title} needs {path}: {what}")

    def images(self, folder: Path, name: str) -> list[Path]:
        """The images of a sequence, in the order of their numbers."""
        if not folder.is_dir():
            raise self.lacks(folder, f"the images of {name}")
        return image_files(folder)

    def sequence(
        self,
        name: str,
        images: list[Path],
        truth_file: Path,
        *,
        parse: Callable[[Path], Boxes] = read_truth,
        may_have_first_box_only: bool = False,
        present: NDArray[np.bool_] | None = None,
        attributes: tuple[str, ...] = (),
        rate_hz: float | None = None,
        anchors: tuple[int, ...] = (),
    ) -> Sequence:
        """Images with a true box each, checked.

        Args:
            may_have_first_box_only: a single line is then the box of the first of several images, as in test
                sets whose other boxes are kept secret.
        """
        truth = parse(truth_file)
        if may_have_first_box_only and len(truth) == 1:
            truth = np.vstack([truth, np.full((len(images) - 1, 4), np.nan)])
        sequence = Sequence(
            name, ImageFrames(images), truth, rate_hz, present, attributes=attributes, anchors=anchors
        )
        return checked(sequence, truth_file, images[0].parent)


def folders(root: Path) -> list[Path]:
    """The sub-folders in the order of their names, without hidden ones; none if there is no such folder."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:  # which knows folders from files without asking for each
        names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    return [root / name for name in names]


def texts(root: Path) -> dict[str, Path]:
    """The text files of a folder by name without suffix, in the order of their names."""
    return {path.stem: path for path in sorted(root.glob("*.txt")) if not path.name.startswith(".")}


def first_existing(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def number(image: Path) -> int:
    """The last number in a name; 0 without one."""
    return int((re.findall(r"\d+", image.stem) or "0")[-1])


def span(images: Iterable[Path], first: int, last: int) -> list[Path]:
    """The images whose number is between two, both included."""
    return [path for path in images if first <= number(path) <= last]


def listed(path: Path) -> list[str]:
    """Names of folders beside a file, one a line.

    Raises:
        SequenceError: it cannot be read, or a line is no name, or leads elsewhere.
    """
    names = [line.strip() for line in read_lines(path) if line.strip()]
    for name in names:
        if Path(name).name != name or name == ".." or not name.isprintable() or len(name) > LONGEST_NAME:
            what = "each line must be the name of a folder beside it"
            raise SequenceError(f"{path} lists {shown(name)}: {what}")
    return names


def attributes(path: Path | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names whose number in a file of zeros and ones is 1; none without a file."""
    if path is None:
        return ()
    numbers = read_numbers(path)
    if len(numbers) != len(names):
        warnings.warn(
            f"{path} has {len(numbers)} numbers for {len(names)} attributes: left out", stacklevel=3
        )
        return ()
    return tuple(name for name, number in zip(names, numbers, strict=True) if number)


def labels(path: Path, count: int) -> NDArray[np.float64]:
    """(N,) the number that a file has for each of `count` frames.

    Raises:
        SequenceError: it cannot be read, or has not one for each.
    """
    numbers = read_numbers(path)
    if len(numbers) != count:
        raise SequenceError(f"{path} has {len(numbers)} labels for {count} frames: it needs one a frame")
    return numbers
