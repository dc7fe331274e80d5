"""The networks on a GPU: TensorRT, ONNX Runtime with CUDA and PyTorch, side by side in one run.

A call is `Engine.search`: crops in the host's memory become maps in the host's memory. All engines take turns
in short rounds of changing order. What cannot run on this machine is named, and the rest is measured.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.core.engine import Engine, ModelSpec, SearchOutput, State
from distill_tracker_ros.runtime.load import ON_GPU, find_model, load, verified
from distill_tracker_ros.runtime.onnx_engine import CUDA, OnnxOptions
from distill_tracker_ros.runtime.tensorrt import cuda
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

_EXAMPLES = """
    python3 benchmarks/gpu.py
    python3 benchmarks/gpu.py --model models/eatrack_nano --student runs/eatrack_nano/student.pt
    python3 benchmarks/gpu.py --batches 1 4 --json build/gpu.json --markdown build/gpu.md
"""
PRECISIONS = ("float32", "float16")
WARM_UP = 20  # calls that do not count: compilers and recorders do their work in them
EAGER = "PyTorch eager"
COMPILED = "PyTorch compiled"


@dataclass(frozen=True)
class Measurement:
    """The calls of one engine with one batch size."""

    engine: str
    batch: int
    median_ms: float
    low_ms: float  # 5 % of the calls take less
    high_ms: float  # 5 % take more
    copies: dict[str, float] | None = None  # of a call, as cuda.Counts; None = they are not counted


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, examples=_EXAMPLES)
    parser.add_argument("--model", default=ON_GPU, help="model bundle (default: %(default)s)")
    parser.add_argument(
        "--student", type=Path, metavar="FILE", help="student.pt that the bundle is of, to run in PyTorch"
    )
    parser.add_argument("--batches", type=command_line.whole, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=command_line.whole, default=20, help="%(default)s")
    parser.add_argument(
        "--calls", type=command_line.whole, default=20, help="of each engine in a round (%(default)s)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here, too")
    command_line.add_json_argument(parser)
    parsed = parser.parse_args(arguments)
    return command_line.run("gpu", lambda: _benchmark(parsed), (ValueError, ImportError))


def _benchmark(arguments: argparse.Namespace) -> int:
    device = cuda.device(0)
    folder, manifest = verified(find_model(arguments.model))
    engines, missing = opened(candidates(folder, manifest.spec, arguments.student, max(arguments.batches)))
    if not engines:
        raise CommandError(f"nothing runs on {device.name}: {'; '.join(missing.values())}")
    found = measure(engines, arguments.batches, arguments.rounds, arguments.calls)
    text = markdown(f"{manifest.spec.name} on {device.name}", found, missing)
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text, encoding="utf-8")
    if arguments.json:
        conditions = {
            "model": manifest.spec.name,
            "device": asdict(device),
            "machine": platform.machine(),
            "calls": arguments.rounds * arguments.calls,
            "missing": missing,
        }
        write_json(arguments.json, {"conditions": conditions, "measurements": [asdict(m) for m in found]})
    return 0


def candidates(
    bundle: Path, spec: ModelSpec, student: Path | None, max_batch: int
) -> dict[str, Callable[[], Engine]]:
    """What could be measured: name -> how it is made."""
    found: dict[str, Callable[[], Engine]] = {}
    for precision in PRECISIONS:
        for graphs in (True, False):
            name = f"TensorRT {precision}" + (", CUDA graph" if graphs else "")
            options = TensorRtOptions(precision=precision, max_targets=max_batch, cuda_graphs=graphs)
            found[name] = partial(_loaded, bundle, "tensorrt", tensorrt=options)
    onnx = OnnxOptions(execution_provider=CUDA)
    found["ONNX Runtime, CUDA"] = partial(_loaded, bundle, "onnxruntime", onnx=onnx)
    if student:
        for precision in PRECISIONS:
            for name, compiled in ((EAGER, False), (COMPILED, True)):
                found[f"{name} {precision}"] = partial(PyTorch, student, spec, precision, compiled)
    return found


def _loaded(bundle: Path, backend: str, **options: Any) -> Engine:
    return load(bundle, backend, **options, say=partial(print, file=sys.stderr)).engine


def opened(
    candidates: Mapping[str, Callable[[], Engine]],
) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines that can be made here, and for the others why they cannot."""
    engines, missing = {}, {}
    for name, make in candidates.items():
        try:
            engines[name] = make()
        except (ValueError, ImportError) as error:
            missing[name] = " ".join(str(error).split())
    return engines, missing


def measure(
    engines: Mapping[str, Engine], batches: Sequence[int], rounds: int, calls: int
) -> list[Measurement]:
    """Every engine with every batch size, in turns; each round begins with another engine."""
    found, names = [], list(engines)
    with tqdm(total=len(batches) * rounds * len(names), unit="round") as progress:
        for batch in batches:
            searches = {name: _search(engine, batch) for name, engine in engines.items()}
            for search in searches.values():
                _times_ms(search, WARM_UP)
            before = {name: _counts(engine) for name, engine in engines.items()}
            taken: dict[str, list[float]] = {name: [] for name in names}
            for turn in range(rounds):
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    taken[name] += _times_ms(searches[name], calls)
                    progress.update()
            for name, engine in engines.items():
                low, median, high = (float(p) for p in np.percentile(taken[name], (5, 50, 95)))
                made = {
                    kind: (n - before[name][kind]) / len(taken[name]) for kind, n in _counts(engine).items()
                }
                found.append(Measurement(name, batch, median, low, high, made or None))
    return found


