"""From a model's name to a tried engine, and what is said when it is not one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SPEC, Nodes, save_graph, search_nodes, template_nodes, write_tiny_bundle

from distill_tracker_ros.core.engine import Engine, SearchOutput, State
from distill_tracker_ros.runtime import load
from distill_tracker_ros.runtime.load import find_model, load_engine
from distill_tracker_ros.runtime.manifest import (
    BundleError,
    Graph,
    Manifest,
    read_manifest,
    signature,
    write_manifest,
)
from distill_tracker_ros.runtime.onnx_engine import OnnxEngine, OnnxOptions


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, with two models."""
    checkout = tmp_path / "checkout"
    monkeypatch.setattr(load, "__file__", str(checkout / "distill_tracker_ros" / "runtime" / "load.py"))
    monkeypatch.setitem(sys.modules, "ament_index_python.packages", None)  # no ROS
    for name in ("alpha", "beta"):
        write_tiny_bundle(checkout / "models" / name)
    (checkout / "models" / "notes").mkdir()  # not a bundle
    return checkout / "models"


def replace_graph(folder: Path, which: str, nodes: Nodes) -> Path:
    """Put another graph of the right signature into a bundle, with its digest."""
    tensors, file = signature(SPEC), folder / f"{which}.onnx"
    ends = {
        "template": (tensors.template_inputs, tensors.template_outputs),
        "search": (tensors.search_inputs, tensors.search_outputs),
    }
    save_graph(file, nodes, *ends[which])
    manifest = read_manifest(folder / "manifest.yaml")
    write_manifest(folder / "manifest.yaml", replace(manifest, **{which: Graph.of_file(file)}))
    return folder


def test_a_bundle_is_loaded_by_its_folder(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "mine")
    for way in (folder, str(folder)):
        engine = load_engine(way, options=OnnxOptions(intra_op_threads=1))
        assert engine.spec == SPEC
        engine.close()


def test_a_shipped_model_is_found_by_its_name(shipped: Path) -> None:
    assert find_model("alpha") == shipped / "alpha"
    assert load_engine("beta").spec.name == "tiny"


def test_auto_is_the_model_that_suits_the_processor(shipped: Path) -> None:
    for name in (load.ON_CPU, load.ON_GPU):
        write_tiny_bundle(shipped / name)
    assert find_model("auto") == shipped / load.ON_CPU
    assert find_model("auto", on_gpu=True) == shipped / load.ON_GPU
    assert find_model("alpha", on_gpu=True) == shipped / "alpha"


def test_an_unknown_model_is_answered_with_those_there_are(shipped: Path) -> None:
    for wrong in ("gamma", str(shipped / "notes")):
        with pytest.raises(BundleError, match=rf"no model '{wrong}': accepted are .*\(alpha, beta\)$"):
            find_model(wrong)


def test_without_any_model_the_answer_says_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: outside of a ROS environment ament's OSError came through."""
    monkeypatch.setattr(load, "__file__", str(tmp_path / "a" / "b" / "load.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(BundleError, match=r"no model 'x': .*\(none\)$"):
        find_model("x")


def test_installed_models_are_found_and_the_checkout_goes_first(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "install"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "distill_tracker_ros").touch()
    models = prefix / "share" / "distill_tracker_ros" / "models"
    for name in ("alpha", "installed"):
        write_tiny_bundle(models / name)
    monkeypatch.delitem(sys.modules, "ament_index_python.packages")
    pytest.importorskip("ament_index_python")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    assert find_model("installed") == models / "installed"
    assert find_model("alpha") == shipped / "alpha"


@pytest.mark.parametrize("graph", ["template", "search"])
def test_a_graph_that_was_changed_is_refused_with_both_digests(tmp_path: Path, graph: str) -> None:
    folder = write_tiny_bundle(tmp_path / "a")
    file = folder / f"{graph}.onnx"
    before = Graph.of_file(file).sha256[:12]
    file.write_bytes(file.read_bytes() + b"\0")
    after = Graph.of_file(file).sha256[:12]
    with pytest.raises(BundleError, match=rf"{graph}\.onnx has the sha256 {after}\.\.\., but .* {before}\."):
        load_engine(folder)


def test_a_graph_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "a")
    (folder / "search.onnx").unlink()
    with pytest.raises(BundleError, match=r"search\.onnx cannot be read: No such file"):
        load_engine(folder)


def test_an_unknown_backend_is_answered_with_the_accepted(tmp_path: Path) -> None:
    accepted = "accepted are auto, tensorrt, onnxruntime"
    with pytest.raises(ValueError, match=f"backend = 'abacus' is unknown: {accepted}"):
        load_engine(write_tiny_bundle(tmp_path / "a"), backend="abacus")


def test_without_onnxruntime_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_bundle(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="onnxruntime"):
        load_engine(folder)


# The trial run finds what no signature tells.


@pytest.mark.parametrize(
    ("graph", "tensor", "spoil", "reason"),
    [
        ("template", "state_0", ("Mul", np.float32([np.nan])), "state_0 with 6 of 6 values not finite"),
        ("search", "box_map", ("Mul", np.float32([np.inf])), "box_map with 256 of 256 values not finite"),
        ("search", "embedding", ("Mul", np.float32([1, np.nan, 1])), "embedding with 1 of 3 values not"),
        ("search", "score_map", ("Add", np.float32([1])), r"score_map from 1.* to [12].*: accepted is bet"),
        ("search", "score_map", ("Mul", np.float32([0])), "score_map from 0 to 0: accepted is between"),
    ],
)  # fmt: skip
def test_numbers_that_no_model_may_give_are_refused(
    tmp_path: Path, graph: str, tensor: str, spoil: tuple[str, np.ndarray], reason: str
) -> None:
    nodes = {"template": template_nodes, "search": search_nodes}[graph](SPEC)
    nodes.wrap(tensor, *spoil)
    folder = replace_graph(write_tiny_bundle(tmp_path / "a"), graph, nodes)
    with pytest.raises(BundleError, match=f"a trial run gave {reason}"):
        load_engine(folder)


def test_a_graph_that_drops_the_second_of_a_batch_is_refused(tmp_path: Path) -> None:
    """What an exporter makes of a size of one, when it takes the batch for a constant."""
    nodes = template_nodes(SPEC)
    nodes.wrap("state_0", "Slice", *(np.array([value]) for value in (0, 1, 0)))
    folder = replace_graph(write_tiny_bundle(tmp_path / "a"), "template", nodes)
    with pytest.raises(BundleError, match=r"state_0 of shape \[1, 2, 3\], but by .* it is \[2, 2, 3\]"):
        load_engine(folder)


def test_a_runtime_that_fails_on_the_trial_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxEngine.search

    def search(self: OnnxEngine, regions: np.ndarray, states: Sequence[State]) -> SearchOutput:
        if len(regions) == 2:
            raise RuntimeError("out of memory")
        return real(self, regions, states)

    monkeypatch.setattr(OnnxEngine, "search", search)
    folder = write_tiny_bundle(tmp_path / "a")
    with pytest.raises(BundleError, match=f"{folder}: a trial run with a batch of 2 failed: out of memory"):
        load_engine(folder)


# The choice of the backend.


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)


