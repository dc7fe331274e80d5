"""Annotation text: a box, a region or a number a line, in the ways in which benchmarks write them.

Values are separated by commas, semicolons, tabs or blanks; line ends and byte-order marks do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.boxes import Boxes
from ..core.texts import InputError, shown

NOT_SEEN = [np.nan] * 4
LARGEST_FILE = 2**28  # bytes; masks take some kB a frame
LARGEST_NUMBER = 2**31  # in a mask

_SEPARATOR = re.compile(r"\s*[,;\s]\s*")


class SequenceError(InputError):
    """A sequence that cannot be read; the text names the file and what is accepted."""


def read_truth(path: Path) -> Boxes:
    """(N, 4) xywh boxes of a text file, one `x,y,w,h` a line; four nan where the target is not to be seen.

    Raises:
        SequenceError: the file cannot be read, is empty, or a line is not four numbers (or four nan).
    """
    return _read_boxes(path, _box, "x,y,w,h (or four nan)")


def read_regions(path: Path) -> Boxes:
    """(N, 4) xywh boxes, the tightest ones round the regions of VOT, one a line.

    A region is a rectangle `x,y,w,h`, a polygon `x1,y1,x2,y2,...` of three corners or more, or a mask
    `mx,y,w,h,a,b,...`: in the rectangle, row by row, a pixels outside, b inside, and so on, outside after
    the last one. A single number (VOT's special codes), a nan in it or an empty mask say that the target is
    not to be seen: nan.

    Raises:
        SequenceError: the file cannot be read, is empty, or a line is no region.
    """
    return _read_boxes(path, _region, "a rectangle x,y,w,h, a polygon x1,y1,x2,y2,... or a mask mx,y,w,h,...")


def read_corners(path: Path) -> Boxes:
    """(N, 4) xywh boxes of the text files of VATIC, which Need for Speed has: one line a frame,
    `track xmin ymin xmax ymax frame lost occluded generated "label"`, of which the corners are read.

    Raises:
        SequenceError: the file cannot be read, is empty, or a line does not begin with five numbers.
    """
    return _read_boxes(path, _corners, 'track xmin ymin xmax ymax frame lost occluded generated "label"')


def read_numbers(path: Path) -> NDArray[np.float64]:
    """(N,) all numbers of a text file, in one line or in several.

    Raises:
        SequenceError: the file cannot be read, is empty, or holds something else.
    """
    lines = read_lines(path)
    try:
        return np.array([float(field) for line in lines for field in _fields(line) if field])
    except ValueError as error:
        raise SequenceError(f"{path} must hold numbers: {error}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones at its end.

    Raises:
        SequenceError: the file cannot be read, or is empty.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE} bytes")
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise SequenceError(f"{path} cannot be read as text: {error}") from None
    if not lines:
        raise SequenceError(f"{path} is empty: it needs one line a frame")
    return lines


def _read_boxes(path: Path, parse: Callable[[str], list[float]], accepted: str) -> Boxes:
    """`parse` gives four numbers of a line, or raises a ValueError."""
    boxes = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            boxes.append(parse(line))
        except ValueError:
            # A mask has thousands of numbers.
            raise SequenceError(f"{path} line {number} is {shown(line)}: it must be {accepted}") from None
    return np.array(boxes)


def _fields(line: str) -> list[str]:
    return _SEPARATOR.split(line.strip())


def _box(line: str) -> list[float]:
    row = [float(field) for field in _fields(line)]
    if len(row) != 4 or not (np.isfinite(row).all() or np.isnan(row).all()):
        raise ValueError
    return row


def _corners(line: str) -> list[float]:
    _, left, top, right, bottom = (float(field) for field in line.split('"')[0].split()[:5])
    return _finite([left, top, right - left, bottom - top])


def _finite(row: list[float]) -> list[float]:
    """The same; sides of finite corners may be infinite."""
    if not np.isfinite(row).all():
        raise ValueError
    return row


def _region(line: str) -> list[float]:
    if line.startswith("m"):
        return _round_mask([int(field) for field in _fields(line[1:])])
    row = np.array([float(field) for field in _fields(line)])
    if np.isinf(row).any() or (len(row) != 1 and (len(row) < 4 or len(row) % 2)):
        raise ValueError
    if len(row) == 1 or np.isnan(row).any():
        return NOT_SEEN
    if len(row) == 4:
        return [float(v) for v in row]
    x, y = row[::2], row[1::2]
    with np.errstate(over="ignore"):
        return _finite([float(v) for v in (x.min(), y.min(), np.ptp(x), np.ptp(y))])


def _round_mask(numbers: list[int]) -> list[float]:
    """From x, y, w, h of a mask and its runs, without drawing it."""
    if any(abs(number) > LARGEST_NUMBER for number in numbers):
        raise ValueError
    x, y, width, height = numbers[:4]
    runs = np.array(numbers[4:], np.int64)
    ends = np.cumsum(runs)
    if width < 0 or height < 0 or (runs < 0).any() or (len(ends) and ends[-1] > width * height):
        raise ValueError
    inside = (np.arange(len(runs)) % 2 == 1) & (runs > 0)
    if not inside.any():
        return NOT_SEEN
    first, last = (ends - runs)[inside], ends[inside] - 1  # pixels of each run, row by row
    top, bottom = first[0] // width, last[-1] // width
    wraps = (first // width != last // width).any()  # then the run touches both sides
    left, right = (0, width - 1) if wraps else ((first % width).min(), (last % width).max())
    return [float(v) for v in (x + left, y + top, right - left + 1, bottom - top + 1)]
