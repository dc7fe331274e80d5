"""A bundle in another precision."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from tiny_bundle import SPEC, Nodes, save_graph, search_nodes, write_tiny_bundle

from distill_tracker_ros.core.engine import TensorSpec
from distill_tracker_ros.runtime import precision
from distill_tracker_ros.runtime.load import load_engine, verified
from distill_tracker_ros.runtime.manifest import BundleError
from distill_tracker_ros.runtime.parity import ParityError
from distill_tracker_ros.runtime.precision import of_bundle, precision_of, to_float16, to_float32


def graph_of(nodes: Nodes, folder: Path) -> onnx.ModelProto:
    """x [B, 64] -> y [B, 64]."""
    file = folder / "graph.onnx"
    save_graph(file, nodes, (TensorSpec("x", (64,), "float32"),), (TensorSpec("y", (64,), "float32"),))
    return onnx.load(file)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def normalised(folder: Path) -> onnx.ModelProto:
    """Activations of some thousand, which float16 holds, and a normalisation, whose squares it does not."""
    n = Nodes()
    large = n.add("Mul", n.add("MatMul", "x", weights(64, 64)), np.float32([1000.0]))
    scale, bias = np.ones(64, np.float32), np.zeros(64, np.float32)
    n.add("LayerNormalization", large, scale, bias, to="y", axis=-1)
    return graph_of(n, folder)


def evaluate(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """By onnx's own definition of the operators, which computes in the types of the graph."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {"x": x})[0]


def test_normalisation_overflows_in_half_precision_and_so_stays_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = normalised(tmp_path), np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    expected = evaluate(model, x)
    np.testing.assert_allclose(evaluate(to_float16(model, ()), x), expected, atol=0.02)
    monkeypatch.setattr(precision, "_KEPT_IN_FLOAT32", ())
    halved = to_float16(model, ())
    assert not np.allclose(evaluate(halved, x), expected, atol=0.5)


def test_a_limit_of_half_precision_lies_inside_that_of_single(tmp_path: Path) -> None:
    """Scores end at 0.9999: rounded to float16 that would be 1, which no score may be."""
    n = Nodes()
    limited = n.add("Clip", "x", np.float32(1e-4)[()], np.float32(0.9999)[()])
    n.add("MatMul", limited, np.eye(64, dtype=np.float32), to="y")
    model, x = graph_of(n, tmp_path), np.float32([[-1.0, 2.0] * 32])
    found = evaluate(to_float16(model, ()), x)
    assert 0.99e-4 < found.min() < 1.01e-4 and 0.999 < found.max() < 0.9999
    assert evaluate(model, x).max() == np.float32(0.9999)


def test_weights_are_halved_and_only_the_states_go_in_and_out_in_half(tmp_path: Path) -> None:
    model = normalised(tmp_path)
    before = model.SerializeToString()
    halved = to_float16(model, ["x"])
    assert model.SerializeToString() == before
    assert (precision_of(model), precision_of(halved)) == ("float32", "float16")
    types = [value.type.tensor_type.elem_type for value in (*halved.graph.input, *halved.graph.output)]
    assert types == [TensorProto.FLOAT16, TensorProto.FLOAT]


def test_the_way_back_to_float32_keeps_the_weights_exactly(tmp_path: Path) -> None:
    halved = to_float16(normalised(tmp_path), ["x"])
    wide = to_float32(halved)
    types = {value.type.tensor_type.elem_type for value in (*wide.graph.input, *wide.graph.output)}
    assert types == {TensorProto.FLOAT} and precision_of(wide) == "float32"
    assert "Cast" not in {node.op_type for node in wide.graph.node}
    halves = [
        numpy_helper.to_array(t) for t in halved.graph.initializer if t.data_type == TensorProto.FLOAT16
    ]
    values = [numpy_helper.to_array(t) for t in wide.graph.initializer]
    assert halves and all(v.dtype == np.float32 for v in values)
    assert all(any(np.array_equal(half, value) for value in values) for half in halves)


def test_a_bundle_goes_to_half_and_back(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    half = of_bundle(*verified(bundle), "float16", tmp_path / "half")
    folder, manifest = verified(half)
    assert folder == tmp_path / "half"
    assert [state.dtype for state in manifest.spec.states] == ["float16"]
    assert 0 <= manifest.parity["box_px"] <= 1 and 0 <= manifest.parity["score"] <= 0.02
    assert not manifest.scores and manifest.provenance["licence"] == "Apache-2.0"
    whole = of_bundle(*verified(half), "float32", tmp_path / "whole")
    for each, dtype in ((half, "float16"), (whole, "float32")):
        engine = load_engine(each)
        assert replace(engine.spec, states=SPEC.states) == SPEC
        assert engine.spec.states[0].dtype == dtype
        engine.close()


def test_the_same_precision_is_a_copy(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    copy = of_bundle(*verified(bundle), "float32", tmp_path / "copy")
    assert verified(copy)[1].parity == {"box_px": 0.0, "score": 0.0}


def test_a_bundle_that_does_not_survive_is_not_written(tmp_path: Path) -> None:
    overflowing = search_nodes(SPEC)
    overflowing.wrap("box_map", "Mul", np.float32([1e6]))
    bundle = write_tiny_bundle(tmp_path / "tiny", search=overflowing)
    with pytest.raises(
        ParityError, match=r"^tiny does not give what the original gives: .*; use the original$"
    ):
        of_bundle(*verified(bundle), "float16", tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_without_onnx_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BundleError, match=r"pip install onnx onnxruntime"):
        of_bundle(*verified(bundle), "float16", tmp_path / "half")


def test_a_graph_that_was_changed_is_named(tmp_path: Path) -> None:
    folder, manifest = verified(write_tiny_bundle(tmp_path / "tiny"))
    (folder / "search.onnx").write_bytes(b"torn")
    with pytest.raises(BundleError, match=r"search\.onnx has the sha256"):
        of_bundle(folder, manifest, "float16", tmp_path / "half")
