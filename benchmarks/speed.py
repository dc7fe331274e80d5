"""How fast the models are, beside OpenCV's trackers and what the machine can do; all in one run.

    trackers   a whole frame of the demo's clip, crop and decoding included, OpenCV's trackers beside ours
    engines    one search region with the template cached and uncached; the share of the machine's peak, which
               is a product of two float32 matrices of 2048 x 2048 by ONNX Runtime or NumPy, the faster one
    targets    several search regions in one call

What is compared takes turns; times are medians with quartiles. JSON, Markdown and a plot are written.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads of a product are ours: see `_by_numpy`

import argparse
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import macs
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from writing import conditions, markdown_conditions, markdown_table, shown, spread

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.core.engine import Engine
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.evaluation.baselines import open_baseline
from distill_tracker_ros.evaluation.metrics import overlap
from distill_tracker_ros.evaluation.replay import (
    DEFAULT_RATE_HZ,
    SequenceTracker,
    SessionTracker,
    Step,
    regular_stamps_ns,
)
from distill_tracker_ros.runtime.load import find_model, load, shipped_models
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest
from distill_tracker_ros.runtime.onnx_engine import CPU, OnnxOptions
from distill_tracker_ros.runtime.timing import interleaved_ms, noise

_EXAMPLES = """
    python3 benchmarks/speed.py
    python3 benchmarks/speed.py --model eatrack_nano --model build/eatrack_nano_int8 --threads 1
    python3 benchmarks/speed.py --nanotrack backbone.onnx,head.onnx --json build/speed/all.json
