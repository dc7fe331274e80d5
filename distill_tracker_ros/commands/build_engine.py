"""Build the TensorRT plans of a model before they are needed."""

from __future__ import annotations

import argparse
import time
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..command_line import CommandError
from ..evaluation.report.tables import text_table
from ..runtime import load
from ..runtime.tensorrt.options import TensorRtOptions

EXAMPLES = """
    distill-tracker build-engine eatrack_tiny --max-targets 4
    distill-tracker build-engine --list
"""
_NAMES = {"cache_folder": "--cache"}  # the others are called like their field
_NOT_OF_PLANS = ("cuda_graphs",)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "build-engine",
        help="build the TensorRT plans of a model",
        description=run.__doc__,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=load.ON_GPU,
        metavar="MODEL",
        help="a name in models/, or a folder with a manifest.yaml (default: %(default)s)",
    )
    for field in _options():
        accepted = field.metadata["accepted"]
        kind: dict[str, Any] = {"choices": accepted} if accepted else {"type": type(field.default)}
        name = _NAMES.get(field.name, f"--{field.name.replace('_', '-')}")
        text = f"{field.metadata['help']} (default: %(default)s)"
        parser.add_argument(name, dest=field.name, default=field.default, help=text, **kind)
    parser.add_argument("--list", action="store_true", help="list the plans that were built")
    parser.add_argument(
        "--ahead-of-time",
        type=_capability,
        nargs="+",
        metavar="X.Y",
        help="see that the model compiles for GPUs of these compute capabilities, none of which has to be "
        "here; needs TensorRT-RTX",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the plans ahead of time go")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Build the plans of a model for the GPU of this machine, compare them with the original, and keep them.

    The node then starts at once, if its tensorrt parameters are these.
    """
    try:
        options = TensorRtOptions(**{field.name: getattr(arguments, field.name) for field in _options()})
        if arguments.list:
            _list(options)
        elif arguments.ahead_of_time:
            _build_ahead_of_time(arguments, options)
        else:
            _build(arguments.model, options)
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error
    return 0


def _build(model: str, options: TensorRtOptions) -> None:
    from ..runtime.tensorrt.load import open_bundle

    folder, manifest = load.verified(load.find_model(model, on_gpu=True))
    with _Bar() as bar:
        engine, what = open_bundle(folder, manifest, options, tqdm.write, bar.show)
    engine.close()
    print(f"{manifest.spec.name} is ready: {what}")


def _build_ahead_of_time(arguments: argparse.Namespace, options: TensorRtOptions) -> None:
    from ..runtime.tensorrt import compat, plans
    from ..runtime.tensorrt.builder import build_plan
    from ..runtime.tensorrt.load import in_precision

    if arguments.output is None:
        raise CommandError("say where the plans go: --output DIR")
    trt, capabilities = compat.find(("tensorrt_rtx",)), tuple(arguments.ahead_of_time)
    folder, manifest = load.verified(load.find_model(arguments.model, on_gpu=True))
    spec, graphs = in_precision(folder, manifest, options.precision)
    output = plans.Plans(arguments.output, options.cache_limit_mb)
    for name, graph in graphs.items():
        batch, began = options.max_targets, time.monotonic()
        key = plans.key(f"{spec.name}-{name}", graph, batch, options, trt, capabilities)
        with _Bar() as bar:
            built = build_plan(
                trt, graph, batch, options, compute_capabilities=capabilities, progress=bar.show
            )
        output.store(key, built, {"seconds": round(time.monotonic() - began, 1)})
        if isinstance(found := output.look_up(key), plans.Miss):
            raise CommandError(found.reason)
        print(f"{output.folder / key.stem}.plan: {len(built.plan) / 1e6:.1f} MB")


def _list(options: TensorRtOptions) -> None:
    from ..runtime.tensorrt.plans import Plans

    kept = Plans(options.cache_folder, options.cache_limit_mb)
    rows = [
        (
            entry.file.stem,
            *(str(entry.parts.get(part, "?")) for part in ("precision", "max_batch")),
            _device(entry.parts.get("device")),
            str(entry.parts.get("tensorrt", "?")),
            f"{entry.size / 1e6:.1f}",
            _age(entry.built),
            _age(entry.used),
        )
        for entry in kept.entries()
    ]
    header = ("plan", "precision", "targets", "device", "TensorRT", "MB", "built ago", "used ago")
    print(text_table(header, rows) if rows else f"no plans in {kept.folder}")


class _Bar:
    """The progress of TensorRT, one plan after the other."""

    def __enter__(self) -> _Bar:
        form = "{percentage:3.0f} % |{bar:30}| {elapsed} {desc}"
        self._bar = tqdm(total=1.0, bar_format=form, leave=False, disable=None)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, phase: str, share: float) -> None:
        self._bar.set_description_str(phase, refresh=False)
        self._bar.update(share - self._bar.n)


def _options() -> list[Field[Any]]:
    return [field for field in fields(TensorRtOptions) if field.name not in _NOT_OF_PLANS]


def _capability(text: str) -> tuple[int, int]:
    """The type of --ahead-of-time: two numbers with a point between them."""
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability: give it as 8.6")
    return int(major), int(minor)


def _device(found: Any) -> str:
    """What a plan is for: a GPU, or the compute capabilities that it was compiled for ahead of time."""
    if isinstance(found, dict):
        return str(found.get("name", "?"))
    return " ".join(f"{major}.{minor}" for major, minor in found or ())


def _age(moment: float) -> str:
    """Since a moment, in the largest unit that fits."""
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
