"""The targets of a node in a file, so that it can go on with them when it was killed and started again."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config import check_ranges, option
from ..core.session import SavedTarget, Target
from ..core.texts import LONGEST_NAME, InputError, shown
from ..core.tracker import Snapshot, Track, TrackState
from .worker import Worker

_FORMAT = 1
_LARGEST = 64_000_000  # bytes; 64 targets of the shipped models have 13 MB
_MOST_TARGETS = 64
_PATIENCE_S = 5.0  # for a disk


@dataclass(frozen=True)
class RestoreConfig:
    """Whether a node that was killed goes on with its targets when it is started again."""

    targets: bool = option(
        False, "keep targets in a file and look for them after a restart that nobody asked for"
    )
    max_age_s: float = option(
        10.0,
        "time from a target's last image to the first one after the restart, above which it is given up, s",
        0.0,
        3600.0,
    )
    folder: str = option(
        "", "where the file lies; empty = distill_tracker_ros in $XDG_STATE_HOME or ~/.local/state"
    )

    def __post_init__(self) -> None:
        check_ranges(self)


class StateFileError(InputError):
    """A file of targets that cannot be used; the text says why."""


def state_folder(config: RestoreConfig) -> Path:
    """Where files of targets lie."""
    if config.folder:
        return Path(config.folder).expanduser()
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "distill_tracker_ros"


def path_of(config: RestoreConfig, node: str) -> Path:
    """The file of a node, given its whole name with the namespace."""
    return state_folder(config) / (re.sub(r"\W+", "_", node).strip("_") + ".npz")


def save(path: Path, model: str, saved: Sequence[SavedTarget]) -> None:
    """Write the targets, or remove the file where there are none. A reader never sees half of a file.

    Raises:
        OSError: it cannot be written; a file that was there before is as it was.
    """
    if not saved:
        path.unlink(missing_ok=True)
        return
    about = {"format": _FORMAT, "model": model, "targets": [_describe(each) for each in saved]}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    for index, each in enumerate(saved):
        arrays[f"initial_{index}"] = each.snapshot.initial_crop
        arrays[f"latest_{index}"] = each.snapshot.latest_crop
    content = io.BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    try:
        aside.write_bytes(content.getbuffer())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path, model: str) -> tuple[SavedTarget, ...]:
    """The targets of a file, all of them LOST: where they are now is to be found out. None without a file.

    Raises:
        StateFileError: the file cannot be read, or is of another model.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise StateFileError(f"{path} has more than {_LARGEST} bytes: it is not one of this node")
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if (about["format"], about["model"]) != (_FORMAT, model):
                raise StateFileError(f"{path} is of the model {shown(about['model'])}, not of {model!r}")
            if len(about["targets"]) > _MOST_TARGETS:
                raise StateFileError(f"{path} holds more than {_MOST_TARGETS} targets")
            return tuple(
                SavedTarget(
                    Target(str(each["id"])[:LONGEST_NAME], str(each["label"])[:LONGEST_NAME]),
                    _snapshot(each, arrays[f"initial_{index}"], arrays[f"latest_{index}"]),
                )
                for index, each in enumerate(about["targets"])
            )
    except FileNotFoundError:
        return ()
    except StateFileError:
        raise
    except Exception as error:  # zip, zlib, JSON and numpy raise what they meet, MemoryError for one
        raise StateFileError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


class Keeper:
    """Writes the newest of what it is given to the file, in a thread of its own: disks are slow at times."""

    def __init__(self, path: Path, model: str) -> None:
        self.problem = ""  # why the targets that were given last are not in the file
        self._path, self._model = path, model
        self._worker: Worker[tuple[SavedTarget, ...]] = Worker(self._save)

    def keep(self, saved: tuple[SavedTarget, ...]) -> None:
        """Take the targets as they are now; returns at once."""
        self._worker.offer(saved)

    def stop(self, forget: bool) -> None:
        """End the thread; `forget` removes the file, as after an end that was asked for."""
        self._worker.stop(_PATIENCE_S)
        if forget:
            self._save(())

    def _save(self, saved: tuple[SavedTarget, ...]) -> None:
        try:
            save(self._path, self._model, saved)
            self.problem = ""
        except OSError as error:
            self.problem = f"targets cannot be kept for a restart: {self._path}: {error.strerror}"


def _describe(saved: SavedTarget) -> dict[str, Any]:
    track = saved.snapshot.track
    return {
        "id": saved.target.id,
        "label": saved.target.label,
        "box_xywh": track.box_xywh.tolist(),
        "frame_size": list(saved.snapshot.frame_size),
        "stamp_ns": track.stamp_ns,
        "last_seen_ns": track.last_seen_ns,
        "age_frames": track.age_frames,
    }


def _snapshot(about: dict[str, Any], initial_crop: Any, latest_crop: Any) -> Snapshot:
    box, size = np.array(about["box_xywh"], np.float64), tuple(map(int, about["frame_size"]))
    if box.shape != (4,) or not np.isfinite(box).all() or min(*box[2:], *size) <= 0 or len(size) != 2:
        raise ValueError(f"box {box.tolist()} in a frame of {size}")
    if initial_crop.dtype != np.uint8 or latest_crop.dtype != np.uint8:
        raise ValueError(f"crops of {initial_crop.dtype} and {latest_crop.dtype}")
    times = (int(about["stamp_ns"]), int(about["last_seen_ns"]), int(about["age_frames"]))
    track = Track(box, 0.0, TrackState.LOST, *times, reason="the node was restarted")
    return Snapshot(track, size, initial_crop, latest_crop)
