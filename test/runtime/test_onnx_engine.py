"""The ONNX Runtime engine on a bundle of a few nodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from synthetic import BLUE, draw_square, moving_square
from tiny_bundle import SPEC, Nodes, save_graph, search_nodes, template_nodes, write_tiny_bundle

from distill_tracker_ros.core import boxes
from distill_tracker_ros.core.config import NoUpdate
from distill_tracker_ros.core.engine import ModelSpec, TensorSpec
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import BundleError, Graph, Manifest, read_manifest, signature
from distill_tracker_ros.runtime.onnx_engine import OnnxEngine, OnnxOptions, default_threads


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def engine(bundle: Path) -> OnnxEngine:
    return OnnxEngine(bundle, read_manifest(bundle / "manifest.yaml"))


def random_crops(batch: int, size: int, *slots: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *slots, size, size, 3), np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_state_has_the_shapes_and_bytes_of_the_manifest(engine: OnnxEngine, batch: int) -> None:
    """X-10: the sum of the state's bytes is the manifest's."""
    state = engine.encode_template(random_crops(batch, 32, 2))
    assert [s.shape for s in state] == [(batch, *t.shape) for t in engine.spec.states]
    declared = sum(int(np.prod(t.shape)) * np.dtype(t.dtype).itemsize for t in engine.spec.states)
    assert sum(s.nbytes for s in state) == batch * declared


def test_a_row_of_a_batch_equals_the_row_alone(engine: OnnxEngine) -> None:
    templates, regions = random_crops(4, 32, 2), random_crops(4, 64, seed=1)
    together = engine.search(regions, [engine.encode_template(templates)])
    for k in range(4):
        alone = engine.search(regions[k : k + 1], [engine.encode_template(templates[k : k + 1])])
        for whole, row in zip(together, alone, strict=True):
            assert whole is not None and row is not None
            np.testing.assert_allclose(whole[k : k + 1], row, atol=1e-5)


def test_outputs_are_bound_by_name_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    tensors = signature(SPEC)
    folder = write_tiny_bundle(tmp_path / "a")
    manifest = read_manifest(folder / "manifest.yaml")
    expected = run_once(OnnxEngine(folder, manifest))
    save_graph(
        folder / "search.onnx",
        search_nodes(SPEC),
        tensors.search_inputs[::-1],
        tensors.search_outputs[::-1],
    )
    for a, b in zip(expected, run_once(OnnxEngine(folder, digested(folder))), strict=True):
        np.testing.assert_array_equal(a, b)


def digested(folder: Path) -> Manifest:
    """The manifest of a bundle with the digests of its graphs as they are now."""
    graphs = {name: Graph.of_file(folder / f"{name}.onnx") for name in ("template", "search")}
    return replace(read_manifest(folder / "manifest.yaml"), **graphs)


def run_once(engine: OnnxEngine) -> tuple[np.ndarray, ...]:
    state = engine.encode_template(random_crops(2, 32, 2))
    output = engine.search(random_crops(2, 64, seed=1), [state])
    assert output.embedding is not None
    return output.score_map, output.box_map, output.embedding


def test_it_tracks(engine: OnnxEngine) -> None:
    """The real engine under the real session, on a video with known boxes."""
    session = Session(engine)
    video = list(moving_square(80, out_of_view=range(40, 46)))
    session.set_target(ArrayFrame(video[0][0]), video[0][1], 0)
    for n, (rgb, true) in enumerate(video[1:], start=1):
        track = session.update(ArrayFrame(rgb), n * 40_000_000)["1"]
        if 40 <= n < 46:
            assert track.state is TrackState.UNCERTAIN
        else:
            assert track.state is TrackState.TRACKING
            assert boxes.iou(track.box_xywh, true) > 0.8


def test_a_model_without_embedding(tmp_path: Path) -> None:
    spec = replace(SPEC, embedding_size=0, update=NoUpdate(), template_slots=1)
    spec = replace(spec, states=(TensorSpec("state_0", (1, 3), "float32"),))
    folder = write_tiny_bundle(tmp_path / "a", spec)
    engine = OnnxEngine(folder, read_manifest(folder / "manifest.yaml"))
    state = engine.encode_template(random_crops(1, 32, 1))
    assert engine.search(random_crops(1, 64), [state]).embedding is None


@pytest.mark.parametrize("grid", [1, 8])
def test_several_states_and_one_box_a_search(tmp_path: Path, grid: int) -> None:
    """X-5, X-6: one slot, two states of unlike shape and type; read, loaded, and flown with two targets."""
    spec = replace(
        SPEC, grid=grid, embedding_size=0, update=NoUpdate(), template_slots=1, lost_threshold=0.01
    )
    states = TensorSpec("state_0", (1, 3), "float32"), TensorSpec("state_1", (3, 1, 1), "float16")
    spec = replace(spec, states=states, confidence_kind="peakedness")
    session = Session(load_engine(write_tiny_bundle(tmp_path / "a", spec, *halved_states(spec))))
    assert session.engine.spec == spec
    blue = list(moving_square(40, colour=BLUE, path=lambda n: (60 + 2 * n, 40)))
    for n, ((rgb, red_box), (_, blue_box)) in enumerate(zip(moving_square(40), blue, strict=True)):
        draw_square(rgb, blue_box, BLUE)
        if n == 0:
            for box in (red_box, blue_box):
                session.set_target(ArrayFrame(rgb), box, 0)
        else:
            tracks = session.update(ArrayFrame(rgb), n * 40_000_000)
            assert boxes.iou(tracks["1"].box_xywh, red_box) > 0.7
            assert boxes.iou(tracks["2"].box_xywh, blue_box) > 0.7


def halved_states(spec: ModelSpec) -> tuple[Nodes, Nodes]:
    """The graphs of a tiny bundle whose colour is the sum of two states."""
    template, search = template_nodes(spec), search_nodes(spec)
    template.wrap("state_0", "Mul", np.array([0.5], np.float32))
    column = template.add("Reshape", "state_0", np.array([-1, 3, 1, 1]))
    template.append(helper.make_node("Cast", [column], ["state_1"], to=TensorProto.FLOAT16))
    for node in search:
        node.input[:] = ["colour" if name == "state_0" else name for name in node.input]
    before = len(search)
    search.append(helper.make_node("Cast", ["state_1"], ["column"], to=TensorProto.FLOAT))
    search.add("Add", "state_0", search.add("Reshape", "column", np.array([-1, 1, 3])), to="colour")
    search[:] = search[before:] + search[:before]
    return template, search


def spec_with(**changes: object) -> Callable[[ModelSpec], ModelSpec]:
    return lambda spec: replace(spec, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            spec_with(template_size=64),
            r"template\.onnx: input templates is uint8 \[2, 32, 32, 3\] .*"
            r"by the manifest it is uint8 \[2, 64, 64, 3\]",
        ),
        (
            spec_with(search_size=128),
            r"search\.onnx: input search is uint8 \[64, 64, 3\] .*manifest it is uint8 \[128, 128, 3\]",
        ),
        (
            spec_with(grid=16),
            r"search\.onnx: output score_map is float32 \[8, 8\] .*manifest it is float32 \[16, 16\]",
        ),
        (
            spec_with(states=(TensorSpec("state_0", (2, 3), "float16"),)),
            r"output state_0 is float32 \[2, 3\] .*by the manifest it is float16 \[2, 3\]",
        ),
        (
            spec_with(states=(TensorSpec("state_0", (6,), "float32"),)),
            r"output state_0 is float32 \[2, 3\] .*by the manifest it is float32 \[6\]",
        ),
        (
            spec_with(states=(*SPEC.states, TensorSpec("state_1", (4,), "float32"))),
            r"template\.onnx has the outputs state_0, but by the manifest they are state_0, state_1",
        ),
        (
            spec_with(embedding_size=5),
            r"output embedding is float32 \[3\] .*by the manifest it is float32 \[5\]",
        ),
        (
            spec_with(embedding_size=0, update=NoUpdate()),
            r"search\.onnx has the outputs box_map, embedding, score_map, "
            r"but by the manifest they are box_map, score_map",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_its_graphs_names_both_sides(
    bundle: Path, change: Callable[[ModelSpec], ModelSpec], reason: str
) -> None:
    """X-6: an error at load, not a surprise in flight."""
    manifest = read_manifest(bundle / "manifest.yaml")
    with pytest.raises(BundleError, match=reason):
        OnnxEngine(bundle, replace(manifest, spec=change(manifest.spec)))


def test_a_batch_axis_that_is_fixed_is_refused(tmp_path: Path) -> None:
    folder, tensors = write_tiny_bundle(tmp_path / "a"), signature(SPEC)
    ends = tensors.template_inputs, tensors.template_outputs
    save_graph(folder / "template.onnx", template_nodes(SPEC), *ends, batch=1)
    with pytest.raises(BundleError, match=r"input templates has a batch axis fixed at 1: it must be dynamic"):
        OnnxEngine(folder, digested(folder))


@pytest.mark.parametrize("content", [b"", b"not a graph at all"])
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    folder = write_tiny_bundle(tmp_path / "a")
    (folder / "search.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"search\.onnx cannot be loaded by onnxruntime: "):
        OnnxEngine(folder, digested(folder))


@pytest.mark.parametrize("place", ["beside.bin", "../outside.bin", "/absolute/outside.bin"])
def test_weights_in_another_file_are_refused(tmp_path: Path, place: str) -> None:
    """The digest says nothing of that file, and its name may lead anywhere."""
    folder = write_tiny_bundle(tmp_path / "a")
    outside = folder / place.replace("/absolute", str(tmp_path))
    outside.write_bytes(bytes(64))
    model = onnx.load(folder / "search.onnx")
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [1, 1, 64, 1])
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place.replace("/absolute", str(tmp_path))
    (folder / "search.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"search\.onnx keeps weights in another file .*: export it as one"):
        OnnxEngine(folder, digested(folder))


def test_what_is_loaded_is_what_was_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged after it was read changes nothing: it is read once."""
    folder = write_tiny_bundle(tmp_path / "a")
    real = Path.read_bytes

    def read_and_exchange(path: Path) -> bytes:
        content = real(path)
        path.write_bytes(b"another one")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_exchange)
    load_engine(folder).close()


