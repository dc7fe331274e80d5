"""The TensorRT engine on a GPU, with the shipped models; without one these tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_onnx_engine import random_crops

from distill_tracker_ros.core.engine import Engine, SearchOutput, State
from distill_tracker_ros.runtime import parity
from distill_tracker_ros.runtime.load import shipped_models, verified
from distill_tracker_ros.runtime.onnx_engine import OnnxEngine
from distill_tracker_ros.runtime.tensorrt import compat, cuda
from distill_tracker_ros.runtime.tensorrt.compat import TensorRtError
from distill_tracker_ros.runtime.tensorrt.cuda import CudaError
from distill_tracker_ros.runtime.tensorrt.engine import TensorRtEngine
from distill_tracker_ros.runtime.tensorrt.load import open_bundle
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

pytestmark = pytest.mark.gpu
MAX_TARGETS = 4


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    """Skip where no GPU answers, or none that this TensorRT compiles for."""
    try:
        device, trt = cuda.device(0), compat.find()
    except (CudaError, TensorRtError) as error:
        pytest.skip(str(error))
    name = "SM{}{}".format(*device.compute_capability)
    if compat.is_rtx(trt) and name not in trt.ComputeCapability.__members__:
        pytest.skip(f"TensorRT-RTX {trt.__version__} does not compile for {device.name} ({name})")


@pytest.fixture(scope="module")
def plans_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plans are built once for all tests."""
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(params=sorted(set(shipped_models()) - {"eatrack_nano_int8"}))  # which is for CPUs alone
def bundle(request: pytest.FixtureRequest) -> Path:
    return shipped_models()[request.param]


@pytest.fixture
def engine(bundle: Path, plans_folder: Path) -> Iterator[TensorRtEngine]:
    engine = load(bundle, plans_folder)
    yield engine
    engine.close()


def load(bundle: Path, plans_folder: Path, precision: str = "float32", **options: object) -> TensorRtEngine:
    chosen = TensorRtOptions(
        precision=precision,
        max_targets=MAX_TARGETS,
        cache_folder=str(plans_folder),
        **options,  # type: ignore[arg-type]
    )
    return open_bundle(*verified(bundle), chosen, print)[0]


def encode(engine: Engine, count: int) -> list[State]:
    spec = engine.spec
    crops = random_crops(count, spec.template_size, spec.template_slots)
    return [engine.encode_template(crops[i : i + 1]) for i in range(count)]


def largest_difference(found: SearchOutput, expected: SearchOutput) -> float:
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs if a is not None and b is not None)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6])
def test_float32_gives_what_onnx_runtime_gives(bundle: Path, engine: TensorRtEngine, batch: int) -> None:
    reference = OnnxEngine(*verified(bundle))
    states, expected = encode(engine, batch), encode(reference, batch)
    for turn in range(4):  # the later ones by a CUDA graph
        regions = random_crops(batch, engine.spec.search_size, seed=turn)
        found = engine.search(regions, states)
        assert largest_difference(found, reference.search(regions, expected)) < 1e-3
    reference.close()


@pytest.mark.parametrize("precision", ["model", "float16"])
def test_every_precision_passes_the_parity_gate(bundle: Path, plans_folder: Path, precision: str) -> None:
    engine, reference = load(bundle, plans_folder, precision), OnnxEngine(*verified(bundle))
    found = parity.compare(reference, engine, parity.reference_views())
    assert found.passed, found
    engine.close()
    reference.close()


def test_a_cuda_graph_changes_nothing(bundle: Path, engine: TensorRtEngine, plans_folder: Path) -> None:
    """Sizes take turns, so that a graph is replayed while the context is set to another size."""
    plain = load(bundle, plans_folder, cuda_graphs=False)
    states, plain_states = encode(engine, MAX_TARGETS), encode(plain, MAX_TARGETS)
    for turn, batch in enumerate([1, 2, 1, 2, 4, 1, 2, 4, 4, 1, 3, 1, 2] * 3):
        regions = random_crops(batch, engine.spec.search_size, seed=turn)
        first = turn % 3
        own = [(each * 2)[first : first + batch] for each in (states, plain_states)]
        found, expected = engine.search(regions, own[0]), plain.search(regions, own[1])
        assert largest_difference(found, expected) < 1e-5
    plain.close()


def test_states_stay_on_the_gpu(engine: TensorRtEngine) -> None:
    states = encode(engine, 2)
    for turn in range(5):
        before = engine.counts
        engine.search(random_crops(2, engine.spec.search_size), states)
        moved = engine.counts.device_copies - before.device_copies
        assert moved == (2 * len(engine.spec.states) if turn == 0 else 0)
        if not engine.device.integrated:
            assert engine.counts.uploaded_bytes - before.uploaded_bytes == 2 * 3 * engine.spec.search_size**2


def test_the_memory_of_the_gpu_does_not_grow(engine: TensorRtEngine) -> None:
    """1000 frames of one to four targets, with a template refreshed in every fifth."""
    spec, states = engine.spec, encode(engine, MAX_TARGETS)
    regions = random_crops(MAX_TARGETS, spec.search_size)
    template = random_crops(1, spec.template_size, spec.template_slots)

    def fly(frames: int) -> None:
        for turn in range(frames):
            if turn % 5 == 0:
                states[turn % MAX_TARGETS] = engine.encode_template(template)
            batch = 1 + turn % MAX_TARGETS
            engine.search(regions[:batch], states[:batch])

    fly(50)
    before, _ = cuda.free_memory()
    fly(1000)
    after, _ = cuda.free_memory()
    assert before - after <= 2 << 20  # other programs may use the GPU, too


def test_closing_gives_the_memory_back(bundle: Path, plans_folder: Path) -> None:
    load(bundle, plans_folder).close()  # what the libraries keep for themselves
    before, _ = cuda.free_memory()
    for _ in range(5):
        engine = load(bundle, plans_folder)
        engine.search(random_crops(2, engine.spec.search_size), encode(engine, 2))
        engine.close()
    after, _ = cuda.free_memory()
    assert before - after <= 4 << 20
