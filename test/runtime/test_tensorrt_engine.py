"""The TensorRT engine on a fake GPU, whose plans are run by ONNX Runtime."""

from __future__ import annotations

import gc
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fake_tensorrt import Error, Gpu, plan, tensorrt
from synthetic import moving_square
from test_onnx_engine import halved_states, random_crops
from tiny_bundle import SPEC, save_graph, search_nodes, template_nodes, write_tiny_bundle

from distill_tracker_ros.core import boxes
from distill_tracker_ros.core.config import NoUpdate
from distill_tracker_ros.core.engine import Engine, ModelSpec, SearchOutput, State, TensorSpec
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.runtime.manifest import read_manifest, signature
from distill_tracker_ros.runtime.onnx_engine import OnnxEngine, OnnxOptions
from distill_tracker_ros.runtime.tensorrt import cuda
from distill_tracker_ros.runtime.tensorrt.compat import TensorRtError
from distill_tracker_ros.runtime.tensorrt.cuda import CudaError
from distill_tracker_ros.runtime.tensorrt.engine import TensorRtEngine
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

MAX_TARGETS = 4
STATE_BYTES = 2 * 3 * 4
CROP_BYTES = 64 * 64 * 3
MAP_BYTES = (8 * 8 + 4 * 8 * 8 + 3) * 4
TWO_STATES = TensorSpec("state_0", (1, 3), "float32"), TensorSpec("state_1", (3, 1, 1), "float16")
TWO_STATES_SPEC = replace(SPEC, template_slots=1, states=TWO_STATES, update=NoUpdate(), embedding_size=0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A GPU on which nothing is left in the end."""
    gpu = Gpu(integrated=request.param, devices=2)
    monkeypatch.setattr(cuda, "_runtime", lambda: gpu)
    yield gpu
    assert not gpu.live


@pytest.fixture
def trt(gpu: Gpu) -> ModuleType:
    return tensorrt(gpu)


@pytest.fixture
def engine(bundle: Path, trt: ModuleType) -> Iterator[TensorRtEngine]:
    engine = load(bundle, trt)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(bundle: Path) -> OnnxEngine:
    return onnx_engine(bundle)


def plans(
    bundle: Path, batches: tuple[int, int] = (1, MAX_TARGETS), open_outputs: bool = False
) -> tuple[bytes, bytes]:
    graphs = ((bundle / name).read_bytes() for name in ("template.onnx", "search.onnx"))
    template, search = (plan(graph, batches, open_outputs) for graph in graphs)
    return template, search


def load(
    bundle: Path, trt: ModuleType, max_targets: int = MAX_TARGETS, spec: ModelSpec = SPEC, **options: object
) -> TensorRtEngine:
    chosen = TensorRtOptions(max_targets=max_targets, **options)  # type: ignore[arg-type]
    return TensorRtEngine(plans(bundle, (1, max_targets)), spec, chosen, trt)


def onnx_engine(bundle: Path) -> OnnxEngine:
    return OnnxEngine(bundle, read_manifest(bundle / "manifest.yaml"), OnnxOptions(intra_op_threads=1))


def encode(engine: Engine, count: int, seed: int = 0) -> list[State]:
    """A state for each of `count` targets."""
    crops = random_crops(count, engine.spec.template_size, engine.spec.template_slots, seed=seed)
    return [engine.encode_template(crops[i : i + 1]) for i in range(count)]


def assert_equal(found: SearchOutput, expected: SearchOutput) -> None:
    for a, b in zip(found, expected, strict=True):
        if b is None:
            assert a is None
        else:
            assert a is not None and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 9])
def test_the_results_are_those_of_onnx_runtime(
    bundle: Path, trt: ModuleType, reference: OnnxEngine, graphs: bool, batch: int
) -> None:
    """Each call with other crops: what a graph replays must be what is there now."""
    engine = load(bundle, trt, cuda_graphs=graphs)
    for turn in range(4):
        states, expected_states = encode(engine, batch, turn), encode(reference, batch, turn)
        for state, expected in zip(states, expected_states, strict=True):
            np.testing.assert_array_equal(np.asarray(state[0]), expected[0])
        regions = random_crops(batch, 64, seed=100 + turn)
        assert_equal(engine.search(regions, states), reference.search(regions, expected_states))
    engine.close()


def test_a_state_of_several_rows_is_encoded_in_parts_and_gathered(
    engine: TensorRtEngine, reference: OnnxEngine
) -> None:
    templates, regions = random_crops(6, 32, 2), random_crops(7, 64, seed=1)
    state, expected = engine.encode_template(templates), reference.encode_template(templates)
    assert [(s.shape, s.dtype) for s in state] == [((6, 2, 3), np.float32)]
    np.testing.assert_allclose(np.asarray(state[0]), expected[0], atol=1e-6)
    one, expected_one = encode(engine, 1, 5), encode(reference, 1, 5)
    found = engine.search(regions, [*one, state])
    assert_equal(found, reference.search(regions, [*expected_one, expected]))


def test_several_states_of_unlike_shape_and_type(tmp_path: Path, trt: ModuleType) -> None:
    folder = write_tiny_bundle(tmp_path / "a", TWO_STATES_SPEC, *halved_states(TWO_STATES_SPEC))
    engine, reference = load(folder, trt, spec=TWO_STATES_SPEC), onnx_engine(folder)
    for turn in range(3):
        states, expected_states = encode(engine, 3, turn), encode(reference, 3, turn)
        for found, expected in zip(states[2], expected_states[2], strict=True):
            assert found.shape == expected.shape and found.dtype == expected.dtype
            np.testing.assert_array_equal(np.asarray(found), expected)
        regions = random_crops(3, 64, seed=turn)
        assert_equal(engine.search(regions, states), reference.search(regions, expected_states))
    engine.close()


def test_calls_of_changing_sizes_agree_with_and_without_graphs(
    bundle: Path, trt: ModuleType, gpu: Gpu
) -> None:
    """Sizes take turns, so that a graph is replayed while the context is set to another size."""
    engines = [load(bundle, trt, cuda_graphs=graphs) for graphs in (True, False)]
    states = [encode(engine, MAX_TARGETS) for engine in engines]
    for turn, batch in enumerate([1, 2, 1, 2, 4, 1, 2, 4, 4, 1, 3, 1, 2]):
        regions = random_crops(batch, 64, seed=turn)
        with_graph, without = (
            engine.search(regions, own[turn % 2 : turn % 2 + 1] * batch if turn % 3 else own[:batch])
            for engine, own in zip(engines, states, strict=True)
        )
        assert_equal(with_graph, without)
    recorded = sum(kind == "executable" for kind in gpu.live.values())
    assert recorded == 1 + 3  # encoding one; searching 1, 2 and 4: a size that came once is not recorded
    assert gpu.calls["cudaGraphLaunch"] == 2 + 3 + 2 + 1
    for engine in engines:
        engine.close()


def test_maps_are_the_callers_own(engine: TensorRtEngine) -> None:
    states = encode(engine, 1)
    first = engine.search(random_crops(1, 64, seed=1), states)
    kept = first.box_map.copy()
    engine.search(random_crops(1, 64, seed=2), states)
    np.testing.assert_array_equal(first.box_map, kept)


def test_states_never_travel_and_are_moved_only_when_they_changed(engine: TensorRtEngine, gpu: Gpu) -> None:
    a, b, c = encode(engine, 3)
    moves = []
    for turn, states in enumerate(
        [[a, b], [a, b], [a, b], [b, a], [b, a, c], [b, a, c], [c] * 4, [c] * 4, [c] * 2, [c, c, a]]
    ):
        before = engine.counts
        engine.search(random_crops(len(states), 64, seed=turn), states)
        made = engine.counts
        moves.append(made.device_copies - before.device_copies)
        assert made.device_bytes - before.device_bytes == moves[-1] * STATE_BYTES
        if gpu.integrated:
            assert (made.uploads, made.downloads) == (0, 0)
        else:
            assert made.uploads - before.uploads == 1
            assert made.uploaded_bytes - before.uploaded_bytes == len(states) * CROP_BYTES
            assert made.downloads - before.downloads == 3
            assert made.downloaded_bytes - before.downloaded_bytes == len(states) * MAP_BYTES
    assert moves == [2, 0, 0, 2, 1, 0, 3, 0, 0, 1]
    done = gpu.copied
    kinds = "HostToDevice", "DeviceToHost", "DeviceToDevice"
    counted = [done[f"cudaMemcpy{kind}{what}"] for kind in kinds for what in ("", " bytes")]
    assert list(engine.counts) == counted  # what was counted is what was done


def test_a_refreshed_template_is_searched_for(engine: TensorRtEngine, reference: OnnxEngine) -> None:
    """The new state may lie where the old one was."""
    regions = random_crops(1, 64)
    for seed in range(12):
        states = encode(engine, 1, seed)
        found = engine.search(regions, states)
        assert_equal(found, reference.search(regions, encode(reference, 1, seed)))
        del states


def test_nothing_is_left_or_allocated_after_a_thousand_targets(engine: TensorRtEngine, gpu: Gpu) -> None:
    held = encode(engine, MAX_TARGETS)
    region = random_crops(1, 64)
    engine.search(region, held[:1])
    gc.collect()
    live, allocations = dict(gpu.live), gpu.calls["cudaMalloc"]
    template = random_crops(1, 32, 2)
    for turn in range(1000):
        held[turn % MAX_TARGETS] = engine.encode_template(template)
        if turn % 50 == 0:
            engine.search(region, held[:1])
    assert gpu.calls["cudaMalloc"] == allocations
    assert {n: kind for n, kind in gpu.live.items() if kind != "executable"} == {
        n: kind for n, kind in live.items() if kind != "executable"
    }


def test_more_templates_than_targets_may_be_held(
    engine: TensorRtEngine, reference: OnnxEngine, gpu: Gpu
) -> None:
    before = gpu.calls["cudaMalloc"]
    states, expected = encode(engine, 3 * MAX_TARGETS), encode(reference, 3 * MAX_TARGETS)
    assert gpu.calls["cudaMalloc"] - before == 2  # blocks of MAX_TARGETS + 1, of which one was there
    regions = random_crops(len(states), 64)
    assert_equal(engine.search(regions, states), reference.search(regions, expected))
    del states
    states = encode(engine, 3 * MAX_TARGETS, seed=1)
    assert gpu.calls["cudaMalloc"] - before == 2
    expected = encode(reference, 3 * MAX_TARGETS, seed=1)
    assert_equal(engine.search(regions, states), reference.search(regions, expected))


def test_two_targets_are_flown_as_with_onnx_runtime(engine: TensorRtEngine, reference: OnnxEngine) -> None:
    sessions = [Session(each) for each in (engine, reference)]
    for n, (rgb, box) in enumerate(moving_square(40)):
        frame = ArrayFrame(rgb)
        if n == 0:
            for session in sessions:
                session.set_target(frame, box, 0)
        else:
            found, expected = (session.update(frame, n * 40_000_000)["1"] for session in sessions)
            np.testing.assert_allclose(found.box_xywh, expected.box_xywh, atol=1e-3)
            assert boxes.iou(found.box_xywh, box) > 0.7


def test_it_works_from_another_thread_and_on_another_gpu(bundle: Path, trt: ModuleType) -> None:
    """A thread begins with the first GPU, whatever the thread that made the engine uses."""
    engine = load(bundle, trt, device=1)
    cuda.use(0)
    results = []

    def call() -> None:
        for turn in range(3):
            results.append(engine.search(random_crops(1, 64, seed=turn), encode(engine, 1)))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(results) == 3
    engine.close()


def test_closing_frees_everything_in_order_and_may_be_repeated(
    bundle: Path, trt: ModuleType, gpu: Gpu
) -> None:
    engine = load(bundle, trt)
    states = encode(engine, 2)
    for _ in range(3):
        engine.search(random_crops(2, 64), states)
    engine.close()
    assert not gpu.live
    assert gpu.freed == ["context", "engine", "runtime"] * 2
    engine.close()
    with pytest.raises(TensorRtError, match="the engine is closed"):
        encode(engine, 1)
    with pytest.raises(TensorRtError, match="the engine is closed"):
        engine.search(random_crops(2, 64), states)
    with pytest.raises(TensorRtError, match="this state is gone: its engine is closed"):
        np.asarray(states[0][0])
    del states
    engine.close()


def test_a_state_of_another_engine_is_refused(
    bundle: Path, engine: TensorRtEngine, reference: OnnxEngine, trt: ModuleType
) -> None:
    other = load(bundle, trt)
    for stranger in (encode(other, 1), encode(reference, 1)):
        with pytest.raises(TensorRtError, match="this state is of another engine"):
            engine.search(random_crops(1, 64), stranger)
    with pytest.raises(TensorRtError, match="3 regions came with the states of 2"):
        engine.search(random_crops(3, 64), encode(engine, 2))
    other.close()


def test_a_state_is_not_had_on_the_host_without_a_copy(engine: TensorRtEngine) -> None:
    (tensor,) = encode(engine, 1)[0]
    assert np.asarray(tensor, np.float64).dtype == np.float64
    assert len(tensor) == 1
    with pytest.raises(ValueError, match="without a copy"):
        tensor.__array__(copy=False)


# What does not fit.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"template_size": 64}, "the template plan: input templates is UINT8 [-1, 2, 32, 32, 3], "
         "but by the manifest it is UINT8 [-1, 2, 64, 64, 3]"),
        ({"search_size": 128}, "the search plan: input search is UINT8 [-1, 64, 64, 3], but by the manifest"),
        ({"grid": 16}, "the search plan: output score_map is FLOAT [-1, 8, 8], but by the manifest it is"),
        ({"states": (TensorSpec("state_0", (2, 3), "float16"),)},
         "output state_0 is FLOAT [-1, 2, 3], but by the manifest it is HALF [-1, 2, 3]"),
        ({"states": (TensorSpec("state_0", (6,), "float32"),)}, "it is FLOAT [-1, 6]"),
        ({"states": (*SPEC.states, TensorSpec("state_1", (4,), "float32"))},
         "the template plan has the outputs state_0, but by the manifest they are state_0, state_1"),
        ({"embedding_size": 0, "update": NoUpdate()}, "the search plan has the outputs box_map, embedding, "
         "score_map, but by the manifest they are box_map, score_map"),
    ],
)  # fmt: skip
def test_a_plan_that_is_not_for_the_model_names_both_sides(
    bundle: Path, trt: ModuleType, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(TensorRtError, match=re.escape(reason)):
        load(bundle, trt, spec=replace(SPEC, **change))  # type: ignore[arg-type]


def test_a_plan_for_fewer_targets_names_both_numbers(bundle: Path, trt: ModuleType) -> None:
    for batches in ((1, 4), (2, 8)):
        sentence = (
            rf"was built for {batches[0]} to {batches[1]} rows of templates, but max_targets = 8 needs 1 to 8"
        )
        with pytest.raises(TensorRtError, match=sentence):
            TensorRtEngine(plans(bundle, batches), SPEC, TensorRtOptions(max_targets=8), trt)
    TensorRtEngine(plans(bundle, (1, 8)), SPEC, TensorRtOptions(max_targets=5), trt).close()


def test_a_closed_batch_axis_is_taken_for_one_target_alone(tmp_path: Path, trt: ModuleType) -> None:
    folder, tensors = write_tiny_bundle(tmp_path / "a"), signature(SPEC)
    ends = tensors.template_inputs, tensors.template_outputs
    save_graph(folder / "template.onnx", template_nodes(SPEC), *ends, batch=1)
    with pytest.raises(TensorRtError, match=re.escape("input templates is UINT8 [1, 2, 32, 32, 3], but by")):
        load(folder, trt)
    load(folder, trt, max_targets=1).close()


def test_sizes_that_a_plan_leaves_open_are_compared_before_it_runs(
    tmp_path: Path, bundle: Path, trt: ModuleType, gpu: Gpu, reference: OnnxEngine
) -> None:
    """An output that is larger than its memory would be written beyond it."""
    options, regions = TensorRtOptions(max_targets=MAX_TARGETS), random_crops(2, 64)
    engine = TensorRtEngine(plans(bundle, open_outputs=True), SPEC, options, trt)
    assert_equal(engine.search(regions, encode(engine, 2)), reference.search(regions, encode(reference, 2)))
    engine.close()
    nodes, tensors = search_nodes(SPEC), signature(SPEC)
    nodes.wrap("score_map", "Tile", np.array([1, 2, 1]))
    larger = TensorSpec("score_map", (16, 8), "float32"), *tensors.search_outputs[1:]
    folder = write_tiny_bundle(tmp_path / "a")
    save_graph(folder / "search.onnx", nodes, tensors.search_inputs, larger)
    engine = TensorRtEngine(plans(folder, open_outputs=True), SPEC, options, trt)
    states, runs = encode(engine, 2), gpu.runs
    with pytest.raises(TensorRtError, match=r"score_map of shape \[2, 16, 8\], but .* it is \[2, 8, 8\]"):
        engine.search(regions, states)
    assert gpu.runs == runs
    engine.close()


@pytest.mark.parametrize("which", [0, 1])
def test_a_plan_that_cannot_be_loaded_is_told_in_tensorrts_words(
    bundle: Path, trt: ModuleType, which: int
) -> None:
    given = list(plans(bundle))
    given[which] = given[which][4:]
    name = ("template", "search")[which]
    with pytest.raises(TensorRtError, match=f"the {name} plan cannot be loaded here: the magic tag is not"):
        TensorRtEngine((given[0], given[1]), SPEC, TensorRtOptions(max_targets=MAX_TARGETS), trt)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("create_execution_context", "the template plan cannot be run here: create_exec.* met cudaErrorMem"),
        (
            "set_tensor_address",
            "the template plan does not take the memory for templates: set_tensor_addr",
        ),
    ],
)
def test_what_tensorrt_refuses_at_load_is_told(
    bundle: Path, trt: ModuleType, gpu: Gpu, name: str, sentence: str
) -> None:
    gpu.fail(name)
    with pytest.raises(TensorRtError, match=sentence):
        load(bundle, trt)
    gc.collect()
    assert gpu.freed.count("engine") == 1


@pytest.mark.parametrize("name", ["cudaMalloc", "cudaHostAlloc"])
def test_too_little_memory_for_any_part_leaves_nothing(
    bundle: Path, trt: ModuleType, gpu: Gpu, name: str
) -> None:
    load(bundle, trt).close()
    needed = gpu.calls[name]
    assert needed >= 3
    for call in range(1, needed + 1):
        gpu.fail(name, call)
        with pytest.raises(CudaError, match="out of memory on the GPU"):
            load(bundle, trt)
        assert not gpu.live


# What fails in flight.


@pytest.mark.parametrize(
    ("name", "error", "batch", "sentence"),
    [
        ("cudaSetDevice", Error.cudaErrorInvalidDevice, 1, "searching failed on Fake GPU: CUDA failed with"),
        ("cudaMemcpyAsync", Error.cudaErrorLaunchFailure, 3, "searching failed on Fake GPU: CUDA failed"),
        ("cudaEventSynchronize", Error.cudaErrorMemoryAllocation, 1, "searching failed on Fake GPU: out of"),
        ("execute_async_v3", Error.cudaErrorMemoryAllocation, 1,
         "the search plan failed to run with a batch of 1: execute_async_v3 met cudaErrorMemoryAllocation"),
        ("set_input_shape", Error.cudaErrorInvalidValue, 3,
         "the search plan does not take search with a batch of 3: set_input_shape met cudaErrorInvalidValue"),
    ],
)  # fmt: skip
def test_an_error_in_flight_is_a_sentence_and_the_next_call_is_right(
    bundle: Path, trt: ModuleType, gpu: Gpu, reference: OnnxEngine,
    name: str, error: Error, batch: int, sentence: str,
) -> None:  # fmt: skip
    engine = load(bundle, trt, cuda_graphs=False)
    states, expected = encode(engine, 3), encode(reference, 3)
    engine.search(random_crops(1, 64), states[:1])
    gpu.fail(name, error=error)
    with pytest.raises(TensorRtError, match=sentence):
        engine.search(random_crops(batch, 64), states[-batch:])
    for turn in range(3):
        regions = random_crops(batch, 64, seed=turn)
        found = engine.search(regions, states[-batch:])
        assert_equal(found, reference.search(regions, expected[-batch:]))
    engine.close()


def test_a_template_that_cannot_be_encoded_takes_no_room(engine: TensorRtEngine, gpu: Gpu) -> None:
    encode(engine, 1)
    allocations = gpu.calls["cudaMalloc"]
    for _ in range(20):
        gpu.fail("cudaEventSynchronize", error=Error.cudaErrorLaunchFailure)
        with pytest.raises(TensorRtError, match="encoding templates failed on Fake GPU: CUDA failed"):
            encode(engine, 1)
        gc.collect()  # the error holds the call
    assert len(encode(engine, MAX_TARGETS)) == MAX_TARGETS
    assert gpu.calls["cudaMalloc"] == allocations


@pytest.mark.parametrize(
    "name",
    ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "execute_async_v3"],
)
def test_a_capture_that_fails_is_told_once_and_the_calls_go_on(
    bundle: Path, trt: ModuleType, gpu: Gpu, reference: OnnxEngine, name: str
) -> None:
    engine = load(bundle, trt)
    states, expected = encode(engine, 1), encode(reference, 1)
    told = []
    for turn in range(6):
        if turn == 1:
            # The run of this call comes before the one that is recorded.
            gpu.fail(name, 2 if name == "execute_async_v3" else 1, Error.cudaErrorStreamCaptureUnsupported)
        regions = random_crops(1, 64, seed=turn)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert_equal(engine.search(regions, states), reference.search(regions, expected))
        told += [str(warning.message) for warning in caught]
    assert len(told) == 1
    assert told[0].startswith(
        "the kernels of the search graph are launched one by one, without a CUDA graph: "
    )
    assert "cudaErrorStreamCaptureUnsupported" in told[0]
    assert gpu.calls["cudaGraphLaunch"] == 0
    engine.close()


def test_without_a_gpu_it_says_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(driver=0)
    monkeypatch.setattr(cuda, "_runtime", lambda: gpu)
    with pytest.raises(CudaError, match="no NVIDIA driver"):
        load(bundle, tensorrt(gpu))