def test_a_provider_that_is_not_there_is_answered_with_those_that_are(bundle: Path) -> None:
    manifest = read_manifest(bundle / "manifest.yaml")
    options = OnnxOptions(execution_provider="AbacusExecutionProvider")
    with pytest.raises(ValueError, match=r"'AbacusExecutionProvider' is not available: .*CPUExec"):
        OnnxEngine(bundle, manifest, options)


def test_a_provider_that_falls_back_in_silence_is_noticed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime runs on the CPU when a provider does not start, and says so only in its log."""
    available = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    if "CUDAExecutionProvider" in available[:-1]:
        pytest.skip("this onnxruntime has CUDA")
    options = OnnxOptions(execution_provider="CUDAExecutionProvider")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(ValueError, match="'CUDAExecutionProvider' failed to start: .* fell back to CPU"),
    ):
        OnnxEngine(bundle, read_manifest(bundle / "manifest.yaml"), options)


@pytest.mark.parametrize("threads", [-1, 257])
def test_threads_out_of_range_are_named(threads: int) -> None:
    with pytest.raises(ValueError, match=rf"OnnxOptions\.intra_op_threads = {threads} is out of range"):
        OnnxOptions(intra_op_threads=threads)


@pytest.mark.parametrize(
    ("options", "threads", "spinning"),
    [
        (None, default_threads(), "0"),
        (OnnxOptions(intra_op_threads=3, spinning=True), 3, "1"),
    ],
)
def test_options_reach_the_sessions(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, options: OnnxOptions | None, threads: int, spinning: str
) -> None:
    seen = []
    real = onnxruntime.InferenceSession

    def spy(file: Path, settings: onnxruntime.SessionOptions, **more: object) -> object:
        seen.append(settings)
        return real(file, settings, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    OnnxEngine(bundle, read_manifest(bundle / "manifest.yaml"), options)
    assert len(seen) == 2
    for settings in seen:
        assert (settings.intra_op_num_threads, settings.inter_op_num_threads) == (threads, 1)
        assert settings.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == spinning


def test_the_default_threads_respect_the_processors_of_the_process() -> None:
    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(mine)})
        assert default_threads() == 1
    finally:
        os.sched_setaffinity(0, mine)


def test_closing_frees_the_sessions_and_may_be_repeated(bundle: Path) -> None:
    engine = OnnxEngine(bundle, read_manifest(bundle / "manifest.yaml"))
    engine.close()
    engine.close()
    with pytest.raises(AttributeError):
        engine.encode_template(random_crops(1, 32, 2))
