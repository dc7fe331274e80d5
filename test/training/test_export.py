"""The contract between training and the drone: X-1, X-2, X-3, X-4, X-7, and the hygiene of the graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from training_samples import SMALL, pixels, small_student

from distill_tracker_ros.core.decode import hann_window, peak
from distill_tracker_ros.core.engine import Engine
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import read_manifest
from training.checkpoint import save_student
from training.export import export_bundle
from training.losses import boxes_at_peak
from training.models.eatrack import EATrackStudent, target_embedding
from training.models.layers import normalise

ALLOWED_DTYPES = {onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}


@pytest.fixture(scope="module")
def student() -> EATrackStudent:
    return small_student()


@pytest.fixture(scope="module", params=["float32", "float16"])
def bundle(
    request: pytest.FixtureRequest, student: EATrackStudent, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    file = save_student(folder, student, SMALL, {"steps": 0, "recipe": "test"})
    return export_bundle(
        file, "tiny", folder / "tiny", precision=request.param, data=["noise (public domain)"]
    )


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Engine:
    return load_engine(bundle)


def is_half(engine: Engine) -> bool:
    return engine.spec.states[0].dtype == "float16"


def test_the_graphs_equal_the_joint_pass_of_training(engine: Engine, student: EATrackStudent) -> None:
    """X-1 (1e-4 on boxes, 1e-5 on states), X-7 (float16: half a pixel at 256 px, 1e-2 on scores)."""
    templates, search = pixels(3, 2, 32, 32, 3, seed=5), pixels(3, 64, 64, 3, seed=6)
    with torch.inference_mode():
        (state,) = student.encode_template(normalise(templates))
        expected = student(normalise(templates), normalise(search))
    found_state = engine.encode_template(templates.numpy())
    found = engine.search(search.numpy(), [found_state])
    box_limit, score_limit, state_limit = (0.5 / 256, 1e-2, 2e-2) if is_half(engine) else (1e-4, 1e-4, 1e-5)
    assert np.abs(found_state[0] - state.numpy()).max() < state_limit
    assert np.abs(found.box_map - expected.maps.boxes.numpy()).max() < box_limit
    assert np.abs(found.score_map - expected.maps.score.numpy()).max() < score_limit
    assert np.abs(found.embedding - target_embedding(expected).numpy()).max() < score_limit


def test_the_drone_decodes_as_training_does(engine: Engine, student: EATrackStudent) -> None:
    """X-2: the same window, the same cell, the same box."""
    templates, search = pixels(1, 2, 32, 32, 3, seed=7), pixels(1, 64, 64, 3, seed=8)
    window = hann_window(SMALL.grid)
    with torch.inference_mode():
        maps = student(normalise(templates), normalise(search)).maps
        expected = boxes_at_peak(maps, torch.from_numpy(window.copy()))[0].numpy()
    found = engine.search(search.numpy(), [engine.encode_template(templates.numpy())])
    limit = 0.5 / 256 if is_half(engine) else 1e-4
    assert np.abs(peak(found.score_map[0], found.box_map[0], window).box_cxcywh - expected).max() < limit


def test_states_are_repeatable_and_know_no_search_region(engine: Engine) -> None:
    """X-3."""
    templates = pixels(1, 2, 32, 32, 3, seed=9).numpy()
    first = engine.encode_template(templates)[0]
    engine.search(pixels(1, 64, 64, 3, seed=10).numpy(), [(first,)])
    assert np.array_equal(first, engine.encode_template(templates)[0])


def test_the_graph_normalises_by_itself(student: EATrackStudent, engine: Engine) -> None:
    """X-4: bytes into the graph = normalised pixels into the module, by the formula written out."""
    if is_half(engine):
        pytest.skip("compared in float32")
    search = pixels(1, 64, 64, 3, seed=11)
    templates = pixels(1, 2, 32, 32, 3, seed=12)
    state = engine.encode_template(templates.numpy())
    by_hand = (search.numpy() / 255.0 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    image = torch.from_numpy(by_hand.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = student.search(image, torch.from_numpy(state[0])).maps.score.numpy()
    assert np.abs(engine.search(search.numpy(), [state]).score_map - expected).max() < 1e-4


def test_graphs_are_what_tensorrt_accepts(bundle: Path) -> None:
    """Opset 17, bytes go into Cast first, LayerNorm is one operator, no control flow, no shape arithmetic."""
    for file in ("template.onnx", "search.onnx"):
        graph = onnx.load(bundle / file)
        assert graph.opset_import[0].version == 17
        operators = {node.op_type for node in graph.graph.node}
        assert "LayerNormalization" in operators
        assert not operators & {
            "If",
            "Loop",
            "Scan",
            "Shape",
            "NonZero",
            "Attention",
            "RandomNormal",
            "Einsum",
        }
        for value in graph.graph.input:
            dims = value.type.tensor_type.shape.dim
            assert dims[0].dim_param == "batch" and all(d.dim_value > 0 for d in dims[1:])
            assert value.type.tensor_type.elem_type in ALLOWED_DTYPES
            if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
                users = {node.op_type for node in graph.graph.node if value.name in node.input}
                assert users == {"Cast"}


def test_the_manifest_says_where_the_model_comes_from(bundle: Path) -> None:
    manifest = read_manifest(bundle / "manifest.yaml")
    assert manifest.provenance["data"] == ["noise (public domain)"]
    assert manifest.provenance["recipe"] == "test" and manifest.provenance["training_commit"]
    assert set(manifest.parity) == {"seed", "states", "score_map", "box_map", "embedding"}


def test_batches_of_any_size_give_the_same_rows(engine: Engine) -> None:
    templates, search = pixels(5, 2, 32, 32, 3, seed=13).numpy(), pixels(5, 64, 64, 3, seed=14).numpy()
    state = engine.encode_template(templates)
    together = engine.search(search, [state])
    limit = 5e-3 if is_half(engine) else 1e-5
    for i in range(5):
        alone = engine.search(search[i : i + 1], [(state[0][i : i + 1],)])
        assert np.abs(alone.box_map[0] - together.box_map[i]).max() < limit
