"""What the offline evaluator costs beside the tracker, how much faster more processes are, and whether its
memory grows with the length of a sequence."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import Parser, write_json
from distill_tracker_ros.core.frame import Pixels
from distill_tracker_ros.evaluation.jobs import TrackerChoice, make_plan
from distill_tracker_ros.evaluation.jobs import run as run_jobs
from distill_tracker_ros.evaluation.replay import replay
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.evaluation.runs import RunFolder
from distill_tracker_ros.evaluation.sequences import Frames, Sequence
from distill_tracker_ros.evaluation.source import Source
from distill_tracker_ros.runtime.manifest import BundleError

_EXAMPLES = """
    python3 benchmarks/evaluation.py
    python3 benchmarks/evaluation.py --sequences UAV123/ --processes 1 4 --json build/evaluation.json
"""
SIZE = (640, 360)
SEQUENCES = 8


class Drifting(Frames):
    """A window that drifts over a picture of soft noise: the target is what lies in its middle at first."""

    def __init__(self, count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
        self._world = cv2.resize(coarse, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_CUBIC)
        self._count, self._size = count, size

    def __len__(self) -> int:
        return self._count

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of the window in the picture."""
        reach = 0.3 * min(self._size)
        x, y = self._size[0] / 2, self._size[1] / 2
        return round(x + reach * np.sin(index / 40)), round(y + reach * np.sin(index / 55))

    def _read(self, index: int) -> Pixels:
        if index >= self._count:
            raise IndexError(index)
        (x, y), (w, h) = self.corner(index), self._size
        return np.ascontiguousarray(self._world[y : y + h, x : x + w])


def drifting(name: str, count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Sequence:
    frames = Drifting(count, size, seed)
    side = size[1] / 6
    start = np.array([size[0] / 2 - side / 2, size[1] / 2 - side / 2])
    moved = np.array([frames.corner(0)]) - np.array([frames.corner(i) for i in range(count)])
    return Sequence(name, frames, np.c_[start + moved, np.full((count, 2), side)], 30.0)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--sequences", type=Path, metavar="DIR", help="(default: made for this)")
    parser.add_argument("--processes", type=int, nargs=2, default=[1, 2], metavar="N", help="%(default)s")
    parser.add_argument("--frames", type=int, default=400, help="of each sequence that is made (%(default)s)")
    parser.add_argument(
        "--lengths", type=int, nargs=2, default=[2000, 20000], metavar="N", help="for memory (%(default)s)"
    )
    command_line.add_model_arguments(parser)
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("evaluation", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    choice = TrackerChoice("tracker", model=arguments.model, backend=arguments.backend)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.sequences or write_sequences(Path(folder) / "sequences", arguments.frames)
        seconds = [wall_time(path, choice, n, Path(folder) / str(n)) for n in arguments.processes]
        shares = parts(path, choice)
    memory_mb = [peak_memory_mb(choice, length) for length in arguments.lengths]
    few, many = arguments.processes
    result = {
        "processes": arguments.processes,
        "seconds": seconds,
        "speed_up": seconds[0] / seconds[1],
        "share_of_the_time": shares,
        "lengths": arguments.lengths,
        "peak_memory_mb": memory_mb,
        "memory_ratio": memory_mb[1] / memory_mb[0],
    }
    rows = [(f"{n} process(es), s", f"{s:.1f}") for n, s in zip(arguments.processes, seconds, strict=True)]
    rows.append((f"{many} as fast as {few}, times", f"{result['speed_up']:.2f}"))
    rows += [(f"share of the time: {name}", f"{share:.1%}") for name, share in shares.items()]
    rows += [(f"{n} frames, MB", f"{mb:.1f}") for n, mb in zip(arguments.lengths, memory_mb, strict=True)]
    print(text_table(("evaluation", "value"), [*rows, ("memory ratio", f"{result['memory_ratio']:.3f}")]))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def write_sequences(folder: Path, frames: int) -> Path:
    """Folders of JPEG images with their truth."""
    for number in range(SEQUENCES):
        sequence = drifting(f"drifting{number}", frames, seed=number)
        (folder / sequence.name).mkdir(parents=True)
        for index in range(frames):
            picture = cv2.cvtColor(sequence.frames[index], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / sequence.name / f"{index + 1:06d}.jpg"), picture)
        np.savetxt(folder / sequence.name / "groundtruth.txt", sequence.truth_xywh, fmt="%.3f", delimiter=",")
    return folder


def wall_time(path: Path, choice: TrackerChoice, processes: int, folder: Path) -> float:
    """Seconds for everything, the start of the processes included."""
    began = time.perf_counter()
    failed = run_jobs(make_plan(Source(path)), choice, RunFolder(folder), processes)
    if failed:
        raise command_line.CommandError(f"it could not be tracked: {failed}")
    return time.perf_counter() - began


def parts(path: Path, choice: TrackerChoice) -> dict[str, float]:
    """Where the time goes in one process, as shares of all of it."""
    tracker, sequence = choice.open(), Source(path).open()[0]
    began = time.perf_counter()
    for _ in sequence.frames:
        pass
    reading = time.perf_counter() - began
    began = time.perf_counter()
    times = replay(tracker, sequence).times
    whole = time.perf_counter() - began
    found = {
        "reading images": reading,
        "crop": times.before_ms.sum() / 1000,
        "engine": times.engine_ms.sum() / 1000,
        "tracker after the engine": times.after_ms.sum() / 1000,
    }
    found["evaluator"] = whole - sum(found.values())
    return {name: float(seconds / whole) for name, seconds in found.items()}


def peak_memory_mb(choice: TrackerChoice, length: int) -> float:
    """Of a process that tracks one sequence of so many frames."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_track_alone, (choice, length))


def _track_alone(choice: TrackerChoice, length: int) -> float:
    replay(choice.open(), drifting("long", length, (320, 180)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