def test_auto_ends_on_the_cpu_and_says_why(tmp_path: Path, no_tensorrt: None) -> None:
    loaded = load.load(write_tiny_bundle(tmp_path / "a"), "auto", OnnxOptions(intra_op_threads=1))
    assert (loaded.backend, loaded.device) == ("onnxruntime", "CPUExecutionProvider")
    about_tensorrt, about_cuda = loaded.notes
    assert "tensorrt" in about_tensorrt.lower()
    assert "'CUDAExecutionProvider' is not available" in about_cuda
    loaded.engine.close()


def test_auto_takes_tensorrt_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What opens the bundle stands in for TensorRT; its engine is tried like every other."""
    from distill_tracker_ros.runtime.tensorrt import load as tensorrt_load

    def open_bundle(folder: Path, manifest: Manifest, *_: object, **__: object) -> tuple[Engine, str]:
        return OnnxEngine(folder, manifest), "a GPU"

    monkeypatch.setattr(tensorrt_load, "open_bundle", open_bundle)
    loaded = load.load(write_tiny_bundle(tmp_path / "a"), "auto")
    assert loaded[1:] == ("tensorrt", "a GPU", (), tmp_path / "a")

    def broken(*_: object, **__: object) -> None:
        raise ValueError("the driver is too old")

    monkeypatch.setattr(tensorrt_load, "open_bundle", broken)
    loaded = load.load(write_tiny_bundle(tmp_path / "b"), "auto")
    assert loaded.backend == "onnxruntime" and loaded.notes[0] == "the driver is too old"
    with pytest.raises(ValueError, match="the driver is too old"):
        load.load(write_tiny_bundle(tmp_path / "c"), "tensorrt")


def test_a_provider_that_is_asked_for_goes_before_cuda(tmp_path: Path, no_tensorrt: None) -> None:
    options = OnnxOptions(execution_provider="OtherExecutionProvider")
    loaded = load.load(write_tiny_bundle(tmp_path / "a"), "auto", options)
    assert loaded.device == "CPUExecutionProvider"
    assert "'OtherExecutionProvider' is not available" in loaded.notes[1]


def test_a_bundle_that_is_broken_is_so_on_every_backend(tmp_path: Path, no_tensorrt: None) -> None:
    folder = write_tiny_bundle(tmp_path / "a")
    (folder / "search.onnx").write_bytes(b"torn")
    with pytest.raises(BundleError, match="the file was changed or did not arrive whole"):
        load.load(folder, "auto")


def test_what_takes_over_is_the_same_model_on_the_cpu(tmp_path: Path) -> None:
    loaded = load.load(write_tiny_bundle(tmp_path / "a"), "onnxruntime")
    options = OnnxOptions(execution_provider="CUDAExecutionProvider", intra_op_threads=1)
    other = load.fallback(loaded._replace(backend="tensorrt", device="a GPU"), options)
    assert (other.backend, other.device, other.folder) == (
        "onnxruntime",
        "CPUExecutionProvider",
        tmp_path / "a",
    )
    assert other.engine is not loaded.engine and other.engine.spec == loaded.engine.spec
