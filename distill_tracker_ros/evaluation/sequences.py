"""Sequences to track on: frames that are read when they are asked for, and where the target truly is."""

from __future__ import annotations

import collections.abc
import re
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.boxes import Boxes
from ..core.frame import ArrayFrame, Frame, Pixels
from .metrics import visible

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
TRUTH_FILE = "groundtruth.txt"


class SequenceError(ValueError):
    """A sequence that cannot be read; the text names the file and what is accepted."""


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

    @abstractmethod
    def _read(self, index: int) -> Pixels:
        """The frame; IndexError past the last one."""


class _Part(Frames):
    """Some of the frames of another `Frames`."""

    def __init__(self, frames: Frames, indices: range) -> None:
        self._frames, self._indices = frames, indices

    def __len__(self) -> int:
        return len(self._indices)

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

    def _read(self, index: int) -> Pixels:
        path = self.paths[index]
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise SequenceError(f"{path} is not a readable image")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


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
        self[0]

    def __len__(self) -> int:
        return self._announced

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


def open_sequence(path: Path, truth_file: Path | None = None) -> Sequence:
    """A folder of images or a video file, with its truth if there is one.

    Args:
        path: images are taken in the order of the numbers in their names.
        truth_file: None = `groundtruth.txt` in the folder of images, if it is there.

    Raises:
        SequenceError: the path, an image or the truth cannot be read, or truth and frames differ in number.
    """
    frames: ImageFrames | VideoFrames
    if path.is_dir():
        frames, rate_hz = ImageFrames(_images(path)), None
        if truth_file is None and (path / TRUTH_FILE).exists():
            truth_file = path / TRUTH_FILE
    elif path.is_file():
        frames = VideoFrames(path)
        rate_hz = frames.rate_hz
    else:
        raise SequenceError(f"{path} does not exist: give a video file or a folder of images")
    truth = read_truth(truth_file) if truth_file else None
    if truth is not None and len(truth) != len(frames):
        raise SequenceError(
            f"{truth_file} has {len(truth)} lines for the {len(frames)} frames of {path}: it needs one line "
            "a frame, 'nan,nan,nan,nan' where the target is not to be seen"
        )
    return Sequence(path.stem if path.is_file() else path.resolve().name, frames, truth, rate_hz)


def open_sequences(folder: Path) -> list[Sequence]:
    """All sequences of a folder: its sub-folders with a `groundtruth.txt`, or itself if it has one.

    Raises:
        SequenceError: there is none, or one cannot be read.
    """
    if not folder.is_dir():
        raise SequenceError(f"{folder} is not a folder")
    if (folder / TRUTH_FILE).exists():
        return [open_sequence(folder)]
    found = sorted(path.parent for path in folder.glob(f"*/{TRUTH_FILE}"))
    if not found:
        raise SequenceError(f"{folder} holds no sequence: a sub-folder of images with a {TRUTH_FILE}")
    return [open_sequence(path) for path in found]


def read_truth(path: Path) -> Boxes:
    """(N, 4) boxes of a text file: one `x,y,w,h` a line, separated by commas, tabs or blanks; nan is legal.

    Raises:
        SequenceError: the file cannot be read, is empty, or a line is not four numbers (or four nan).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SequenceError(f"{path} cannot be read as text: {error}") from None
    if not lines:
        raise SequenceError(f"{path} is empty: it needs one line 'x,y,w,h' a frame")
    return np.array([_truth_line(path, number, line) for number, line in enumerate(lines, start=1)])


def natural_order(path: Path) -> tuple[list[int], str]:
    """Sort key: by the numbers in the name, so that 10 comes after 9."""
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.name


def _truth_line(path: Path, number: int, line: str) -> list[float]:
    try:
        row = [float(field) for field in re.split(r"\s*[,\s]\s*", line.strip())]
    except ValueError:
        row = []
    whole = len(row) == 4 and (np.isfinite(row).all() or np.isnan(row).all())
    if not whole:
        raise SequenceError(f"{path} line {number} is {line!r}: it must be x,y,w,h (or four nan)")
    return row


def _images(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise SequenceError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found, key=natural_order)
