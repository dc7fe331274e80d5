"""A model bundle with an int8 search graph: static quantisation by ONNX Runtime.

What is quantised was found by measurement on eatrack_nano: the linear layers, which are most of the work.
In convolutions int8 moved boxes by pixels where the picture is nearly black, and saved little; products of
two activations (attention) became slower. The template graph stays in float32: it does not run every frame.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from .manifest import Manifest
from .onnx_engine import OnnxEngine
from .parity import Parity, View, cut
from .precision import converted, derive, onnx_needed
from .rewrite import copied, rewritten

if TYPE_CHECKING:
    from onnx import ModelProto

CARD = "README.md"

Feed = Mapping[str, np.ndarray[Any, Any]]  # input name -> array, B = 1


def quantise(
    folder: Path,
    manifest: Manifest,
    views: Iterable[View],
    calibration: str,
    output: Path,
    symmetric: bool = False,
    force: bool = False,
) -> Parity:
    """Write NAME_int8, a bundle whose search graph computes its linear layers in int8.

    Args:
        folder, manifest: the original.
        views: real pictures, some hundred, by which the ranges of the activations are set; read once.
        calibration: in words what they are, for the provenance.
        output: the new folder; nothing is written there if the parity gate refuses the result.
        symmetric: see `quantised`.
        force: write it even then.

    Returns:
        By how much the new bundle differs from the original on the reference views.

    Raises:
        BundleError: the graphs cannot be converted, or onnx is missing.
        ParityError: the new bundle does not give what the original gives.
        ValueError: there are no views.
    """
    spec = manifest.spec
    graphs = {file: rewritten(model) for file, model in converted(folder, manifest, "float32").items()}
    engine = OnnxEngine(folder, manifest)
    search = manifest.search.file
    graphs[search] = quantised(graphs[search], _feeds(engine, views), symmetric)
    engine.close()
    states = tuple(replace(state, dtype="float32") for state in spec.states)
    derived = replace(
        manifest,
        spec=replace(spec, name=f"{spec.name}_int8", states=states),
        provenance={**manifest.provenance, "quantised_from": spec.name, "calibration": calibration},
    )
    found = derive(folder, manifest, derived, graphs, output, force)
    (output / CARD).write_text(_card(folder, spec.name, calibration, found), encoding="utf-8")
    return found


def quantised(model: ModelProto, feeds: Iterator[Feed], symmetric: bool = False) -> ModelProto:
    """A float32 graph whose products with constant matrices are computed in int8, by Q/DQ pairs.

    Weights are int8 with a scale per column. Activations are uint8 with a zero point, which suits the
    one-sided outputs of GELU, or `symmetric`: int8 around zero, the only form that TensorRT reads, a little
    less exact. The products are not quantised again, so that each runs as one operator.

    Raises:
        ValueError: there are no feeds, or nothing to quantise.
    """
    with onnx_needed():
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Feed | None:
            return next(feeds, None)

    named, first = copied(model), next(feeds, None)
    for number, node in enumerate(named.graph.node):
        node.name = node.name or f"node_{number}"  # the quantiser knows nodes by their names
    constants = {tensor.name for tensor in named.graph.initializer}
    linear = [n.name for n in named.graph.node if n.op_type == "MatMul" and n.input[1] in constants]
    if not linear:
        raise ValueError("there is nothing to quantise: the graph has no product with a constant matrix")
    if first is None:
        raise ValueError("there are no pictures to calibrate with")
    feeds = chain([first], feeds)
    kinds = quantization.QuantType
    with TemporaryDirectory() as name, _quiet():
        prepared, output = Path(name) / "prepared.onnx", Path(name) / "int8.onnx"
        quant_pre_process(named, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            output,
            Reader(),
            per_channel=True,
            activation_type=kinds.QInt8 if symmetric else kinds.QUInt8,
            weight_type=kinds.QInt8,
            nodes_to_quantize=linear,
            extra_options={
                "ActivationSymmetric": symmetric,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
            },
        )
        return onnx.load(output)


def _feeds(engine: OnnxEngine, views: Iterable[View]) -> Iterator[Feed]:
    """What the search graph is given for each view, with the states of the float template graph."""
    names = [state.name for state in engine.spec.states]
    for view in views:
        crops = cut(view, engine.spec)
        states = (np.asarray(state, np.float32) for state in engine.encode_template(crops.templates[None]))
        yield {"search": crops.search[None], **dict(zip(names, states, strict=True))}


def _card(folder: Path, name: str, calibration: str, found: Parity) -> str:
    """The model card: what was done, and below it the card of the original."""
    head = (
        f"# {name}_int8\n\n{name} with the linear layers of its search graph in int8. Ranges from "
        f"{calibration}. On the reference views {found}.\n\nAll scores below are those of {name}.\n"
    )
    original = folder / CARD
    return f"{head}\n#{original.read_text(encoding='utf-8')}" if original.is_file() else head


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that the quantiser logs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
