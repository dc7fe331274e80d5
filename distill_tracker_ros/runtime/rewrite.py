"""The same graph in a form that runtimes execute faster: other orders of operators, the same numbers.

ONNX Runtime fuses GELU in some of the orders in which it can be written, but not in that of PyTorch's
exporter; and it is slow where three numbers, one a colour, are broadcast along the last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def rewritten(model: ModelProto) -> ModelProto:
    """A copy in which what is recognised has the faster form; all else stays as it is."""
    copy = copied(model)
    halve_gelu_last(copy)
    normalise_planes(copy)
    return copy


def copied(model: ModelProto) -> ModelProto:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def halve_gelu_last(model: ModelProto) -> int:
    """x * (0.5 * (1 + erf)) -> (x * (1 + erf)) * 0.5, which is exact; how many there were."""
    producers = _producers(model)

    def made_by(name: str, operator: str) -> NodeProto | None:
        node = producers.get(name)
        return node if node and node.op_type == operator else None

    count = 0
    for sum_ in [node for node in model.graph.node if node.op_type == "Add"]:
        if not any(made_by(name, "Erf") for name in sum_.input):
            continue
        halves = _consumers(model, sum_.output[0])
        gelus = _consumers(model, halves[0].output[0]) if len(halves) == 1 else []
        if [node.op_type for node in (*halves, *gelus)] != ["Mul", "Mul"]:
            continue
        (half,), (gelu,) = halves, gelus
        factor = _other(half, sum_.output[0])
        if factor not in {tensor.name for tensor in model.graph.initializer}:
            continue
        x = _other(gelu, half.output[0])
        half.input[:] = [x, sum_.output[0]]
        gelu.input[:] = [half.output[0], factor]
        count += 1
    return count


def normalise_planes(model: ModelProto) -> int:
    """Cast, arithmetic with a number or one a colour, Transpose to planes -> Transpose before arithmetic.

    Returns:
        How many there were.
    """
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes, count = list(model.graph.node), 0
    for cast in [node for node in nodes if node.op_type == "Cast"]:
        chain, following = [], _consumers(model, cast.output[0])
        while (
            len(following) == 1
            and following[0].op_type in ("Add", "Sub", "Mul", "Div")
            and following[0].input[1] in constants
            and constants[following[0].input[1]].shape in ((), (1,), (3,))
        ):
            chain += following
            following = _consumers(model, chain[-1].output[0])
        if not chain or [node.op_type for node in following] != ["Transpose"]:
            continue
        (transpose,) = following
        axes = list(transpose.attribute[0].ints)
        if axes != [*range(len(axes) - 3), len(axes) - 1, len(axes) - 3, len(axes) - 2]:
            continue
        planes = transpose.output[0]
        transpose.input[0], transpose.output[0] = cast.output[0], f"{planes}_of_pixels"
        chain[0].input[0], chain[-1].output[0] = transpose.output[0], planes
        for node in chain:
            if (value := constants[node.input[1]]).shape == (3,):
                name = f"{node.input[1]}_of_planes"
                model.graph.initializer.append(numpy_helper.from_array(value.reshape(3, 1, 1), name))
                node.input[1] = name
        nodes.remove(transpose)
        nodes.insert(nodes.index(cast) + 1, transpose)
        count += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if count:
        del model.graph.value_info[:]  # shapes of before
        used = {name for node in nodes for name in node.input}
        unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
        for tensor in unused:
            model.graph.initializer.remove(tensor)
    return count


def _producers(model: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _consumers(model: ModelProto, name: str) -> list[NodeProto]:
    return [node for node in model.graph.node if name in node.input]


def _other(node: NodeProto, name: str) -> str:
    """The input of a binary node that is not `name`."""
    first, second = node.input
    return str(second if first == name else first)
