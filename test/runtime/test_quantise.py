"""int8 bundles, and the forms of a graph that runtimes execute faster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from linear_bundle import write_fragile_bundle, write_linear_bundle
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import OPSET, Nodes, write_tiny_bundle

from distill_tracker_ros.runtime.load import load_engine, verified
from distill_tracker_ros.runtime.manifest import BundleError
from distill_tracker_ros.runtime.parity import ParityError, reference_views
from distill_tracker_ros.runtime.precision import of_bundle
from distill_tracker_ros.runtime.quantise import quantise
from distill_tracker_ros.runtime.rewrite import halve_gelu_last, normalise_planes, rewritten


def test_linear_layers_are_quantised_and_nothing_else(tmp_path: Path) -> None:
    bundle = write_linear_bundle(tmp_path / "tiny")
    (bundle / "README.md").write_text("# tiny\n\nGood at colours.\n")
    found = quantise(*verified(bundle), reference_views(), "10 test views", tmp_path / "int8")
    assert found.passed
    folder, manifest = verified(tmp_path / "int8")
    assert manifest.spec.name == "tiny_int8"
    assert manifest.provenance["quantised_from"] == "tiny"
    assert manifest.provenance["calibration"] == "10 test views"
    assert manifest.provenance["licence"] == "Apache-2.0"
    assert manifest.parity == found.numbers
    card = (folder / "README.md").read_text()
    assert (
        card.startswith("# tiny_int8\n")
        and "10 test views" in card
        and "\n## tiny\n\nGood at colours.\n" in card
    )
    before, after = (operators(each / "search.onnx") for each in (bundle, folder))
    added = after - before
    assert set(added) <= {"QuantizeLinear", "DequantizeLinear"} and added["DequantizeLinear"] == 2
    assert operators(folder / "template.onnx") == operators(bundle / "template.onnx")
    engine = load_engine(folder)
    engine.close()


def test_symmetric_ranges_lie_around_zero(tmp_path: Path) -> None:
    bundle = verified(write_linear_bundle(tmp_path / "tiny"))
    for symmetric in (True, False):
        quantise(*bundle, reference_views(), "test views", tmp_path / "int8", symmetric)
        model = onnx.load(tmp_path / "int8" / "search.onnx")
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        zeros = [constants[node.input[2]] for node in pairs]
        assert all(zero.dtype == (np.int8 if symmetric else np.uint8) for zero in zeros)
        assert not symmetric or not any(zero.any() for zero in zeros)


def test_a_bundle_in_float16_is_quantised_from_float32(tmp_path: Path) -> None:
    half = of_bundle(*verified(write_linear_bundle(tmp_path / "tiny")), "float16", tmp_path / "half")
    quantise(*verified(half), reference_views(), "test views", tmp_path / "int8")
    assert [state.dtype for state in verified(tmp_path / "int8")[1].spec.states] == ["float32"]


def test_what_the_gate_refuses_is_written_only_by_force(tmp_path: Path) -> None:
    folder, manifest = verified(write_fragile_bundle(tmp_path / "tiny"))
    with pytest.raises(ParityError, match="tiny_int8 does not give what the original gives"):
        quantise(folder, manifest, reference_views(), "test views", tmp_path / "int8")
    assert not (tmp_path / "int8").exists()
    found = quantise(folder, manifest, reference_views(), "test views", tmp_path / "int8", force=True)
    assert not found.passed
    assert verified(tmp_path / "int8")[1].parity == found.numbers


def test_int8_is_not_undone(tmp_path: Path) -> None:
    bundle = write_linear_bundle(tmp_path / "tiny")
    quantise(*verified(bundle), reference_views(), "test views", tmp_path / "int8")
    with pytest.raises(BundleError, match=r"search\.onnx is quantised to int8, which cannot be undone: take"):
        of_bundle(*verified(tmp_path / "int8"), "float16", tmp_path / "half")


def test_without_linear_layers_or_views_there_is_nothing_to_do(tmp_path: Path) -> None:
    bare = verified(write_tiny_bundle(tmp_path / "bare"))
    with pytest.raises(ValueError, match="nothing to quantise"):
        quantise(*bare, reference_views(), "", tmp_path / "int8")
    with pytest.raises(ValueError, match="no pictures to calibrate with"):
        quantise(*verified(write_linear_bundle(tmp_path / "tiny")), [], "", tmp_path / "int8")


def operators(file: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(file).graph.node)


# Forms that runtimes execute faster.


def exported(slots: bool = False) -> onnx.ModelProto:
    """Pixels (B, 8, 8, 3), or (B, 2, 8, 8, 3), normalised to planes, then GELU as PyTorch exports it."""
    n = Nodes()
    n.append(helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT))
    unit = n.add("Div", "floats", np.float32(255)[()])
    centred = n.add("Sub", unit, np.float32([0.5, 0.4, 0.3]))
    perm = [0, 1, 4, 2, 3] if slots else [0, 3, 1, 2]
    planes = n.add("Transpose", n.add("Div", centred, np.float32([0.2, 0.3, 0.4])), perm=perm)
    erf = n.add("Erf", n.add("Div", planes, np.float32(2**0.5)[()]))
    half = n.add("Mul", np.float32(0.5)[()], n.add("Add", erf, np.float32(1)[()]))
    n.add("Mul", planes, half, to="y")
    shape = ["B", *([2] if slots else [])]
    ends = [("pixels", TensorProto.UINT8, [*shape, 8, 8, 3]), ("y", TensorProto.FLOAT, [*shape, 3, 8, 8])]
    source, result = ([helper.make_tensor_value_info(*end)] for end in ends)
    graph = helper.make_graph(list(n), "exported", source, result, initializer=n.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def run(model: onnx.ModelProto, pixels: np.ndarray, fused: Path | None = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if fused:
        options.optimized_model_filepath, options.log_severity_level = str(fused), 3
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"pixels": pixels})[0]


@pytest.mark.parametrize("slots", [False, True])
def test_the_faster_form_gives_the_same_bits(slots: bool) -> None:
    model = exported(slots)
    before = model.SerializeToString()
    faster = rewritten(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(faster, full_check=True)
    shape = (3, 2, 8, 8, 3) if slots else (3, 8, 8, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(run(faster, pixels), run(model, pixels))
    names = [node.op_type for node in faster.graph.node]
    assert names[:2] == ["Cast", "Transpose"], "TensorRT wants the Cast first"
    assert faster.graph.node[-1].input[1] in {tensor.name for tensor in faster.graph.initializer}


def test_the_runtime_fuses_gelu_in_that_form_only(tmp_path: Path) -> None:
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    for model, fused in ((exported(), 0), (rewritten(exported()), 1)):
        run(model, pixels, tmp_path / "fused.onnx")
        assert operators(tmp_path / "fused.onnx")["Gelu"] == fused


def test_what_is_in_that_form_already_is_left_alone() -> None:
    faster = rewritten(exported())
    assert (halve_gelu_last(faster), normalise_planes(faster)) == (0, 0)
