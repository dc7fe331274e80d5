"""A tracker on many sequences, in several processes; what is finished is kept, and not done again.

Every process infers with one thread, so that the boxes do not depend on the number of processes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
from tqdm import tqdm

from ..runtime.load import find_model, load_engine
from ..runtime.manifest import FILE_NAME
from ..runtime.onnx_engine import OnnxOptions
from .baselines import open_baseline
from .protocols import expand
from .replay import SequenceTracker, SessionTracker, replay
from .runs import RunFolder, TrackedSequence
from .sequences import Sequence, SequenceError, Sequences
from .source import Source

_LOOK_PERIOD_S = 0.2  # at how far the other processes are


@dataclass(frozen=True)
class TrackerChoice:
    """A tracker in words that another process understands: a model, or else a baseline."""

    label: str
    model: str = ""
    backend: str = "onnxruntime"
    baseline: str = ""  # see baselines.open_baseline

    def open(self) -> SequenceTracker:
        """
        Raises:
            ValueError, ImportError: it cannot be loaded.
        """
        if self.baseline:
            return open_baseline(self.baseline)
        engine = load_engine(self.model, self.backend, OnnxOptions(intra_op_threads=1))
        return SessionTracker(engine, label=self.label)

    @property
    def conditions(self) -> dict[str, Any]:
        """All that its boxes depend on, for run.json."""
        if self.baseline:
            networks = [Path(path) for path in self.baseline.partition(":")[2].split(",") if path]
            content = {"networks_sha256": [_sha256(path) for path in networks]} if networks else {}
            return {"label": self.label, "tracker": self.baseline, "opencv": cv2.__version__, **content}
        manifest = find_model(self.model) / FILE_NAME  # it has the hashes of the graphs
        model = {"label": self.label, "model": self.model, "backend": self.backend}
        return {**model, "manifest_sha256": _sha256(manifest)}


@dataclass(frozen=True)
class Part:
    """A sequence, or a part of it that a protocol asks for."""

    number: int  # of the sequence in its source
    name: str
    frames: int


@dataclass(frozen=True)
class Plan:
    """What is to be tracked."""

    source: Source
    protocol: str
    parts: tuple[Part, ...]
    skipped: dict[str, str]  # name -> why it cannot be tracked

    def open(self) -> Callable[[str], Sequence]:
        """Gives the part of a name; KeyError if there is none."""
        sequences, parts = self.source.open(), {part.name: part for part in self.parts}

        def part(name: str) -> Sequence:
            candidates = _parts(self.source, sequences[parts[name].number], self.protocol)
            return next(candidate for candidate in candidates if candidate.name == name)

        return part


def make_plan(source: Source, protocol: str = "one-pass") -> Plan:
    """Look at all sequences of a source; no frame is read.

    Raises:
        SequenceError: the source cannot be opened, or nothing of it can be tracked.
    """
    sequences, parts, skipped = source.open(), [], {}
    names = sequences.names if isinstance(sequences, Sequences) else [known.name for known in sequences]
    for number, name in enumerate(names):
        try:
            for part in _parts(source, sequences[number], protocol):
                parts.append(Part(number, part.name, len(part.frames)))
        except SequenceError as error:
            skipped[name] = str(error)
    if not parts:
        raise SequenceError(f"{source.path} holds nothing to track: {first_of(skipped.values())}")
    return Plan(source, protocol, tuple(parts), skipped)


def first_of(reasons: Collection[str]) -> str:
    """The first of many reasons, and how many more there are."""
    first = next(iter(reasons), "it is empty")
    return f"{first} (and {len(reasons) - 1} more)" if len(reasons) > 1 else first


def run(plan: Plan, choice: TrackerChoice, folder: RunFolder, processes: int = 1) -> dict[str, str]:
    """Track what the folder does not hold yet.

    Args:
        processes: the boxes do not depend on it.

    Returns:
        Name -> why it could not be tracked, for those.

    Raises:
        ValueError, ImportError: the tracker cannot be loaded.
        RunError: the folder holds a run under other conditions.
        BrokenProcessPool: a process was killed; what was finished is kept.
    """
    source = {name: str(value) for name, value in asdict(plan.source).items() if value not in (None, "")}
    folder.begin({**choice.conditions, "protocol": plan.protocol, "source": source})
    finished = set(folder.finished)
    missing = [part for part in plan.parts if part.name not in finished]
    if not missing:
        return {}
    # The longest first: none of them is left alone at the end.
    missing.sort(key=lambda part: -part.frames)
    total = sum(part.frames for part in plan.parts)
    with tqdm(total=total, desc=choice.label, unit="frame", disable=None, smoothing=0.05) as bar:
        bar.update(total - sum(part.frames for part in missing))
        if processes == 1:
            return _failures(_alone(plan, choice, missing, bar.update), folder)
        return _failures(_together(plan, choice, missing, processes, bar.update), folder)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


Outcome = tuple[Part, TrackedSequence | str]


def _failures(outcomes: Iterable[Outcome], folder: RunFolder) -> dict[str, str]:
    failed = {}
    for part, outcome in outcomes:
        if isinstance(outcome, str):
            failed[part.name] = outcome
        else:
            folder.write(outcome)
    return failed


def _alone(
    plan: Plan, choice: TrackerChoice, parts: Iterable[Part], progress: Callable[[int], Any]
) -> Iterable[Outcome]:
    worker = _Worker(plan, choice)
    for part in parts:
        yield part, worker.track(part, lambda: progress(1))


def _together(
    plan: Plan, choice: TrackerChoice, parts: list[Part], processes: int, progress: Callable[[int], Any]
) -> Iterable[Outcome]:
    choice.open()  # an error is told here, in words, and not by the death of a process
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(processes, context, _start_worker, (plan, choice, done, stop))
    watching = Thread(target=_watch, args=(done, stop, progress), daemon=True)
    watching.start()
    try:
        futures = {pool.submit(_track_in_worker, part): part for part in parts}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise BrokenProcessPool(
            "a process was killed, perhaps for want of memory: the same command continues where it stopped"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        watching.join()


def _watch(done: Any, stop: Any, progress: Callable[[int], Any]) -> None:
    shown = 0
    while True:
        ended = stop.wait(_LOOK_PERIOD_S)
        count = done.value
        progress(count - shown)
        shown = count
        if ended:
            return


class _Worker:
    """One tracker, and the sequences that it is given one after the other."""

    def __init__(self, plan: Plan, choice: TrackerChoice) -> None:
        cv2.setNumThreads(1)
        self._source, self._tracker, self._part = plan.source, choice.open(), plan.open()

    def track(self, part: Part, after_frame: Callable[[], None]) -> TrackedSequence | str:
        """The tracked part, or why it could not be tracked."""
        box_xywh, rate_hz = self._source.box_xywh, self._source.rate_hz
        try:
            return replay(self._tracker, self._part(part.name), box_xywh, rate_hz, after_frame)
        except ValueError as error:  # of the sequence or its first box
            return str(error)


def _parts(source: Source, sequence: Sequence, protocol: str) -> list[Sequence]:
    """What a protocol asks for; a box that was given needs no truth."""
    return [sequence] if source.box_xywh else expand(sequence, protocol)


# What a process of the pool has.
_worker: _Worker
_done: Any  # frames, counted by all processes together
_stop: Any  # set when the user has ended the work


class _Stopped(BaseException):
    """The work was ended from outside."""


def _start_worker(plan: Plan, choice: TrackerChoice, done: Any, stop: Any) -> None:
    global _worker, _done, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process tells the others
    warnings.simplefilter("ignore")  # about sequences: the first process has opened and told them
    _worker, _done, _stop = _Worker(plan, choice), done, stop


def _track_in_worker(part: Part) -> TrackedSequence | str:
    return _worker.track(part, _count_frame)


def _count_frame() -> None:
    with _done.get_lock():
        _done.value += 1
    if _stop.is_set():
        raise _Stopped
