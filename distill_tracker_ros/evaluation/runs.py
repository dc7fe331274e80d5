"""What a tracker made of sequences, kept in a folder: written sequence by sequence, read again to be scored.

    run.json           what was run: tracker, model, conditions, source of the sequences
    tracks/NAME.csv    a row a frame: box, confidence, state; the same bytes on every run
    truth/NAME.csv     a row a frame: true box, and whether the target can be seen
    times/NAME.csv     a row a frame: milliseconds before, in and after the engine, events of the update rule
    about/NAME.json    attributes, size of the frames, rate, why it ended early

A sequence is finished when its file in `about/` is there: it is written last.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.boxes import Boxes
from ..core.texts import InputError
from ..core.tracker import TrackState

TRACK_COLUMNS = ("frame", "stamp_ns", "x", "y", "w", "h", "confidence", "state")
TRUTH_COLUMNS = ("x", "y", "w", "h", "visible")
TIME_COLUMNS = ("before_ms", "engine_ms", "after_ms", "event")

Floats = NDArray[np.float64]


class RunError(InputError):
    """A run that cannot be read or continued; the text names the file and what is accepted."""


@dataclass(frozen=True)
class Times:
    """Milliseconds of each frame, (N,) each; the first frame sets the target."""

    before_ms: Floats  # until the network begins: cutting and scaling the search region
    engine_ms: Floats  # in the network; all of the time for trackers that do not say
    after_ms: Floats  # decoding, state machine, update rule

    @property
    def step_ms(self) -> Floats:
        return self.before_ms + self.engine_ms + self.after_ms


@dataclass(frozen=True)
class TrackedSequence:
    """One sequence: where the target is, and what a tracker made of it. All arrays have N rows."""

    name: str
    truth_xywh: Boxes  # (N, 4) frame pixels; nan where unknown
    visible: NDArray[np.bool_]  # (N,) the target can be seen and its box is known
    boxes_xywh: Boxes  # (N, 4); the first row is the given box
    confidence: Floats  # (N,) nan where the tracker has none
    states: NDArray[np.int8]  # (N,) of TrackState
    stamps_ns: NDArray[np.int64]  # (N,)
    times: Times
    events: tuple[str, ...] = ()  # N; what the update rule did: "", "view", "activation", "view+activation"
    frame_size: tuple[int, int] = (0, 0)  # width, height; 0 = unknown
    rate_hz: float = 30.0
    attributes: tuple[str, ...] = ()
    parent: str = ""  # the sequence that this is a part of
    broken: str = ""  # why it ended before its source did

    def __len__(self) -> int:
        return len(self.boxes_xywh)


@dataclass(frozen=True)
class Run:
    """One tracker on several sequences."""

    label: str  # of the tracker, for tables and legends
    sequences: Sequence[TrackedSequence]
    conditions: dict[str, Any] = field(default_factory=dict)  # of run.json


class RunFolder:
    """A run on disk, of which some sequences may not be finished."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, conditions: dict[str, Any]) -> None:
        """Start a run, or continue the one that is there.

        Args:
            conditions: with a "label"; all that the boxes depend on, ready for JSON.

        Raises:
            RunError: the folder holds a run under other conditions.
        """
        about, wanted = self.path / "run.json", json.loads(json.dumps(conditions))
        if about.exists():
            kept = _json(about)
            differing = sorted(k for k in {*kept, *wanted} if kept.get(k) != wanted.get(k))
            if differing:
                detail = "; ".join(f"{k} was {kept.get(k)!r}, is {wanted.get(k)!r}" for k in differing)
                raise RunError(f"{self.path} holds another run ({detail}): name another folder, or remove it")
            return
        _write(about, json.dumps(wanted, indent=2) + "\n")

    @property
    def finished(self) -> list[str]:
        """Names of the finished sequences."""
        return sorted(path.stem for path in (self.path / "about").glob("*.json"))

    def write(self, tracked: TrackedSequence) -> None:
        """Keep a finished sequence."""
        write_tracks(self._file("tracks", tracked.name), tracked)
        truth = zip(tracked.truth_xywh, tracked.visible, strict=True)
        _write_csv(
            self._file("truth", tracked.name),
            TRUTH_COLUMNS,
            ((*box.tolist(), int(seen)) for box, seen in truth),
        )
        times = (tracked.times.before_ms, tracked.times.engine_ms, tracked.times.after_ms)
        events = tracked.events or ("",) * len(tracked)
        _write_csv(
            self._file("times", tracked.name),
            TIME_COLUMNS,
            ((*(f"{v:.4f}" for v in row), event) for *row, event in zip(*times, events, strict=True)),
        )
        about = {
            "frame_size": list(tracked.frame_size),
            "rate_hz": tracked.rate_hz,
            "attributes": list(tracked.attributes),
            "parent": tracked.parent,
            "broken": tracked.broken,
        }
        _write(self._file("about", tracked.name, "json"), json.dumps(about, indent=2) + "\n")

    def read(self) -> Run:
        """The run, with its finished sequences in the order of their names.

        Raises:
            RunError: it is no run, holds no finished sequence, or a file is damaged.
        """
        about = self.path / "run.json"
        if not about.is_file():
            raise RunError(f"{self.path} is no run of distill-tracker evaluate: it has no run.json")
        conditions = _json(about)
        sequences = [self._read_sequence(name) for name in self.finished]
        if not sequences:
            raise RunError(f"{self.path} holds no finished sequence")
        return Run(str(conditions.get("label", self.path.name)), sequences, conditions)

    def _read_sequence(self, name: str) -> TrackedSequence:
        tracks = self._read_csv("tracks", name, TRACK_COLUMNS)
        truth = self._read_csv("truth", name, TRUTH_COLUMNS)
        times = self._read_csv("times", name, TIME_COLUMNS)
        about = _json(self._file("about", name, "json"))
        if not len(tracks) == len(truth) == len(times):
            raise RunError(
                f"{self.path}: {name} has {len(tracks)} tracks, {len(truth)} true boxes and {len(times)} "
                "times; each must have one row a frame"
            )
        try:
            truth_rows = np.array(truth, np.float64).reshape(-1, 5)
            time_rows = np.array([row[:3] for row in times], np.float64).reshape(-1, 3)
            return TrackedSequence(
                name=name,
                truth_xywh=truth_rows[:, :4],
                visible=truth_rows[:, 4] > 0,
                boxes_xywh=np.array([row[2:6] for row in tracks], np.float64).reshape(-1, 4),
                confidence=np.array([row[6] for row in tracks], np.float64),
                states=np.array([TrackState[row[7]] for row in tracks], np.int8),
                stamps_ns=np.array([row[1] for row in tracks], np.int64),
                times=Times(*time_rows.T),
                events=tuple(row[3] for row in times),
                frame_size=(int(about["frame_size"][0]), int(about["frame_size"][1])),
                rate_hz=_rate_hz(about["rate_hz"]),
                attributes=_texts(about["attributes"]),
                parent=str(about["parent"]),
                broken=str(about["broken"]),
            )
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise RunError(f"{self.path}: the files of {name} are damaged: {error!r}") from error

    def _file(self, kind: str, name: str, suffix: str = "csv") -> Path:
        return self.path / kind / f"{name}.{suffix}"

    def _read_csv(self, kind: str, name: str, columns: Sequence[str]) -> list[list[str]]:
        path = self._file(kind, name)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
        except (OSError, ValueError, csv.Error) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if tuple(header) != tuple(columns) or any(len(row) != len(columns) for row in rows):
            raise RunError(f"{path} must have the columns {', '.join(columns)} in every row")
        return rows


def write_tracks(path: Path, tracked: TrackedSequence) -> None:
    """A csv file with TRACK_COLUMNS: a row a frame, the first with the given box; boxes in pixels."""
    rows = zip(tracked.stamps_ns, tracked.boxes_xywh, tracked.confidence, tracked.states, strict=True)
    _write_csv(
        path,
        TRACK_COLUMNS,
        (
            (index, stamp, *(f"{v:.4f}" for v in box), f"{confidence:.4f}", TrackState(state).name)
            for index, (stamp, box, confidence, state) in enumerate(rows)
        ),
    )


def _rate_hz(value: Any) -> float:
    rate_hz = float(value)
    if not 0 < rate_hz < np.inf:
        raise ValueError(f"a rate of {rate_hz}")
    return rate_hz


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("attributes that are no texts")
    return tuple(values)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    _write(path, "\n".join(lines) + "\n")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} must hold an object")
    return content


def _write(path: Path, text: str) -> None:
    """Aside first, then renamed: nobody finds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
