"""A valid model bundle of a handful of nodes that really tracks: it follows the colour of its template.

For tests of the runtime, the nodes and the replay, which need a model but no trained weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import stub_engine
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from distill_tracker_ros.core.engine import ModelSpec, TensorSpec
from distill_tracker_ros.runtime.manifest import FILE_NAME, Graph, Manifest, signature, write_manifest

OPSET = 17
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}

SPEC = replace(stub_engine.SPEC, name="tiny", template_size=32, search_size=64, grid=8, window_weight=0.5)


def write_tiny_bundle(
    folder: Path, spec: ModelSpec = SPEC, template: Nodes | None = None, search: Nodes | None = None
) -> Path:
    """Make `folder` a model bundle for `spec` and return it.

    Without graphs of its own, `spec` must keep the form of SPEC's states.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = signature(spec)
    files = folder / "template.onnx", folder / "search.onnx"
    save_graph(files[0], template or template_nodes(spec), tensors.template_inputs, tensors.template_outputs)
    save_graph(files[1], search or search_nodes(spec), tensors.search_inputs, tensors.search_outputs)
    provenance = {"licence": "Apache-2.0", "data": "none", "seed": 0}
    template, search = (Graph.of_file(file) for file in files)
    write_manifest(folder / FILE_NAME, Manifest(spec, template, search, OPSET, provenance))
    return folder


class Nodes(list[onnx.NodeProto]):
    """Nodes in order, each made by a call that returns the name of its one output."""

    def __init__(self) -> None:
        super().__init__()
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str | NDArray[Any], to: str = "", **attributes: Any) -> str:
        """Append a node; an array among the inputs becomes a constant."""
        output = to or f"{operator}_{len(self)}"
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        self.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def wrap(self, name: str, operator: str, *inputs: NDArray[Any]) -> None:
        """Put one more operator behind the tensor `name`."""
        node = next(n for n in self if name in n.output)
        node.output[0] = f"{name}_before"
        self.add(operator, node.output[0], *inputs, to=name)

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def save_graph(
    file: Path,
    nodes: Nodes,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    batch: str | int = "B",
) -> None:
    """Write an ONNX file with a leading axis `batch` on every input and output."""
    infos = [
        [helper.make_tensor_value_info(t.name, _TYPES[t.dtype], [batch, *t.shape]) for t in tensors]
        for tensors in (inputs, outputs)
    ]
    graph = helper.make_graph(list(nodes), file.stem, *infos, initializer=nodes.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="tiny_bundle")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def _floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def template_nodes(spec: ModelSpec) -> Nodes:
    """state_0 = mean colour, 0..1, of the middle quarter of each slot."""
    n, size = Nodes(), spec.template_size
    pixels = _cast(n, "templates")
    first, last = size * 3 // 8, size * 5 // 8
    middle = n.add("Slice", pixels, _integers(first, first), _integers(last, last), _integers(2, 3))
    mean = n.add("ReduceMean", middle, axes=[2, 3], keepdims=0)
    n.add("Mul", mean, _floats(1 / 255), to="state_0")
    return n


def _cast(nodes: Nodes, name: str) -> str:
    nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
    return f"{name}_float"


def search_nodes(spec: ModelSpec) -> Nodes:
    """A soft mask of the pixels of slot 1's colour: its mean per cell is the score, its moments the box."""
    n, size, grid = Nodes(), spec.search_size, spec.grid
    pixels = n.add("Mul", _cast(n, "search"), _floats(1 / 255))  # B, S, S, 3
    first = n.add("Slice", "state_0", _integers(0), _integers(1), _integers(1))
    colour = n.add("Reshape", first, _integers(-1, 1, 1, 3))
    difference = n.add("Sub", pixels, colour)
    squared = n.add("ReduceSum", n.add("Mul", difference, difference), _integers(3), keepdims=1)
    # B, S, S, 1: half at a distance of 0.25 in colour (64 of 255), near 0 and 1 a little beside it.
    mask = n.add("Sigmoid", n.add("Mul", n.add("Sub", _floats(0.0625), squared), _floats(160.0)))
    plane = n.add("Reshape", mask, _integers(-1, 1, size, size))

    cells = n.add("AveragePool", plane, kernel_shape=[size // grid] * 2, strides=[size // grid] * 2)
    score = n.add("Clip", cells, np.float32(1e-4)[()], np.float32(1 - 1e-4)[()])
    n.add("Reshape", score, _integers(-1, grid, grid), to="score_map")

    total = n.add("Add", n.add("ReduceSum", mask, _integers(1, 2, 3), keepdims=1), _floats(1e-3))
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    means, sides = [], []
    for positions in (centres.reshape(1, 1, size, 1), centres.reshape(1, size, 1, 1)):
        mean = n.add("Div", n.add("ReduceSum", n.add("Mul", mask, positions), _integers(1, 2, 3)), total)
        offset = n.add("Sub", positions, mean)
        weighted = n.add("Mul", mask, n.add("Mul", offset, offset))
        variance = n.add("Div", n.add("ReduceSum", weighted, _integers(1, 2, 3)), total)
        # The variance of a uniform interval is its squared length / 12.
        sides.append(n.add("Sqrt", n.add("Add", n.add("Mul", variance, _floats(12)), _floats(1e-6))))
        means.append(mean)
    box = n.add("Concat", *means, *sides, axis=1)  # B, 4, 1, 1: the same box for every cell
    n.add("Add", box, np.zeros((1, 4, grid, grid), np.float32), to="box_map")

    if spec.embedding_size:
        colours = n.add("ReduceSum", n.add("Mul", pixels, mask), _integers(1, 2), keepdims=1)
        seen = n.add("Div", colours, total)
        vector = n.add("Add", n.add("Reshape", seen, _integers(-1, 3)), _floats(1e-3))
        n.add("LpNormalization", vector, axis=1, p=2, to="embedding")
    return n
