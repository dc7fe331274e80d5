"""All benchmarks, one after the other; their main numbers go into one table, JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from writing import conditions, markdown_conditions, markdown_table

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table

_EXAMPLES = """
    python3 benchmarks/run.py
    python3 benchmarks/run.py --only node_overhead --model models/mine
    python3 benchmarks/run.py --quick --json build/quick.json
"""


@dataclass(frozen=True)
class Benchmark:
    """One script of this folder."""

    arguments: Callable[[str], list[str]]  # model -> command line
    quick: list[str]  # added for a short run, whose numbers are rough
    numbers: Callable[[dict[str, Any]], dict[str, float]]  # its JSON -> what goes into the table


BENCHMARKS = {
    "speed": Benchmark(
        lambda model: ["--model", model],
        ["--rounds", "5", "--frames", "20", "--batches", "1", "2"],
        lambda found: {
            "frame, ms": found["trackers"][0]["frame_ms"]["median"],
            "speed / CSRT": found["trackers"][0]["speed_to_csrt"],
            "uncached / cached": found["engines"][0]["uncached_to_cached"],
            "each more target / first": found["targets"][0]["additional_to_first"],
        },
    ),
    "frame_path": Benchmark(
        lambda model: ["--model", model],
        ["--rounds", "10"],
        lambda found: {
            f"{row['encoding']}, {row['case']}, ms": row["all_ms"]["median"]
            for row in found["measurements"]
            if row["encoding"] in ("bgr8", "jpeg")
        },
    ),
    "engine_options": Benchmark(
        lambda model: [model],
        ["--rounds", "3", "--threads", "1", "2"],
        lambda found: {
            "default search, ms": found["measurements"][0]["search_ms"],
            "best other / default": min(m["search_ratio"] for m in found["measurements"][1:]),
        },
    ),
    "evaluation": Benchmark(
        lambda model: ["--model", model],
        ["--frames", "60", "--lengths", "200", "1000"],
        lambda found: {
            "2 processes / 1, speed": found["speed_up"],
            "evaluator, share of the time": found["share_of_the_time"]["evaluator"],
            "memory, long / short": found["memory_ratio"],
        },
    ),
    "node_overhead": Benchmark(
        lambda model: ["--model", model],
        ["--seconds", "5"],
        lambda found: {
            "engine, ms": found["engine_ms_median"],
            "node beyond it, ms": found["node_ms_median"],
            "node / engine": found["node_to_engine"],
            "latency, ms": found["latency_ms_median"],
            "latency 95 %, ms": found["latency_ms_p95"],
            "dropped / received": found["dropped"] / found["received"],
        },
    ),
    "node_memory": Benchmark(
        lambda model: ["--model", model],
        ["--images", "200", "1000"],
        lambda found: {"memory, MB": found["rss_mb"][-1], "late / early": found["ratio"]},
    ),
}


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="this one alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="shorter, rougher")
    parser.add_argument("--model", default=command_line.DEFAULT_MODEL, help="(default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/benchmarks"),
        metavar="DIR",
        help="for what each benchmark writes (%(default)s)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/benchmarks/all.json"),
        metavar="FILE",
        help="the table (.md) comes beside it (%(default)s)",
    )
    parsed = parser.parse_args(arguments)
    return command_line.run("benchmarks", lambda: _run_all(parsed))


def _run_all(arguments: argparse.Namespace) -> int:
    arguments.output.mkdir(parents=True, exist_ok=True)
    about, cells = conditions(), []
    everything: dict[str, Any] = {"conditions": about}
    for name in arguments.only or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        benchmark, result = BENCHMARKS[name], arguments.output / f"{name}.json"
        script = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, str(script), *benchmark.arguments(arguments.model)]
        command += benchmark.quick if arguments.quick else []
        if subprocess.run([*command, "--json", str(result)]).returncode:
            raise CommandError(f"the benchmark {name} failed")
        everything[name] = json.loads(result.read_text(encoding="utf-8"))
        numbers = benchmark.numbers(everything[name])
        cells += [(name, number, f"{value:.3f}") for number, value in numbers.items()]
    header = ("benchmark", "number", "value")
    print(f"\n{text_table(header, cells)}")
    write_json(arguments.json, everything)
    text = f"{markdown_conditions(about)}.\n\n{markdown_table(header, cells)}\n"
    arguments.json.with_suffix(".md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
