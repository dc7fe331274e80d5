"""A bundle on a GPU: its plans are taken from the folder of plans, or built, checked and kept there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ...core.engine import Engine, ModelSpec
from .. import parity, precision
from ..manifest import FILE_NAME, Manifest, read_manifest
from ..onnx_engine import OnnxEngine
from ..parity import Parity
from . import compat, cuda, plans
from .builder import Built, Progress, build_plan
from .compat import TensorRtError
from .engine import TensorRtEngine
from .options import TensorRtOptions
from .plans import Key, Plan, Plans

SAY_EVERY_S = 5.0  # while a plan is built
OTHER_PRECISION = "set tensorrt.precision to float32"


def open_bundle(
    folder: Path,
    manifest: Manifest,
    options: TensorRtOptions,
    say: Callable[[str], None],
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[TensorRtEngine, str]:
    """An engine for a bundle, and in words what executes it.

    Args:
        say: is told why a plan has to be built and, if nobody listens to `progress`, how far that is.
        progress, cancelled: see `build_plan`.

    Raises:
        TensorRtError: no TensorRT works here, or it cannot build or load a plan.
        CudaError: no GPU, no driver, or not enough memory.
        ParityError: the plans do not give what ONNX Runtime gives.
        BuildCancelled: `cancelled` said so.
    """
    trt, device = compat.find(), cuda.device(options.device)
    compat.check_capability(trt, device.compute_capability)
    what = f"{trt.__name__} {trt.__version__}, {device.name}, precision {options.precision}"
    spec, graphs = in_precision(folder, manifest, options.precision)
    keys = [
        plans.key(f"{spec.name}-{name}", graph, options.max_targets, options, trt, device)
        for name, graph in graphs.items()
    ]
    kept = Plans(options.cache_folder, options.cache_limit_mb)

    def build(key: Key, graph: bytes) -> tuple[Built, float]:
        began, timings = time.monotonic(), kept.timing_cache(key)
        tell, most = progress or _teller(key.graph, say), options.max_targets
        built = build_plan(
            trt, graph, most, options, timing_cache=timings, progress=tell, cancelled=cancelled
        )
        return built, round(time.monotonic() - began, 1)

    with kept.locked(cancelled):
        try:
            template, search = (_plan(kept, key) for key in keys)
            found = Parity(template.about["box_px"], template.about["score"])
            engine = TensorRtEngine((template.plan, search.plan), spec, options, trt)
        except TensorRtError as error:
            say(f"plans of {spec.name} are built, which may take minutes: {error}")
            new = [build(key, graph) for key, graph in zip(keys, graphs.values(), strict=True)]
            engine = TensorRtEngine((new[0][0].plan, new[1][0].plan), spec, options, trt)
            with _closed_on_error(engine):
                found = _parity(engine, folder, manifest)
            # Those that will be refused are kept, too: they are not built again to be refused again.
            for key, (built, seconds) in zip(keys, new, strict=True):
                kept.store(key, built, {"seconds": seconds, "box_px": found.box_px, "score": found.score})
    with _closed_on_error(engine):
        advice = "use backend onnxruntime" if options.precision == "float32" else OTHER_PRECISION
        parity.check(found, f"{spec.name} by {what}", advice)
    return engine, what


def _plan(kept: Plans, key: Key) -> Plan:
    found = kept.look_up(key)
    if not isinstance(found, Plan):
        raise TensorRtError(found.reason)
    if not {"box_px", "score"} <= found.about.keys():
        raise TensorRtError(f"nothing is known of how far the plan {key.stem} is from the original")
    return found


@contextmanager
def _closed_on_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except BaseException:
        engine.close()
        raise


def in_precision(folder: Path, manifest: Manifest, wanted: str) -> tuple[ModelSpec, dict[str, bytes]]:
    """The model in a precision: what it takes and gives, and its graphs by their names."""
    with TemporaryDirectory() as aside:
        if wanted != "model":
            folder = precision.of_bundle(folder, manifest, wanted, Path(aside))
            manifest = read_manifest(folder / FILE_NAME)
        graphs = {"template": manifest.template, "search": manifest.search}
        return manifest.spec, {name: graph.read(folder) for name, graph in graphs.items()}


def _parity(engine: Engine, folder: Path, manifest: Manifest) -> Parity:
    """How far an engine is from the bundle in ONNX Runtime.

    Raises:
        TensorRtError: ONNX Runtime is not there to tell.
    """
    try:
        reference = OnnxEngine(folder, manifest)
    except ImportError as error:
        raise TensorRtError(
            f"a new plan is compared with ONNX Runtime before it is used, and that is missing ({error}): "
            "pip install onnxruntime"
        ) from error
    found = parity.compare(reference, engine, parity.reference_views())
    reference.close()
    return found


def _teller(graph: str, say: Callable[[str], None]) -> Progress:
    """Progress in words, now and then."""
    told = time.monotonic()

    def tell(phase: str, share: float) -> None:
        nonlocal told
        if time.monotonic() - told >= SAY_EVERY_S:
            told = time.monotonic()
            say(f"{graph}: {share:.0%} built ({phase})")

    return tell
