"""What caching the template saves: networks of all methods on one core, side by side in one run.

A cached frame is a call of the search graph; without the cache the template graph comes before it. The
one-stream network beside them has the same crops, stem, width and number of blocks, all of them joint, and
caches nothing. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import Parser, write_json
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.onnx_engine import OnnxOptions
from distill_tracker_ros.runtime.timing import median_times_ms
from training.checkpoint import save_student
from training.export import export_bundle
from training.models.eatrack import EATrackConfig
from training.models.mixformer import MixFormerConfig
from training.models.network import NetworkConfig
from training.recipe import RECIPES, read_recipe

_EXAMPLES = """
    python3 benchmarks/methods.py
    python3 benchmarks/methods.py --recipes training/recipes/eatrack_release.yaml --json build/methods.json
"""
HEAD_CHANNELS = 32  # of the one-stream networks, as of the students for CPUs
SAME = (
    *("search_size", "template_size", "search_factor", "template_factor", "template_slots"),
    *("stride", "stem", "width", "heads", "mlp_ratio"),
)
NAMES = ("eatrack", "loretrack", "loretrack_eatrack", "compresstracker", "mixformer", "asymtrack")


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    default = [RECIPES / f"{name}_nano.yaml" for name in NAMES]
    parser.add_argument("--recipes", type=Path, nargs="+", default=default, help="(default: all *_nano)")
    parser.add_argument("--calls", type=int, default=300, help="of each graph (%(default)s)")
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("methods", lambda: _benchmark(parsed), (ValueError, OSError))


def _benchmark(arguments: argparse.Namespace) -> int:
    configs = {(recipe := read_recipe(path)).name: recipe.student for path in arguments.recipes}
    streams = {_one_stream_name(name): one for name, c in configs.items() if (one := one_stream(c))}
    times = measure({**configs, **streams}, arguments.calls)
    result = {name: _row(times[name], times.get(_one_stream_name(name))) for name in configs}
    if arguments.json:
        write_json(arguments.json, result)
    header = ("network", "cached ms", "uncached ms", "ratio", "one-stream ms", "cached / one-stream")
    shown = ("cached_ms", "uncached_ms", "uncached_to_cached", "one_stream_ms", "cached_to_one_stream")
    rows = [
        (name, *("" if row[key] is None else f"{row[key]:.2f}" for key in shown))
        for name, row in result.items()
    ]
    print(text_table(header, rows))
    return 0


def one_stream(config: NetworkConfig) -> EATrackConfig | None:
    """A network of that many joint blocks, with a centre head; None for what has no transformer blocks."""
    if not isinstance(config, (EATrackConfig, MixFormerConfig)):
        return None
    same = {name: getattr(config, name) for name in SAME}
    return EATrackConfig(stage1_blocks=0, stage2_blocks=config.blocks, head_channels=HEAD_CHANNELS, **same)


def measure(configs: dict[str, NetworkConfig], calls: int) -> dict[str, dict[str, float]]:
    """Name -> search_ms and template_ms of a network of random weights in ONNX Runtime, one thread."""
    engines = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs.items():
            student = save_student(Path(folder), config.build(), config, {})
            bundle = export_bundle(student, name, Path(folder) / name.replace(" ", "_"))
            engines[name] = load_engine(bundle, options=OnnxOptions(intra_op_threads=1))
        times = median_times_ms(engines, calls)
        for engine in engines.values():
            engine.close()
    return times


def _one_stream_name(name: str) -> str:
    return f"{name} as one stream"


def _row(own: dict[str, float], stream: dict[str, float] | None) -> dict[str, Any]:
    cached, uncached = own["search_ms"], own["search_ms"] + own["template_ms"]
    one = stream and stream["search_ms"] + stream["template_ms"]
    return {
        "cached_ms": cached,
        "uncached_ms": uncached,
        "uncached_to_cached": uncached / cached,
        "one_stream_ms": one,
        "cached_to_one_stream": one and cached / one,
    }


if __name__ == "__main__":
    sys.exit(main())
