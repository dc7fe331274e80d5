"""A model bundle behind ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.config import check_ranges, option
from ..core.engine import SearchOutput, State, TensorSpec, joined
from .manifest import BundleError, Graph, Manifest, signature

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}


@dataclass(frozen=True)
class OnnxOptions:
    """How ONNX Runtime is to run; this class can be had where onnxruntime is not installed."""

    intra_op_threads: int = option(
        0, "threads of one inference call; 0 = the processors this process may use, at most 4", 0, 256
    )
    spinning: bool = option(False, "let idle threads wait in a loop, which costs CPU time between frames")
    execution_provider: str = option(
        CPU, "ONNX Runtime execution provider, for example CUDAExecutionProvider"
    )

    def __post_init__(self) -> None:
        check_ranges(self)


class OnnxEngine:
    """The two graphs of a bundle in two inference sessions. Implements `core.engine.Engine`.

    Arrays go in and out by `InferenceSession.run`: binding them beforehand was measured on the CPU and saved
    less than 1 % of a call (best of 300, ViT-tiny at 128 and 256 px).
    """

    def __init__(self, folder: Path, manifest: Manifest, options: OnnxOptions | None = None) -> None:
        """Load the graphs and compare their signatures with the manifest.

        Raises:
            BundleError: a graph cannot be read, was changed, or is not what the manifest says.
            ValueError: the execution provider is not available.
            ImportError: onnxruntime is not installed.
        """
        self.spec = manifest.spec
        options = options or OnnxOptions()
        self._template = _open(folder, manifest.template, options)
        self._search = _open(folder, manifest.search, options)

        tensors = signature(manifest.spec)
        template_file, search_file = folder / manifest.template.file, folder / manifest.search.file
        _check(template_file, "input", self._template.get_inputs(), tensors.template_inputs)
        _check(template_file, "output", self._template.get_outputs(), tensors.template_outputs)
        _check(search_file, "input", self._search.get_inputs(), tensors.search_inputs)
        _check(search_file, "output", self._search.get_outputs(), tensors.search_outputs)

        self._state_names = [tensor.name for tensor in tensors.template_outputs]
        self._output_names = [tensor.name for tensor in tensors.search_outputs]

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        """(B, T, Hz, Wz, 3) RGB -> the state tensors, each with a leading axis B."""
        return tuple(self._template.run(self._state_names, {"templates": templates}))

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        """(B, Hx, Wx, 3) RGB and the states of the regions, in order -> maps."""
        inputs = dict(zip(self._state_names, joined(states), strict=True), search=search)
        score_map, box_map, *embedding = self._search.run(self._output_names, inputs)
        return SearchOutput(score_map, box_map, embedding[0] if embedding else None)

    def close(self) -> None:
        """Free the sessions; the engine is not used afterwards."""
        self._template = self._search = None


def _open(folder: Path, graph: Graph, options: OnnxOptions) -> InferenceSession:
    import onnxruntime  # not at the top: a robot that runs on TensorRT has no need of it

    provider, available = options.execution_provider, onnxruntime.get_available_providers()
    if provider not in available:
        raise ValueError(
            f"execution_provider = {provider!r} is not available: this onnxruntime has {', '.join(available)}"
        )
    content = graph.read(folder)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads or default_threads()
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    settings.log_severity_level = 3  # errors: its warnings are about optimisations it did not make
    try:
        session = onnxruntime.InferenceSession(content, settings, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise BundleError(f"{folder / graph.file} cannot be loaded by onnxruntime: {error}") from error
    if session.get_providers()[0] != provider:  # it falls back in silence
        raise ValueError(
            f"execution_provider = {provider!r} failed to start: onnxruntime fell back to "
            f"{session.get_providers()[0]}"
        )
    return session


def default_threads() -> int:
    """The processors that this process may use (not those of the machine), at most 4."""
    return min(4, len(os.sched_getaffinity(0)))


def _check(file: Path, side: str, found: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    """Compare the inputs or outputs of a session (in any order) with what the manifest says.

    Raises:
        BundleError: names, dtypes or shapes differ, or the batch axis is not dynamic.
    """
    names, wanted = sorted(node.name for node in found), sorted(spec.name for spec in expected)
    if names != wanted:
        raise BundleError(
            f"{file} has the {side}s {', '.join(names)}, but by the manifest they are {', '.join(wanted)}"
        )
    by_name = {node.name: node for node in found}
    for spec in expected:
        node = by_name[spec.name]
        if isinstance(node.shape[0] if node.shape else None, int):
            raise BundleError(
                f"{file}: {side} {spec.name} has a batch axis fixed at {node.shape[0]}: it must be dynamic"
            )
        dtype, shape = _DTYPES.get(node.type, node.type), tuple(node.shape[1:])
        # An exporter may leave a size of an output open; then the trial run at load compares it.
        fits = len(shape) == len(spec.shape) and all(
            size == wanted or (side == "output" and not isinstance(size, int))
            for size, wanted in zip(shape, spec.shape, strict=True)
        )
        if dtype != spec.dtype or not fits:
            raise BundleError(
                f"{file}: {side} {spec.name} is {dtype} {list(shape)} (without the batch axis), "
                f"but by the manifest it is {spec.dtype} {list(spec.shape)}"
            )
