"""Sequences to track on: frames that are read when they are asked for, and where the target truly is."""

from __future__ import annotations

import collections.abc
import difflib
import os
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.boxes import Boxes
from ..core.frame import ArrayFrame, Frame, Pixels
from .annotations import SequenceError as SequenceError
from .annotations import read_truth as read_truth
from .metrics import visible

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
TRUTH_FILE = "groundtruth.txt"


class FrameError(SequenceError):
    """A frame that cannot be used; those after it may be."""


class Frames(collections.abc.Sequence[Pixels]):
    """Frames by index, each (H, W, 3) RGB uint8, read when asked for; iterate to read one after the other."""

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> Frames: ...
    def __getitem__(self, index: int | slice) -> Pixels | Frames:
        if isinstance(index, slice):
            return _Part(self, range(len(self))[index])
        if index < 0:
            index += len(self)
        return self._read(index)

    def view(self, index: int) -> Frame:
        """A frame as the tracker sees it: of which regions can be cut."""
        return ArrayFrame(self[index])

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) of the first frame, pixels; None where that is not cheap to know."""
        return None

    @abstractmethod
    def _read(self, index: int) -> Pixels:
        """The frame; IndexError past the last one."""


class _Part(Frames):
    """Some of the frames of another `Frames`."""

    def __init__(self, frames: Frames, indices: range) -> None:
        self._frames, self._indices = frames, indices

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def size(self) -> tuple[int, int] | None:
        return self._frames.size

    def view(self, index: int) -> Frame:
        return self._frames.view(self._indices[index])

    def _read(self, index: int) -> Pixels:
        return self._frames[self._indices[index]]


class ImageFrames(Frames):
    """Image files, in the given order."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def size(self) -> tuple[int, int] | None:
        """Of the first image, which is read for it; None if it cannot be."""
        image = _imread(self.paths[0], cv2.IMREAD_GRAYSCALE) if self.paths else None
        return None if image is None else (image.shape[1], image.shape[0])

    def _read(self, index: int) -> Pixels:
        path = self.paths[index]
        bgr = _imread(path, cv2.IMREAD_COLOR)
        if bgr is None:
            raise SequenceError(f"{path} is not a readable image")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _imread(path: Path, flags: int) -> cv2.typing.MatLike | None:
    """None if it cannot be read, also where OpenCV raises: for one of more than a thousand megapixels."""
    try:
        return cv2.imread(str(path), flags)
    except cv2.error:
        return None


class VideoFrames(Frames):
    """A video file. Reading forwards is cheap; going back starts the file again, as seeking is not exact.

    `len` is what the file says of itself, which may be more than can be read: iterating ends where the
    frames end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = self._open()
        self._position = 0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate if 0 < rate < 1000 else None
        self._announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        height, width = self[0].shape[:2]
        self._size = width, height

    def __len__(self) -> int:
        return self._announced

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise SequenceError(f"{self.path} is not a video that OpenCV can read")
        return capture

    def _read(self, index: int) -> Pixels:
        if index < self._position:
            self._capture.release()
            self._capture, self._position = self._open(), 0
        while self._position < index and self._capture.grab():
            self._position += 1
        read, bgr = self._capture.read() if self._position == index else (False, None)
        if not read or bgr is None:
            if index == 0:
                raise SequenceError(f"{self.path} is a video without a readable frame")
            raise IndexError(f"{self.path} has no frame {index}")
        self._position += 1
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


class NoFrames(Frames):
    """A number of frames whose images are not at hand: annotations alone can still be scored against."""

    def __init__(self, count: int, reason: str) -> None:
        self._count, self._reason = count, reason

    def __len__(self) -> int:
        return self._count

    def _read(self, index: int) -> Pixels:
        raise SequenceError(self._reason)


@dataclass(frozen=True)
class Sequence:
    """Frames of one camera, and what is known of the target in each."""

    name: str
    frames: Frames
    truth_xywh: Boxes | None = None  # (N, 4) frame pixels, nan where the target is not to be seen
    rate_hz: float | None = None  # what the source says; None for images
    present: NDArray[np.bool_] | None = None  # (N,) the source's own labels of presence, where it has them
    attributes: tuple[str, ...] = ()  # challenges that the benchmark names: "scale variation", ...
    stamps_ns: NDArray[np.int64] | None = None  # (N,) of a recording; None: frames come at `rate_hz`
    parent: str = ""  # the sequence that this is a part of (anchors, later starts); empty for a whole one
    broken: str = ""  # why the source ends before it should
    # VOT's frames to start on: a is frame a, from there forwards; -a is frame a, from there back to frame 0.
    # Frame 0 is forwards: backwards it would be alone.
    anchors: tuple[int, ...] = ()

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(N,) where the target can be seen and its box is known; nowhere without a truth."""
        if self.truth_xywh is None:
            return np.zeros(len(self.frames), bool)
        seen = visible(self.truth_xywh)
        return seen if self.present is None else seen & self.present

    def part(self, frames: slice, name: str = "") -> Sequence:
        """Some of the frames, in their order or backwards; with a name it becomes a part of this one."""

        def cut(rows: NDArray[Any] | None) -> Any:
            return None if rows is None else rows[frames]

        return replace(
            self,
            frames=self.frames[frames],
            truth_xywh=cut(self.truth_xywh),
            present=cut(self.present),
            stamps_ns=cut(self.stamps_ns),
            name=name or self.name,
            parent=self.name if name else self.parent,
            anchors=(),  # they are frames of the whole
        )

    def from_first_box(self) -> Sequence:
        """The part of the sequence that begins with the first true box that can be seen.

        Raises:
            SequenceError: there is no truth, or no such box in it.
        """
        seen = self.visible
        if not seen.any():
            raise SequenceError(f"{self.name} has no true box to start from")
        first = int(np.argmax(seen))
        return self.part(slice(first, None)) if first else self


