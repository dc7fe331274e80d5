"""From a model's name to an engine that has been tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.engine import Engine, TensorSpec
from .manifest import FILE_NAME, BundleError, Graph, read_manifest, signature
from .onnx_engine import OnnxEngine, OnnxOptions

BACKENDS = ("onnxruntime",)
AUTO = "auto"
ON_CPU, ON_GPU = "eatrack_nano", "eatrack_tiny"  # what `auto` stands for


def find_model(name_or_path: str | Path, options: OnnxOptions | None = None) -> Path:
    """The folder of a model bundle.

    Args:
        name_or_path: a folder with a manifest.yaml, or the name of a model in `models/` of the checkout or of
            the installed package; the checkout goes first. "auto" is the shipped model that suits `options`.
        options: how the model is to run; None = the defaults.

    Raises:
        BundleError: there is no such model; the text names those that there are.
    """
    if name_or_path == AUTO:
        on_cpu = (options or OnnxOptions()).execution_provider == OnnxOptions.execution_provider
        name_or_path = ON_CPU if on_cpu else ON_GPU
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
    """Load a model bundle, verify it, and run it once so that the first frame costs what the others do.

    Args:
        model: see `find_model`.
        backend: one of BACKENDS.
        options: of the backend; None = its defaults.

    Raises:
        BundleError: no such model, or its files do not fit together or give no valid output.
        ValueError: unknown backend, or an option that this machine cannot honour.
        ImportError: the backend's Python package is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r} is unknown: accepted are {', '.join(BACKENDS)}")
    folder = find_model(model, options)
    manifest = read_manifest(folder / FILE_NAME)
    for graph in (manifest.template, manifest.search):
        _verify(folder / graph.file, graph.sha256)
    engine = OnnxEngine(folder, manifest, options)
    for batch in (1, 2):
        _try(engine, batch, folder)
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
    return {found.parent.name: found.parent for found in manifests}


def _verify(file: Path, expected: str) -> None:
    try:
        found = Graph.of_file(file).sha256
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    if found != expected:
        raise BundleError(
            f"{file} has the sha256 {found[:12]}..., but by {FILE_NAME} it is {expected[:12]}...: "
            "the file was changed or did not arrive whole"
        )


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
