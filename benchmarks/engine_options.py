"""How the options of the ONNX Runtime engine change its speed, on this machine and a model.

    python3 benchmarks/engine_options.py models/NAME
    python3 benchmarks/engine_options.py models/NAME --threads 1 2 4 --targets 4 --json options.json

Every combination of threads and spinning runs in turn, in many short rounds of changing order, with a pause
between two frames as a camera makes it. The CPU time counts the pauses too: spinning threads work on in them.

The first row, the default, is measured a second time under its explicit numbers (marked =). By what these two
rows differ is the noise of the machine: a smaller difference between others means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from distill_tracker_ros.core.engine import Engine
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.onnx_engine import OnnxOptions, default_threads
from distill_tracker_ros.runtime.timing import noise


@dataclass(frozen=True)
class Measurement:
    """One combination; times in ms, ratios to the default options (below 1 is better)."""

    threads: int  # 0 = the default
    spinning: bool
    template_ms: float  # median of a call
    search_ms: float  # median of a call
    search_p95_ms: float
    cpu_ms: float  # of all threads, per frame, pauses included
    search_ratio: float = 1.0
    cpu_ratio: float = 1.0


def frames(engine: Engine, targets: int, count: int, pause_s: float) -> tuple[list[float], float]:
    """Latencies of `count` search calls in s, and the CPU time of the whole in s."""
    templates, regions = noise(engine.spec, targets)
    state = engine.encode_template(templates)
    latencies, cpu_start = [], time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        engine.search(regions, [state])
        latencies.append(time.perf_counter() - start)
        time.sleep(pause_s)
    return latencies, time.process_time() - cpu_start


def templates(engine: Engine, targets: int, count: int) -> list[float]:
    """Latencies of `count` template calls in s."""
    (crops, _), latencies = noise(engine.spec, targets), []
    for _ in range(count):
        start = time.perf_counter()
        engine.encode_template(crops)
        latencies.append(time.perf_counter() - start)
    return latencies


def measure(
    model: str, choices: list[OnnxOptions], targets: int, rounds: int, per_round: int, pause_s: float
) -> list[Measurement]:
    """All choices in turn, `rounds` times; the first choice is the one that the ratios refer to.

    Only one engine lives at a time, so that no idle threads of another one disturb; each round begins with
    another choice, so that none always follows the same one.
    """
    search_s: list[list[float]] = [[] for _ in choices]
    template_s: list[list[float]] = [[] for _ in choices]
    cpu_s = [0.0] * len(choices)
    with tqdm(total=rounds * len(choices), unit="run") as progress:
        for turn in range(rounds):
            for i in (*range(turn % len(choices), len(choices)), *range(turn % len(choices))):
                engine = load_engine(model, options=choices[i])
                template_s[i] += templates(engine, targets, max(3, per_round // 10))
                latencies, cpu = frames(engine, targets, per_round, pause_s)
                search_s[i] += latencies
                cpu_s[i] += cpu
                engine.close()
                progress.update()
    cpu_ms = [1e3 * cpu / (rounds * per_round) for cpu in cpu_s]
    search_ms = [1e3 * float(np.median(latencies)) for latencies in search_s]
    return [
        Measurement(
            threads=options.intra_op_threads,
            spinning=options.spinning,
            template_ms=1e3 * float(np.median(template_s[i])),
            search_ms=search_ms[i],
            search_p95_ms=1e3 * float(np.percentile(search_s[i], 95)),
            cpu_ms=cpu_ms[i],
            search_ratio=search_ms[i] / search_ms[0],
            cpu_ratio=cpu_ms[i] / cpu_ms[0],
        )
        for i, options in enumerate(choices)
    ]


def table(measurements: list[Measurement]) -> str:
    lines = [" threads  spinning  template ms  search ms    p95 ms  CPU ms/frame  search x  CPU x"]
    for m in measurements:
        control = m.threads == default_threads() and not m.spinning
        threads = f"{'= ' if control else ''}{m.threads}" if m.threads else "default"
        lines.append(
            f"{threads:>8}  {'on' if m.spinning else 'off':>8}  {m.template_ms:11.2f}  {m.search_ms:9.2f}"
            f"  {m.search_p95_ms:8.2f}  {m.cpu_ms:12.2f}  {m.search_ratio:8.2f}  {m.cpu_ratio:5.2f}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("model", help="folder or name of a model bundle")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, processors])
    parser.add_argument("--targets", type=int, default=1, help="targets tracked at once (batch size)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--frames", type=int, default=15, help="frames a round and combination")
    parser.add_argument("--pause-ms", type=float, default=20.0, help="pause between two frames")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers and their conditions here"
    )
    given = parser.parse_args(arguments)

    threads = sorted({default_threads(), *(n for n in given.threads if n <= processors)})
    choices = [OnnxOptions(), *(OnnxOptions(n, spinning) for n in threads for spinning in (False, True))]
    found = measure(given.model, choices, given.targets, given.rounds, given.frames, given.pause_ms / 1e3)
    print(f"{processors} processors, onnxruntime {onnxruntime.__version__}, batch {given.targets}")
    print(table(found))
    if given.json:
        conditions = {
            "model": given.model,
            "processors": processors,
            "machine": platform.machine(),
            "onnxruntime": onnxruntime.__version__,
            "targets": given.targets,
            "frames": given.rounds * given.frames,
            "pause_ms": given.pause_ms,
        }
        content = {"conditions": conditions, "measurements": [asdict(m) for m in found]}
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
