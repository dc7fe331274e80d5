"""Boxes in the files of other tools: read to be scored here, written to be scored elsewhere.

    otb           NAME.txt             one `x,y,w,h` a line, a line a frame
    trackingnet   NAME.txt             the same; its server takes a zip
    got10k        NAME/NAME_001.txt    the same, beside NAME/NAME_time.txt with seconds, a line a frame

All of them in a folder or in a zip file.
"""

from __future__ import annotations

import io
import math
import re
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.boxes import Boxes
from ..core.texts import InputError

ResultFormat = Literal["otb", "got10k", "trackingnet"]

LARGEST_FILE = 64 * 2**20  # bytes of text of one sequence
FIRST_RUN = "_001"  # the GOT-10k toolkit runs a tracker several times; the first run is the one that is read

_ROW = "'x,y,w,h' of finite numbers (commas, tabs, blanks or semicolons between), no side negative"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every file in a zip, so that its bytes depend on the boxes alone

_File = tuple[PurePath, Callable[[], IO[bytes]]]  # its name within the folder or zip, and how to open it


class ResultError(InputError):
    """Results that cannot be read or written; the text names the file and what is accepted."""


def read_results(path: Path, names: Iterable[str]) -> dict[str, Boxes]:
    """The boxes of these sequences, (N, 4) xywh each, as many rows as the file has lines.

    Args:
        path: a zip file, or a folder (of which sub-folders are also looked into).
        names: of sequences. The file of one is called NAME.txt; where there is none, NAME_001.txt; where
            there is neither, it may differ from these in upper and lower case. Other files are left alone.

    Raises:
        ResultError: the path cannot be read, a sequence has no file or more than one, or a line is not
            four finite numbers, separated by commas, tabs, blanks or semicolons, without a negative side.
    """
    with _open(path) as files:
        found = _find(files, list(names), path)
        return {name: _read(f"{path}: {file}", open_file) for name, (file, open_file) in found.items()}


def write_results(
    path: Path,
    format: ResultFormat,
    boxes: Mapping[str, Boxes],
    step_ms: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Write boxes as another tool wants them: all of them, or nothing. Equal boxes give equal bytes.

    Args:
        path: must not exist; a zip file if it ends in .zip, else a folder.
        boxes: (N, 4) xywh by name of the sequence, written with 4 decimals.
        step_ms: (N,) milliseconds by name of the sequence. Only GOT-10k has a place for them; its toolkit
            and its server ask for them.

    Raises:
        ResultError: the path exists or cannot be written, a name cannot be that of a file, a box is not
            finite or has a negative side, or boxes and times differ in number.
    """
    texts: dict[str, str] = {}
    for name, rows in sorted(boxes.items()):
        if not name.strip(".") or "/" in name:
            raise ResultError(f"the sequence name {name!r} cannot be that of a file: leave out any '/'")
        if format != "got10k":
            texts[f"{name}.txt"] = _box_lines(name, rows)
            continue
        texts[f"{name}/{name}{FIRST_RUN}.txt"] = _box_lines(name, rows)
        if step_ms is not None:
            texts[f"{name}/{name}_time.txt"] = _second_lines(name, step_ms.get(name, ()), len(rows))
    _write(path, texts)


@contextmanager
def _open(path: Path) -> Iterator[list[_File]]:
    """The files of a folder or zip. Those of a zip are never unpacked, so their names can do no harm."""
    if path.is_dir():
        found = sorted([*path.glob("*.txt"), *path.glob("*/*.txt")])
        yield [(file.relative_to(path), partial(io.FileIO, file)) for file in found]
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:  # NotImplementedError: a newer zip
        raise ResultError(f"{path} is neither a folder nor a readable zip file: {error}") from error
    with archive:
        infos = [info for info in archive.infolist() if info.filename.endswith(".txt")]
        yield [(PurePosixPath(info.filename), partial(archive.open, info)) for info in infos]


def _find(files: Sequence[_File], names: Sequence[str], path: Path) -> dict[str, _File]:
    """The one file of each sequence, by the rules of `read_results`."""
    exact, folded = defaultdict(list), defaultdict(list)
    for file in files:
        stem = file[0].stem
        exact[stem].append(file)
        folded[stem.casefold()].append(file)
    found, missing = {}, []
    for name in names:
        low = name.casefold()
        fitting = (
            exact.get(name)
            or exact.get(name + FIRST_RUN)
            or folded.get(low, []) + folded.get(low + FIRST_RUN, [])
        )
        if len(fitting) > 1:
            listed = ", ".join(str(file) for file, _ in fitting)
            raise ResultError(f"{path} has several files for {name}: {listed}; leave one")
        if fitting:
            found[name] = fitting[0]
        else:
            missing.append(name)
    if missing:
        raise ResultError(
            f"{path} has no file (NAME.txt or NAME{FIRST_RUN}.txt) for {len(missing)} of {len(names)} "
            f"sequences: {', '.join(missing)}"
        )
    return found


def _read(label: str, open_file: Callable[[], IO[bytes]]) -> Boxes:
    try:
        with open_file() as file:
            content = file.read(LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except Exception as error:  # a damaged zip raises whatever its decompressor does
        raise ResultError(f"{label} cannot be read as text: {error}") from error
    if len(content) > LARGEST_FILE:
        raise ResultError(f"{label} has more than {LARGEST_FILE // 2**20} MB: that is no file of boxes")
    lines = text.rstrip().splitlines()
    if not lines:
        raise ResultError(f"{label} is empty: it needs one line {_ROW} a frame")
    return np.array([_row(label, number, line) for number, line in enumerate(lines, start=1)])


def _row(label: str, number: int, line: str) -> list[float]:
    try:
        row = [float(field) for field in re.split(r"\s*[,;\s]\s*", line.strip())]
    except ValueError:
        row = []
    if not _is_box(row):
        raise ResultError(f"{label} line {number} is {line[:100]!r}: it must be {_ROW}")
    return row


def _is_box(row: Sequence[float]) -> bool:
    return len(row) == 4 and all(map(math.isfinite, row)) and min(row[2:]) >= 0


def _box_lines(name: str, rows: Boxes) -> str:
    for index, row in enumerate(rows):
        if not _is_box(row):
            raise ResultError(f"{name}: box {index} is {row.tolist()}: it must be {_ROW}")
    return "".join(",".join(f"{value:.4f}" for value in row) + "\n" for row in rows)


def _second_lines(name: str, step_ms: Iterable[float], count: int) -> str:
    lines = [f"{ms / 1000:.8f}\n" for ms in step_ms]
    if len(lines) != count:
        raise ResultError(f"{name} has {len(lines)} times for {count} boxes: each box needs one")
    return "".join(lines)


def _write(path: Path, texts: Mapping[str, str]) -> None:
    """Aside first, then renamed: nobody finds half of the results."""
    if path.exists():
        raise ResultError(f"{path} exists: name another path, or remove it")
    write = _write_zip if path.suffix == ".zip" else _write_folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as aside:
            whole = Path(aside) / path.name
            write(whole, texts)
            whole.rename(path)
    except OSError as error:
        raise ResultError(f"{path} cannot be written: {error}") from error


def _write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _write_zip(file: Path, texts: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in texts.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16  # who may read the file once it is unpacked
            archive.writestr(info, text)
