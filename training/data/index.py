"""The index of a source: what is known of its footage but the pixels, as arrays that one file can keep."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .footage import Files, Footage

VERSION = 1  # of the arrays in the file


class Track(NamedTuple):
    """One object as a reader finds it; see `Footage`."""

    name: str
    folder: str  # of the images, relative to the source
    files: NDArray[np.bytes_]  # (N) relative to the folder
    boxes_xywh: NDArray[np.float64]  # (N, 4)
    visible: NDArray[np.bool_]  # (N)


class Index(NamedTuple):
    """K objects with F frames in all, one object after the other."""

    names: NDArray[np.bytes_]  # (K)
    folders: NDArray[np.bytes_]  # (K) of the images, relative to the source
    counts: NDArray[np.int64]  # (K) frames of each object
    files: NDArray[np.bytes_]  # (F) relative to the folder
    boxes_xywh: NDArray[np.float64]  # (F, 4)
    visible: NDArray[np.bool_]  # (F)
    spaced: NDArray[np.bool_]  # () see `Footage.spaced`

    @staticmethod
    def of(tracks: Iterable[Track], spaced: bool) -> Index:
        tracks = list(tracks)
        return Index(
            texts(track.name for track in tracks),
            texts(track.folder for track in tracks),
            np.array([len(track.files) for track in tracks], np.int64),
            np.concatenate([texts(()), *(track.files for track in tracks)]),
            np.concatenate([np.empty((0, 4)), *(track.boxes_xywh for track in tracks)]),
            np.concatenate([np.empty(0, bool), *(track.visible for track in tracks)]),
            np.array(spaced),
        )

    def footage(self, source: str, root: Path) -> list[Footage]:
        """
        Args:
            source: its name.
            root: its folder.
        """
        folders = {folder: os.path.join(root, os.fsdecode(folder)) for folder in set(self.folders.tolist())}
        ends = np.cumsum(self.counts).tolist()
        spaced = bool(self.spaced)
        return [
            Footage(
                source,
                os.fsdecode(name),
                Files(folders[folder], self.files[start:end]),
                self.boxes_xywh[start:end],
                self.visible[start:end],
                spaced,
            )
            for name, folder, start, end in zip(
                self.names.tolist(), self.folders.tolist(), [0, *ends], ends, strict=False
            )
        ]


class Plan(NamedTuple):
    """How a source is read, and the files and folders in it that change when the result would."""

    read: Callable[[], Index]
    watched: Sequence[Path]


def texts(values: Iterable[str]) -> NDArray[np.bytes_]:
    """Names as an array of bytes, eight times smaller than strings."""
    return np.array([os.fsencode(value) for value in values], np.bytes_)


def cached(folder: Path, cache: Path | None, plan: Callable[[Path], Plan]) -> Index:
    """The index of a source, from the cache if nothing has changed since it was put there.

    It is read again when its folder (by absolute path) or VERSION is another, and when one of the plan's
    watched files and folders, which the cache remembers, has another time of modification or another size. A
    cache that cannot be read or written is a warning, not an error.

    Args:
        folder: of the source.
        cache: folder of the cache; None = read the source.
        plan: how to read the folder; not asked if the cache holds.
    """
    path = None if cache is None else cache / _file_name(folder)
    index = None if path is None else _load(path, folder)
    if index is None:
        read, watched = plan(folder)
        relative = texts(os.path.relpath(place, folder) for place in watched)
        stamps = _stamps(folder, relative)  # from before reading: what changes meanwhile is noticed later
        index = read()
        if path is not None:
            _save(path, {"watched": relative, "stamps": stamps, **index._asdict()})
    return index


def _file_name(folder: Path) -> str:
    where = os.fsencode(os.path.abspath(folder))
    return f"{folder.name}-{hashlib.sha256(where).hexdigest()[:12]}-v{VERSION}.npz"


def _stamps(folder: Path, watched: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """(W, 2) time of modification (ns) and size (bytes); -1 where there is nothing."""
    root, stamps = os.fsencode(folder), np.full((len(watched), 2), -1, np.int64)
    for row, place in enumerate(watched.tolist()):
        try:
            found = os.stat(os.path.join(root, place))
        except OSError:
            continue
        stamps[row] = found.st_mtime_ns, found.st_size
    return stamps


def _load(path: Path, folder: Path) -> Index | None:
    """None if there is none, it is out of date, or, with a warning, damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not np.array_equal(arrays["stamps"], _stamps(folder, arrays["watched"])):
                return None
            return Index(*(arrays[field] for field in Index._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{path} is damaged ({error}): {folder} is read again", stacklevel=4)
        return None


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Written aside, then renamed, so that there is never half a file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, path)
    except OSError as error:
        warnings.warn(f"{path} cannot be written ({error}): the next start reads again", stacklevel=4)
    finally:
        with suppress(OSError):
            partial.unlink()
