"""Multiply-accumulate operations of a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Operator -> the places of its two factors among its inputs.
_FACTORS = {
    "MatMul": (0, 1),
    "Gemm": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
}


def count(file: Path) -> int:
    """Those of one target, in products of matrices and convolutions; shapes by ONNX's own inference.

    Raises:
        ImportError: the package onnx is not installed.
        ValueError: the shape of a factor cannot be known without running the graph.
    """
    import onnx  # a robot does without

    model = onnx.load(file)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for tensor in (*graph.input, *graph.value_info, *graph.output):
        shapes[tensor.name] = tuple(d.dim_value for d in tensor.type.tensor_type.shape.dim)
    return sum(_macs(node, shapes, file) for node in graph.node if node.op_type in _FACTORS)


def precision(file: Path) -> str:
    """The type that most of a graph's weights have: float32, float16, int8 ...

    Raises:
        ImportError: the package onnx is not installed.
    """
    import onnx

    sizes: dict[int, int] = {}
    for tensor in onnx.load(file).graph.initializer:
        sizes[tensor.data_type] = sizes.get(tensor.data_type, 0) + math.prod(tensor.dims)
    most = max(sizes, key=lambda kind: sizes[kind])
    return str(onnx.helper.tensor_dtype_to_np_dtype(most))


def _macs(node: Any, shapes: Mapping[str, tuple[int, ...]], file: Path) -> int:
    first, second = _FACTORS[node.op_type]
    left, right, result = (
        shapes.get(name, ()) for name in (node.input[first], node.input[second], node.output[0])
    )
    if not left or not right or 0 in (*left, *right, *result):
        raise ValueError(f"{file}: the shapes of {node.name} are not known before it runs")
    if "Conv" in node.op_type:
        return math.prod(result) * math.prod(right[1:])
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(result) * left[0 if transposed else -1]