def _search(engine: Engine, batch: int) -> Callable[[], SearchOutput]:
    """A call with the regions and the states of so many targets."""
    spec, rng = engine.spec, np.random.default_rng(0)
    shape = (1, spec.template_slots, spec.template_size, spec.template_size, 3)
    states = [engine.encode_template(rng.integers(0, 256, shape, np.uint8)) for _ in range(batch)]
    regions = rng.integers(0, 256, (batch, spec.search_size, spec.search_size, 3), np.uint8)
    return lambda: engine.search(regions, states)


def _times_ms(call: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return times


def _counts(engine: Engine) -> dict[str, int]:
    """The copies up to now, where the engine counts them."""
    counts = getattr(engine, "counts", None)
    return counts._asdict() if counts else {}


class PyTorch:
    """A student in PyTorch as one would write it; its states stay on the GPU."""

    def __init__(
        self, student: Path, spec: ModelSpec, precision: str, compiled: bool, device: str = "cuda"
    ) -> None:
        """Load it.

        Raises:
            ImportError: there is no torch.
            ValueError: it has no CUDA, or the student is not that of the bundle.
        """
        import torch  # not at the top: a robot has none

        from training.checkpoint import load_student
        from training.models.layers import normalise
        from training.spec import model_spec

        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("this torch finds no GPU")
        network, _ = load_student(student)
        own = model_spec(network.config, spec.name)
        for key in ("template_slots", "template_size", "search_size", "grid", "embedding_size"):
            if getattr(own, key) != getattr(spec, key):
                raise ValueError(
                    f"{student} is not the student of {spec.name}: its {key} is {getattr(own, key)}, "
                    f"that of the bundle {getattr(spec, key)}"
                )
        self.spec = spec
        self._torch, self._device, dtype = torch, device, getattr(torch, precision)
        network = network.deployed().to(device, dtype)

        def encode(templates: Any) -> Any:
            return network.encode_template(normalise(templates).to(dtype))

        def search(regions: Any, *states: Any) -> Any:
            return network.outputs(normalise(regions).to(dtype), *states)

        self._encode, self._search = encode, search
        if compiled:
            torch._dynamo.config.recompile_limit = 64  # one for each batch size and precision
            self._search = torch.compile(search, fullgraph=True, dynamic=False, mode="reduce-overhead")

    def encode_template(self, templates: np.ndarray) -> State:
        with self._torch.inference_mode():
            return tuple(self._encode(self._on_device(templates)))

    def search(self, search: np.ndarray, states: Sequence[State]) -> SearchOutput:
        with self._torch.inference_mode():
            joined = map(self._torch.cat, zip(*states, strict=True))
            outputs = self._search(self._on_device(search), *joined)
            return SearchOutput(*(output.float().cpu().numpy() for output in outputs))

    def close(self) -> None:
        """What torch holds goes with this object."""

    def _on_device(self, array: np.ndarray) -> Any:
        return self._torch.from_numpy(array).to(self._device)


# The tables.


def markdown(title: str, found: Sequence[Measurement], missing: Mapping[str, str]) -> str:
    """Medians with their spread, ratios to PyTorch, copies, and what is missing."""
    parts = [f"# {title}", "A search call in ms: median (5 % to 95 % of the calls).", times(found)]
    for name in dict.fromkeys(m.engine for m in found):
        if name.startswith("PyTorch"):
            parts += [f"Times as fast as {name}:", ratios(found, name)]
    if any(m.copies for m in found):
        parts += ["Copies of a call (states that do not change are not among them):", copies(found)]
    if missing:
        parts += ["Not measured:", "\n".join(f"- {name}: {reason}" for name, reason in missing.items())]
    return "\n\n".join(parts) + "\n"


def times(found: Sequence[Measurement]) -> str:
    return _by_batch(found, lambda m: f"{m.median_ms:.3f} ({m.low_ms:.3f} to {m.high_ms:.3f})")


def ratios(found: Sequence[Measurement], base: str) -> str:
    """How many times as fast as `base` every engine is, by the medians."""
    base_ms = {m.batch: m.median_ms for m in found if m.engine == base}
    return _by_batch(found, lambda m: f"{base_ms[m.batch] / m.median_ms:.2f}")


def copies(found: Sequence[Measurement]) -> str:
    rows = [
        (m.engine, str(m.batch), *(f"{value:g}" for value in m.copies.values())) for m in found if m.copies
    ]
    return _table(("engine", "batch", *(kind.replace("_", " ") for kind in cuda.Counts._fields)), rows)


def _by_batch(found: Sequence[Measurement], cell: Callable[[Measurement], str]) -> str:
    """A row an engine, a column a batch size."""
    batches = list(dict.fromkeys(m.batch for m in found))
    cells = {(m.engine, m.batch): cell(m) for m in found}
    rows = [
        (name, *(cells[name, batch] for batch in batches)) for name in dict.fromkeys(m.engine for m in found)
    ]
    return _table(("engine", *(f"batch {batch}" for batch in batches)), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
