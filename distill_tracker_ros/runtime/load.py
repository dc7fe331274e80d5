"""From a model's name to an engine that has been tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.engine import Engine, TensorSpec
from .manifest import FILE_NAME, BundleError, Manifest, read_manifest, signature
from .onnx_engine import CPU, CUDA, OnnxEngine, OnnxOptions
from .tensorrt.options import TensorRtOptions

AUTO = "auto"
BACKENDS = (AUTO, "tensorrt", "onnxruntime")
ON_CPU, ON_GPU = "eatrack_nano", "eatrack_tiny"  # the models that `auto` stands for


class Loaded(NamedTuple):
    """An engine, and how it came to be."""

    engine: Engine
    backend: str  # of BACKENDS, but not `auto`
    device: str  # what executes the model, in words
    notes: tuple[str, ...] = ()  # why nothing faster does
    folder: Path = Path()  # of the model bundle


def find_model(name_or_path: str | Path, on_gpu: bool = False) -> Path:
    """The folder of a model bundle.

    Args:
        name_or_path: a folder with a manifest.yaml, or the name of a model in `models/` of the checkout or of
            the installed package; the checkout goes first. "auto" is the shipped model that suits the device.
        on_gpu: where the model is to run.

    Raises:
        BundleError: there is no such model; the text names those that there are.
    """
    if name_or_path == AUTO:
        name_or_path = ON_GPU if on_gpu else ON_CPU
    path = Path(name_or_path)
    if (path / FILE_NAME).is_file():
        return path
    models = shipped_models()
    if str(name_or_path) in models:
        return models[str(name_or_path)]
    names = ", ".join(sorted(models)) or "none"
    raise BundleError(
        f"no model {str(name_or_path)!r}: accepted are a folder with a {FILE_NAME}, {AUTO!r}, "
        f"or the name of a shipped model ({names})"
    )


def load_engine(
    model: str | Path, backend: str = "onnxruntime", options: OnnxOptions | None = None
) -> Engine:
    """The engine of `load`, for those who do not ask how it came to be."""
    return load(model, backend, options).engine


def load(
    model: str | Path,
    backend: str,
    onnx: OnnxOptions | None = None,
    tensorrt: TensorRtOptions | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> Loaded:
    """Load a model bundle, verify it, and run it once so that the first frame costs what the others do.

    Args:
        model: see `find_model`.
        backend: one of BACKENDS. `auto` takes TensorRT where it works, else ONNX Runtime with CUDA (or
            another provider, if `onnx` names one), else on the CPU.
        onnx, tensorrt: options of the backends; None = their defaults.
        say: is told of what takes long.
        cancelled: True ends a build of TensorRT, by its `BuildCancelled`.

    Raises:
        BundleError: no such model, or its files do not fit together or give no valid output.
        ValueError: unknown backend, or something that this machine cannot honour.
        ImportError: the backend's Python package is not installed.
    """
    onnx, tensorrt = onnx or OnnxOptions(), tensorrt or TensorRtOptions()
    if backend == "onnxruntime":
        return _with_onnxruntime(model, onnx)
    if backend == "tensorrt":
        return _with_tensorrt(model, tensorrt, say, cancelled)
    if backend != AUTO:
        raise ValueError(f"backend = {backend!r} is unknown: accepted are {', '.join(BACKENDS)}")
    accelerated = replace(onnx, execution_provider=CUDA) if onnx.execution_provider == CPU else onnx
    attempts: list[Callable[[], Loaded]] = [
        lambda: _with_tensorrt(model, tensorrt, say, cancelled),
        lambda: _with_onnxruntime(model, accelerated),
    ]
    notes: list[str] = []
    for attempt in attempts:
        try:
            return attempt()._replace(notes=tuple(notes))
        except (ValueError, ImportError) as error:
            notes.append(str(error))
    on_cpu = _with_onnxruntime(model, replace(onnx, execution_provider=CPU))
    return on_cpu._replace(notes=tuple(notes))


def fallback(loaded: Loaded, onnx: OnnxOptions) -> Loaded:
    """The same model anew, by what works everywhere: ONNX Runtime on the CPU. Raises as `load` does."""
    return _with_onnxruntime(loaded.folder, replace(onnx, execution_provider=CPU))


def _with_onnxruntime(model: str | Path, options: OnnxOptions) -> Loaded:
    folder = find_model(model, on_gpu=options.execution_provider != CPU)
    engine = _tried(OnnxEngine(folder, read_manifest(folder / FILE_NAME), options), folder)
    return Loaded(engine, "onnxruntime", options.execution_provider, folder=folder)


def _with_tensorrt(
    model: str | Path,
    options: TensorRtOptions,
    say: Callable[[str], None],
    cancelled: Callable[[], bool] | None,
) -> Loaded:
    from .tensorrt.load import open_bundle  # not at the top: TensorRT is for those who have it

    folder, manifest = verified(find_model(model, on_gpu=True))
    engine, device = open_bundle(folder, manifest, options, say, cancelled=cancelled)
    return Loaded(_tried(engine, folder), "tensorrt", device, folder=folder)


def verified(folder: Path) -> tuple[Path, Manifest]:
    """The folder of a bundle, and its manifest, by which its files are whole.

    Raises:
        BundleError: they are not.
    """
    manifest = read_manifest(folder / FILE_NAME)
    for graph in (manifest.template, manifest.search):
        graph.read(folder)
    return folder, manifest


def _tried(engine: Engine, folder: Path) -> Engine:
    try:
        for batch in (1, 2):
            _try(engine, batch, folder)
    except BundleError:
        engine.close()
        raise
    return engine


def shipped_models() -> dict[str, Path]:
    """Name -> folder of the models of the checkout, if this is one, and of the installed package."""
    roots = [Path(__file__).resolve().parents[2]]
    try:
        from ament_index_python.packages import get_package_share_path

        roots.append(get_package_share_path("distill_tracker_ros"))
    except (ImportError, LookupError, OSError):  # no ROS here, not sourced, or the package is not in it
        pass
    manifests = [found for root in reversed(roots) for found in root.glob(f"models/*/{FILE_NAME}")]
    return {found.parent.name: found.parent for found in manifests if found.is_file()}


def _try(engine: Engine, batch: int, folder: Path) -> None:
    """Run both graphs on noise and check what comes out."""
    rng, tensors = np.random.default_rng(0), signature(engine.spec)
    (templates,), (search, *_) = tensors.template_inputs, tensors.search_inputs
    try:
        state = engine.encode_template(rng.integers(0, 256, (batch, *templates.shape), np.uint8))
        output = engine.search(rng.integers(0, 256, (batch, *search.shape), np.uint8), [state])
    except Exception as error:  # whatever the runtime raises: the bundle does not run
        raise BundleError(f"{folder}: a trial run with a batch of {batch} failed: {error}") from error
    for tensor, result in zip(tensors.template_outputs, state, strict=True):
        _check_result(folder, tensor, np.asarray(result), batch)
    for tensor in tensors.search_outputs:
        _check_result(folder, tensor, getattr(output, tensor.name), batch)
    if not (output.score_map.min() > 0 and output.score_map.max() < 1):
        raise BundleError(
            f"{folder}: a trial run gave score_map from {output.score_map.min():g} to "
            f"{output.score_map.max():g}: accepted is between 0 and 1, both excluded"
        )


def _check_result(folder: Path, tensor: TensorSpec, result: NDArray[np.generic], batch: int) -> None:
    what, shape = f"{folder}: a trial run gave {tensor.name}", (batch, *tensor.shape)
    if result.shape != shape:
        raise BundleError(f"{what} of shape {list(result.shape)}, but by {FILE_NAME} it is {list(shape)}")
    if bad := np.sum(~np.isfinite(result.astype(np.float64))):
        raise BundleError(f"{what} with {bad} of {result.size} values not finite")
