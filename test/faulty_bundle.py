"""A tiny bundle whose search graph fails, or never returns, when it is shown a picture of a certain colour.

Real faults of a real engine: ONNX Runtime raises for an index out of range, and a loop of 2^40 rounds does
not end within a flight.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_bundle import SPEC, Nodes, search_nodes, write_tiny_bundle

FAILS = (255, 0, 255)
HANGS = (0, 255, 255)
_ROUNDS = 2**40


def picture(colour: tuple[int, int, int], width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """A picture that is all of this colour."""
    return np.full((height, width, 3), colour, np.uint8)


def write_faulty_bundle(folder: Path) -> Path:
    """Make `folder` a model bundle and return it."""
    nodes = search_nodes(SPEC)
    failing = nodes.add("Mul", _is_shown(nodes, FAILS), np.array([2]))
    found = nodes.add("Gather", np.ones(1, np.float32), failing)
    rounds = nodes.add("Mul", _is_shown(nodes, HANGS), np.array([_ROUNDS]))
    counted = nodes.add("Loop", rounds, np.array(True), np.ones(1, np.float32), body=_do_nothing())
    nodes.wrap("score_map", "Mul", nodes.add("Mul", found, counted))
    return write_tiny_bundle(folder, SPEC, search=nodes)


def _is_shown(nodes: Nodes, colour: tuple[int, int, int]) -> str:
    """An integer, shape (1,): 1 if the search regions are nearly all of this colour."""
    difference = nodes.add("Abs", nodes.add("Sub", "search_float", np.array(colour, np.float32)))
    mean = nodes.add("ReduceMean", difference, axes=[0, 1, 2, 3], keepdims=0)
    near = nodes.add("Less", mean, np.array(20.0, np.float32))
    return nodes.add("Where", near, np.array([1]), np.array([0]))


def _do_nothing() -> helper.GraphProto:
    """A body that hands its value on."""

    def info(name: str, kind: int, *shape: int) -> helper.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]) for name in ("go_on", "value")]
    inputs = [
        info("round", TensorProto.INT64),
        info("go_on_in", TensorProto.BOOL),
        info("value_in", TensorProto.FLOAT, 1),
    ]
    outputs = [info("go_on_out", TensorProto.BOOL), info("value_out", TensorProto.FLOAT, 1)]
    return helper.make_graph(nodes, "do_nothing", inputs, outputs)
