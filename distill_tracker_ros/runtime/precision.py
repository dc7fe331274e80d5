"""A model bundle in another precision: the graphs are converted, what they mean stays.

Needs the Python package onnx, which is imported where it is used: a robot that converts nothing does without.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from . import parity
from .manifest import FILE_NAME, BundleError, Graph, Manifest, write_manifest
from .onnx_engine import OnnxEngine
from .parity import Parity
from .rewrite import copied

if TYPE_CHECKING:
    from onnx import ModelProto

# Their sums and squares leave the range of float16 (65504), or lose too much in it.
_KEPT_IN_FLOAT32 = ("Softmax", "LayerNormalization", "ReduceSum", "Sqrt")


@contextmanager
def onnx_needed() -> Iterator[None]:
    """Around an import of onnx, or of what is built on it.

    Raises:
        BundleError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise BundleError(
            f"to convert a model takes the Python packages onnx and onnxruntime ({error}): "
            "pip install onnx onnxruntime sympy, or use the model as it is"
        ) from error


def of_bundle(folder: Path, manifest: Manifest, precision: str, output: Path) -> Path:
    """Write a bundle in another precision, compared with the original.

    Args:
        folder, manifest: the original.
        precision: "float32" or "float16", of weights, activations and states.
        output: the new folder; made if missing.

    Returns:
        `output`.

    Raises:
        BundleError: the graphs cannot be converted, or onnx is missing.
        ParityError: they do not give what the original gives.
    """
    states = tuple(replace(state, dtype=precision) for state in manifest.spec.states)
    graphs = converted(folder, manifest, precision)
    derive(folder, manifest, replace(manifest, spec=replace(manifest.spec, states=states)), graphs, output)
    return output


def converted(folder: Path, manifest: Manifest, precision: str) -> dict[str, ModelProto]:
    """File name -> graph of a bundle in float32 or float16.

    Raises:
        BundleError: a graph cannot be read or is quantised, or onnx is missing.
    """
    with onnx_needed():
        import onnx
    states = [state.name for state in manifest.spec.states]
    graphs = {}
    for graph in (manifest.template, manifest.search):
        content = graph.read(folder)
        try:
            model = onnx.load_from_string(content)
        except Exception as error:  # protobuf's own
            raise BundleError(f"{folder / graph.file} cannot be read: {error}") from error
        found = precision_of(model)
        if found == "int8":
            raise BundleError(
                f"{folder / graph.file} is quantised to int8, which cannot be undone: "
                f"take the model that it was made from for {precision}"
            )
        if found != precision:
            model = to_float16(model, states) if precision == "float16" else to_float32(model)
        graphs[graph.file] = model
    return graphs


def derive(
    folder: Path,
    manifest: Manifest,
    derived: Manifest,
    graphs: Mapping[str, ModelProto],
    output: Path,
    force: bool = False,
) -> Parity:
    """Write a bundle with other graphs, if these give what the original gives.

    Args:
        folder, manifest: the original.
        derived: the new manifest; digests and parity are put in. Scores and the errors of the calibration are
            left out: they were measured with other graphs.
        graphs: file name -> graph.
        output: the new folder; nothing is written there if the graphs differ too much.
        force: write it even then.

    Returns:
        By how much they differ.

    Raises:
        ParityError: too much.
    """
    with onnx_needed():
        import onnx
    with TemporaryDirectory() as name:
        aside = Path(name)
        for file, model in graphs.items():
            onnx.save(model, aside / file)
        digests = [Graph.of_file(aside / graph.file) for graph in (manifest.template, manifest.search)]
        derived = replace(
            derived, template=digests[0], search=digests[1], scores={}, parity={}, calibrated=None
        )
        found = _compared((folder, manifest), (aside, derived))
        if not force:
            parity.check(found, derived.spec.name, "use the original")
        output.mkdir(parents=True, exist_ok=True)
        for file in graphs:
            shutil.copyfile(aside / file, output / file)
    write_manifest(output / FILE_NAME, replace(derived, parity=found.numbers))
    return found


def precision_of(model: ModelProto) -> str:
    """What the weights of a graph are: float32, float16 or int8."""
    from onnx import TensorProto

    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return "float16" if half else "float32"


def to_float16(model: ModelProto, states: Collection[str]) -> ModelProto:
    """A float32 graph in float16: weights, activations, and the inputs and outputs named in `states`.

    What else goes in and out, and what would leave the range of float16, stays in float32.
    """
    with onnx_needed():
        import onnx
        from onnxruntime.transformers import float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    names = [value.name for value in (*model.graph.input, *model.graph.output) if value.name not in states]
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_KEPT_IN_FLOAT32]
    halved: ModelProto = float16.convert_float_to_float16(
        _with_limits_of_half(model), keep_io_types=names, op_block_list=blocked
    )
    # A constant that two blocked nodes share is cast twice under one name: keep the first.
    once = {node.output[0]: node for node in reversed(halved.graph.node)}
    nodes = [node for node in halved.graph.node if once[node.output[0]] is node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    del halved.graph.value_info[:]  # types of before
    OnnxModel(halved).topological_sort()
    onnx.checker.check_model(halved, full_check=True)
    return halved


def _with_limits_of_half(model: ModelProto) -> ModelProto:
    """A copy whose upper limits are float16 rounded down: a score below 1 must not become 1."""
    from onnx import numpy_helper

    limited = copied(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in limited.graph.initializer}
    for node in limited.graph.node:
        if node.op_type == "Clip" and len(node.input) == 3 and node.input[2] in constants:
            limit = constants[node.input[2]]
            half = limit.astype(np.float16)
            half = np.where(half > limit, np.nextafter(half, np.float16(-np.inf)), half)
            name = f"{node.output[0]}_limit_of_half"
            limited.graph.initializer.append(numpy_helper.from_array(half.astype(limit.dtype), name))
            node.input[2] = name
    return limited


def to_float32(model: ModelProto) -> ModelProto:
    """A float16 graph in float32, whose weights are exactly the same numbers."""
    with onnx_needed():
        import onnx
        from onnx import TensorProto, numpy_helper
        from onnxruntime.transformers.onnx_model import OnnxModel

    def widen(tensor: onnx.TensorProto) -> None:
        if tensor.data_type == TensorProto.FLOAT16:
            wide = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))

    widened = copied(model)
    graph = widened.graph
    del graph.value_info[:]  # types of before
    for tensor in graph.initializer:
        widen(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    OnnxModel(widened).remove_useless_cast_nodes()
    onnx.checker.check_model(widened, full_check=True)
    return widened


def _compared(reference: tuple[Path, Manifest], candidate: tuple[Path, Manifest]) -> Parity:
    original, other = OnnxEngine(*reference), OnnxEngine(*candidate)
    found = parity.compare(original, other, parity.reference_views())
    original.close()
    other.close()
    return found