class Sequences(collections.abc.Sequence[Sequence]):
    """Sequences by index or by name, each opened (its annotation and list of frames read) when asked for."""

    def __init__(
        self,
        name: str,
        format: str,
        path: Path,
        found: Mapping[str, Path],
        read: Callable[[str, Path], Sequence],
    ) -> None:
        """
        Args:
            format: one of benchmarks.FORMATS.
            path: the folder or file that holds them.
            found: name -> place of each, in their order.
            read: opens one, given its name and place.
        """
        self.name, self.format, self.path = name, format, path
        self._found, self._read = dict(found), read

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._found)

    def named(self, name: str) -> Sequence:
        """Open the sequence of a name.

        Raises:
            SequenceError: there is none, or it cannot be read.
        """
        if name not in self._found:
            near = difflib.get_close_matches(name, self._found, n=3, cutoff=0) or ["none"]
            raise SequenceError(f"{self.path} has no sequence {name!r}; names like it: {', '.join(near)}")
        return warned(self._read(name, self._found[name]))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Sequence]:
        return map(self.named, self.names)

    @overload
    def __getitem__(self, index: int) -> Sequence: ...
    @overload
    def __getitem__(self, index: slice) -> Sequences: ...
    def __getitem__(self, index: int | slice) -> Sequence | Sequences:
        """
        Raises:
            SequenceError: it cannot be read.
        """
        if isinstance(index, slice):
            part = {name: self._found[name] for name in self.names[index]}
            return Sequences(self.name, self.format, self.path, part, self._read)
        return self.named(self.names[index])


def open_sequences(path: Path, format: str = "auto") -> Sequences:
    """What a folder or a file holds: a benchmark, sequences of one's own, a single one, a video, bags.

    Folders are listed and nothing is opened, so that a large benchmark is there at once. What each format
    looks like is in docs/benchmarks.md.

    Args:
        format: one of benchmarks.FORMATS; "auto" tells it from the names of folders and files.

    Raises:
        SequenceError: there is nothing of that format, a piece of it is missing, or it could be two formats.
    """
    from .benchmarks import find_sequences  # which is built on this module

    return find_sequences(path, format)


def open_sequence(path: Path, truth_file: Path | None = None) -> Sequence:
    """`read_sequence`, with a warning if a true box lies wholly outside the image."""
    return warned(read_sequence(path, truth_file))


def read_sequence(path: Path, truth_file: Path | None = None) -> Sequence:
    """A folder of images or a video file, with its truth if there is one.

    Args:
        path: images are taken in the order of the numbers in their names.
        truth_file: None = `groundtruth.txt` in the folder of images, or the video's name with .txt, if it is
            there.

    Raises:
        SequenceError: the path, an image or the truth cannot be read, or truth and frames differ in number.
    """
    frames: ImageFrames | VideoFrames
    if path.is_dir():
        frames, rate_hz, beside = ImageFrames(image_files(path)), None, path / TRUTH_FILE
    elif path.is_file():
        frames = VideoFrames(path)
        rate_hz, beside = frames.rate_hz, path.with_suffix(".txt")
    else:
        raise SequenceError(f"{path} does not exist: give a video file or a folder of images")
    if truth_file is None and beside.is_file():
        truth_file = beside
    truth = read_truth(truth_file) if truth_file else None
    name = path.stem if path.is_file() else Path(os.path.abspath(path)).name  # links keep their names
    return checked(Sequence(name, frames, truth, rate_hz), truth_file, path)


def checked(sequence: Sequence, truth_file: Path | None, source: Path) -> Sequence:
    """The same sequence, if it has one true box a frame.

    Raises:
        SequenceError: truth and frames differ in number.
    """
    truth, count = sequence.truth_xywh, len(sequence.frames)
    if truth is not None and len(truth) != count:
        raise SequenceError(
            f"{truth_file} has {len(truth)} lines for the {count} frames of {source}: it needs one line "
            "a frame, 'nan,nan,nan,nan' where the target is not to be seen"
        )
    return sequence


def warned(sequence: Sequence) -> Sequence:
    """The same sequence, with a warning if one of its true boxes lies wholly outside the image.

    All images are taken to be as large as the first, the only one that is read for this.
    """
    truth = sequence.truth_xywh
    if truth is None or (size := sequence.frames.size) is None:
        return sequence
    seen = np.flatnonzero(sequence.visible)
    boxes = truth[seen]
    outside = seen[((boxes[:, :2] >= size) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(axis=1)]
    if outside.size:
        more = f" (and of {outside.size - 1} more)" if outside.size > 1 else ""
        warnings.warn(
            f"{sequence.name}: the true box of frame {outside[0]}{more} lies outside the image of "
            f"{size[0]}x{size[1]} pixels",
            stacklevel=3,
        )
    return sequence


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, in the order of the numbers in their names.

    Raises:
        SequenceError: there is none.
    """
    found = [path for path in folder.iterdir() if is_image(path)]
    if not found:
        raise SequenceError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found, key=natural_order)


def is_image(path: Path) -> bool:
    """By its name; what a Mac adds to archives (`._0001.jpg`) is none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_order(path: Path) -> tuple[list[int], str]:
    """Sort key: by the numbers in the name, so that 10 comes after 9."""
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name