"""
BATCHES = (1, 2, 4, 8, 16)
PEAK_SIDE = 2048
REFERENCE = "CSRT"

Times = Mapping[Hashable, NDArray[np.float64]]  # of a call, ms


@dataclass(frozen=True)
class Model:
    """A bundle, loaded with a number of threads."""

    name: str
    folder: Path
    threads: int
    engine: Engine
    device: str


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, examples=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", metavar="NAME", help="name or folder; may be repeated (every shipped one)"
    )
    command_line.add_backend_argument(parser)
    parser.add_argument("--nanotrack", metavar="BACKBONE,HEAD", help="OpenCV's NanoTrack with these networks")
    parser.add_argument("--threads", type=command_line.whole, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--batches", type=command_line.whole, nargs="+", default=BATCHES, metavar="N")
    parser.add_argument("--rounds", type=command_line.whole, default=30, help="of calls (%(default)s)")
    parser.add_argument("--frames", type=command_line.whole, default=90, help="of the clip (%(default)s)")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/benchmarks/speed.json"),
        metavar="FILE",
        help="table (.md) and plot (.png) come beside it (%(default)s)",
    )
    parsed = parser.parse_args(arguments)
    return command_line.run("speed", lambda: _benchmark(parsed), (ValueError, ImportError))


def _benchmark(arguments: argparse.Namespace) -> int:
    about = conditions() | {"backend": arguments.backend, "rounds": arguments.rounds}
    models = load_models(arguments.model or sorted(shipped_models()), arguments.backend, arguments.threads)
    rivals = ["kcf", "csrt", "mil", *([f"nano:{arguments.nanotrack}"] if arguments.nanotrack else [])]
    result: dict[str, Any] = {
        "conditions": about | {"frames": arguments.frames},
        "trackers": trackers(models, rivals, arguments.threads, arguments.frames),
        **engines(models, arguments.threads, arguments.batches, arguments.rounds),
    }
    for model in models:
        model.engine.close()
    write_json(arguments.json, result)
    text = markdown(result)
    arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")
    plot(result, arguments.json.with_suffix(".png"))
    print(text)
    return 0


def load_models(names: Sequence[str], backend: str, threads: Sequence[int]) -> list[Model]:
    """Each with each number of threads."""
    models = []
    for name in names:
        folder = find_model(name)
        for count in threads:
            loaded = load(folder, backend, OnnxOptions(intra_op_threads=count))
            models.append(Model(folder.resolve().name, folder, count, loaded.engine, loaded.device))
    return models


# A whole frame of the clip.


def trackers(
    models: Sequence[Model], rivals: Sequence[str], threads: Sequence[int], frames: int
) -> list[dict[str, Any]]:
    """A row for each tracker and number of threads: time a frame, and overlap with the true box.

    Raises:
        CommandError: the clip cannot be made.
    """
    try:
        from distill_tracker_ros.demo import clip
    except ImportError as error:  # the photographs are those of scikit-image
        raise CommandError(f"the demo's clip cannot be made: {error}") from error
    shots = [clip.shot(i) for i in tqdm(range(min(frames, clip.FRAMES)), desc="clip", disable=None)]
    pictures = [cv2.cvtColor(shot.bgr, cv2.COLOR_BGR2RGB) for shot in shots]
    truth = np.array([shot.box_xywh for shot in shots])
    rows = []
    for count in threads:
        cv2.setNumThreads(count)
        ours = [SessionTracker(m.engine, label=m.name) for m in models if m.threads == count]
        rows += _turns([*ours, *map(open_baseline, rivals)], pictures, truth, count)
    cv2.setNumThreads(1)
    return rows


def _turns(
    runners: Sequence[SequenceTracker],
    pictures: Sequence[NDArray[np.uint8]],
    truth_xywh: NDArray[np.float64],
    threads: int,
) -> list[dict[str, Any]]:
    """All trackers through the pictures, frame by frame, each frame beginning with another one."""
    taken: list[list[Step]] = [[] for _ in runners]
    stamps = regular_stamps_ns(len(pictures), DEFAULT_RATE_HZ).tolist()
    for number, rgb in enumerate(tqdm(pictures, desc=f"trackers, {threads} thread(s)", disable=None)):
        frame, first = ArrayFrame(rgb), number % len(runners)
        for i in (*range(first, len(runners)), *range(first)):
            if number:
                taken[i].append(runners[i].step(frame, stamps[number]))
            else:
                taken[i].append(runners[i].start(frame, truth_xywh[0], stamps[0]))
    times = [np.array([s.before_ms + s.engine_ms + s.after_ms for s in steps[1:]]) for steps in taken]
    by_label = dict(zip([runner.label for runner in runners], times, strict=True))
    return [
        {
            "tracker": runner.label,
            "threads": threads,
            "frame_ms": spread(own),
            "beyond_engine_ms": spread([s.before_ms + s.after_ms for s in steps[1:]]),
            "speed_to_csrt": float(np.median(by_label[REFERENCE]) / np.median(own)),
            "mean_overlap": float(np.nanmean(overlap([s.track.box_xywh for s in steps], truth_xywh))),
        }
        for runner, steps, own in zip(runners, taken, times, strict=True)
    ]


# The networks alone.


def engines(
    models: Sequence[Model], threads: Sequence[int], batches: Sequence[int], rounds: int
) -> dict[str, Any]:
    """Rows for engines and targets, and the peak for each number of threads."""
    calls: dict[Hashable, Callable[[], object]] = {}
    for model in models:
        encode, search = model.engine.encode_template, model.engine.search
        for targets in sorted({1, *batches}):
            templates, regions = noise(model.engine.spec, targets)
            states = [encode(templates[i : i + 1]) for i in range(targets)]
            calls[model, targets] = partial(search, regions, states)
            if targets == 1:
                calls[model, "template"] = partial(encode, templates)
                calls[model, "uncached"] = lambda e=encode, s=search, t=templates, x=regions: s(x, [e(t)])
    for count in threads:
        calls |= {("peak", count, name): call for name, call in _products(count).items()}
    for call in calls.values():
        call()
    taken = interleaved_ms(calls, tqdm(range(rounds), desc="engines", unit="round", disable=None))
    peaks = {count: _peak(taken, count) for count in threads}
    return {
        "peak": [{"threads": count, **found} for count, found in peaks.items()],
        "engines": [_engine_row(model, taken, peaks[model.threads]["gflops"]) for model in models],
        "targets": [_targets_row(model, taken, sorted({1, *batches})) for model in models],
    }


def _products(threads: int) -> dict[str, Callable[[], object]]:
    """The product of two matrices, by NumPy and, where the package onnx is there, by ONNX Runtime."""
    rng = np.random.default_rng(0)
    left, right = (rng.random((PEAK_SIDE, PEAK_SIDE), np.float32) for _ in range(2))
    found: dict[str, Callable[[], object]] = {"numpy": _by_numpy(left, right, threads)}
    with suppress(ImportError):
        found["onnxruntime"] = _by_onnxruntime(left, right, threads)
    return found


def _by_numpy(left: NDArray[np.float32], right: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """Each thread has its share of the rows; NumPy lets others run while it multiplies."""
    parts, result = np.array_split(left, threads), np.empty_like(left)
    results, pool = np.array_split(result, threads), ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda a, out: np.matmul(a, right, out=out), parts, results))


def _by_onnxruntime(
    left: NDArray[np.float32], right: NDArray[np.float32], threads: int
) -> Callable[[], object]:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    shape = list(left.shape)
    a, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ac")
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [a], [c], [numpy_helper.from_array(right, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(["c"], {"a": left})


def _peak(taken: Times, threads: int) -> dict[str, Any]:
    medians = {
        key[2]: float(np.median(times))
        for key, times in taken.items()
        if isinstance(key, tuple) and key[:2] == ("peak", threads)
    }
    by = min(medians, key=lambda name: medians[name])
    return {"by": by, "gflops": 2 * PEAK_SIDE**3 / medians[by] / 1e6}


def _engine_row(model: Model, taken: Times, peak_gflops: float) -> dict[str, Any]:
    manifest = read_manifest(model.folder / FILE_NAME)
    try:
        search_macs: int | None = macs.count(model.folder / manifest.search.file)
        template_macs: int | None = macs.count(model.folder / manifest.template.file)
        precision = macs.precision(model.folder / manifest.search.file)
    except ImportError:
        search_macs = template_macs = None
        precision = ""
    search, uncached = taken[model, 1], taken[model, "uncached"]
    gflops = None if search_macs is None else 2 * search_macs / float(np.median(search)) / 1e6
    return {
        "model": model.name,
        "device": model.device,
        "threads": model.threads,
        "precision": precision,
        "input_px": model.engine.spec.search_size,
        "search_macs": search_macs,
        "template_macs": template_macs,
        "search_ms": spread(search),
        "template_ms": spread(taken[model, "template"]),
        "uncached_ms": spread(uncached),
        "uncached_to_cached": float(np.median(uncached / search)),
        "gflops": gflops,
        "share_of_peak": None if gflops is None or model.device != CPU else gflops / peak_gflops,
    }


def _targets_row(model: Model, taken: Times, batches: Sequence[int]) -> dict[str, Any]:
    medians = [float(np.median(taken[model, targets])) for targets in batches]
    more = None if len(batches) < 2 else float(np.polyfit(batches, medians, 1)[0])
    return {
        "model": model.name,
        "threads": model.threads,
        "call_ms": {str(targets): spread(taken[model, targets]) for targets in batches},
        "additional_target_ms": more,
        "additional_to_first": more and more / medians[0],
    }


# What is written.


def markdown(result: dict[str, Any]) -> str:
    """The tables."""
    peaks = [f"{p['gflops']:.1f} GFLOP/s with {p['threads']} thread(s) by {p['by']}" for p in result["peak"]]
    batches = list(result["targets"][0]["call_ms"])
    tables = [
        markdown_table(
            (
                "tracker",
                "threads",
                "ms a frame (quartiles)",
                "of it beyond the network",
                "speed / CSRT",
                "overlap",
            ),
            [
                (
                    row["tracker"],
                    str(row["threads"]),
                    shown(row["frame_ms"]),
                    f"{row['beyond_engine_ms']['median']:.2f}" if row["beyond_engine_ms"]["median"] else "-",
                    f"{row['speed_to_csrt']:.2f}",
                    f"{row['mean_overlap']:.3f}",
                )
                for row in result["trackers"]
            ],
        ),
        markdown_table(
            (
                "model",
                "weights",
                "threads",
                "MACs, M",
                "search ms",
                "template ms",
                "uncached / cached",
                "of the peak",
            ),
            [
                (
                    row["model"],
                    row["precision"] or "-",
                    str(row["threads"]),
                    "-" if row["search_macs"] is None else f"{row['search_macs'] / 1e6:.1f}",
                    shown(row["search_ms"]),
                    shown(row["template_ms"]),
                    f"{row['uncached_to_cached']:.2f}",
                    "-" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
                )
                for row in result["engines"]
            ],
        ),
        markdown_table(
            (
                "model",
                "threads",
                *(f"{n} targets, ms" for n in batches),
                "each more, ms",
                "each more / first",
            ),
            [
                (
                    row["model"],
                    str(row["threads"]),
                    *(shown(row["call_ms"][n]) for n in batches),
                    *(
                        "-" if row[key] is None else f"{row[key]:.2f}"
                        for key in ("additional_target_ms", "additional_to_first")
                    ),
                )
                for row in result["targets"]
            ],
        ),
    ]
    head = f"{markdown_conditions(result['conditions'])}.\n\nPeak in float32: {'; '.join(peaks)}."
    return "\n\n".join([head, *tables]) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Medians and quartiles of a frame, medians of a call over its targets; the first number of threads."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    from distill_tracker_ros.evaluation.report.plots import BASELINE, GRID, SERIES, save_png

    threads = result["trackers"][0]["threads"]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [row for row in result["trackers"] if row["threads"] == threads]
    names = list(dict.fromkeys(row["model"] for row in result["targets"]))
    colours = {name: SERIES[i % len(SERIES)] for i, name in enumerate(names)}
    medians = [row["frame_ms"]["median"] for row in rows]
    reach = [[abs(row["frame_ms"][q] - row["frame_ms"]["median"]) for row in rows] for q in ("q1", "q3")]
    labels = [row["tracker"] for row in rows]
    for place, (name, median) in enumerate(zip(labels, medians, strict=True)):
        spread_ms = [[reach[0][place]], [reach[1][place]]]
        left.errorbar(median, place, xerr=spread_ms, marker="o", color=colours.get(name, BASELINE))
    left.set_yticks(range(len(labels)), labels)
    left.invert_yaxis()
    left.set(xscale="log", xlabel=f"ms a frame, {threads} thread(s)")
    targets = [int(n) for n in result["targets"][0]["call_ms"]]
    for row in result["targets"]:
        if row["threads"] == threads:
            times = [found["median"] for found in row["call_ms"].values()]
            right.plot(targets, times, marker="o", color=colours[row["model"]], label=row["model"])
    right.set(xscale="log", yscale="log", xlabel="targets in one call", ylabel="ms")
    right.set_xticks(targets, map(str, targets))
    right.minorticks_off()
    right.legend(frameon=False)
    for axis in (left.xaxis, right.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    for axes in (left, right):
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    save_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
