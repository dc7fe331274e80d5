"""Building: what TensorRT is told, what it says when it cannot, and with the real library, shipped models."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from linear_bundle import write_linear_bundle
from onnx import TensorProto, helper
from tensorrt_versions import VERSIONS, Recorded

from distill_tracker_ros.runtime.load import verified
from distill_tracker_ros.runtime.parity import reference_views
from distill_tracker_ros.runtime.quantise import quantise
from distill_tracker_ros.runtime.tensorrt import cuda
from distill_tracker_ros.runtime.tensorrt.builder import BuildCancelled, Phases, build_plan
from distill_tracker_ros.runtime.tensorrt.compat import TensorRtError
from distill_tracker_ros.runtime.tensorrt.cuda import CudaError
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

MODELS = Path(__file__).parents[2] / "models"
FOR_CPUS = MODELS / "eatrack_nano_int8" / "search.onnx"
GRAPHS = sorted(graph for graph in MODELS.glob("*/*.onnx") if graph != FOR_CPUS)
OPTIONS = TensorRtOptions(workspace_mb=64, optimisation_level=1)
PROGRESSING = [version for version in VERSIONS if version != "8.6"]


@pytest.fixture(autouse=True)
def gpus_used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    used: list[int] = []
    monkeypatch.setattr(cuda, "use", used.append)
    return used


def in_phases(result: bytes | None) -> Callable[[Recorded], bytes | None]:
    """A build in two phases, one within the other, that stops when it is told to."""

    def build(trt: Recorded) -> bytes | None:
        monitor = trt.config.progress_monitor
        monitor.phase_start("all", None, 2)
        monitor.phase_start("part", "all", 4)
        for step in range(4):
            if not monitor.step_complete("part", step):
                return None
        monitor.phase_finish("part")
        monitor.step_complete("all", 0)
        monitor.step_complete("all", 1)
        monitor.phase_finish("all")
        return result

    return build


@pytest.mark.parametrize("version", VERSIONS)
def test_the_profile_reaches_from_one_target_to_all(version: str, gpus_used: list[int]) -> None:
    trt = Recorded(version, shape=(-1, 32, 3))
    build_plan(trt, b"graph", 6, TensorRtOptions(device=2))
    expected = (1, 32, 3), (1, 32, 3), (6, 32, 3)
    assert trt.profile == {"search": expected, "state_0": expected}
    assert trt.config.builder_optimization_level == 3
    assert trt.cleared == []  # TF32 is left to TensorRT
    assert gpus_used == [2]


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (-1, -1, 64, 3)])
def test_an_input_whose_shape_no_profile_fits_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        TensorRtError, match=r"input search has the shape \[.*\]: its first axis must be open"
    ):
        build_plan(Recorded("10.3", shape=shape), b"graph", 4, OPTIONS)


@pytest.mark.parametrize(
    ("given", "tried", "kept"),
    [
        (b"", [b""], b"measured "),
        (b"good", [b"good"], b"measured good"),
        (b"junk", [b"junk", b""], b"measured "),  # TensorRT makes nothing of it
        (b"foreign", [b"foreign", b""], b"measured "),  # it refuses it
    ],
)
@pytest.mark.parametrize("version", ["8.6", "10.3", "11.1"])
def test_a_timing_cache_is_used_if_it_fits(
    version: str, given: bytes, tried: list[bytes], kept: bytes
) -> None:
    trt = Recorded(version)
    assert build_plan(trt, b"graph", 4, OPTIONS, timing_cache=given).timing_cache == kept
    assert trt.timings == tried


def test_rtx_keeps_no_timing_cache() -> None:
    trt = Recorded("RTX 1.7")
    assert build_plan(trt, b"graph", 4, OPTIONS, timing_cache=b"good").timing_cache == b""
    assert trt.timings == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_operator_that_is_not_supported_is_told_in_the_parsers_words(version: str) -> None:
    trt = Recorded(
        version, errors=["In node 3 with name: x and operator: Foo:\n UNSUPPORTED_NODE", "and more"]
    )
    with pytest.raises(
        TensorRtError, match="cannot read the graph: In node 3 .*: UNSUPPORTED_NODE; and more"
    ):
        build_plan(trt, b"graph", 4, OPTIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_without_a_result_is_told_in_tensorrts_words(version: str) -> None:
    def fail(trt: Recorded) -> None:
        trt.log.log(1, "[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)")

    with pytest.raises(TensorRtError, match=r"cannot build a plan: .*Cuda Runtime \(out of memory\)$"):
        build_plan(Recorded(version, build=fail), b"graph", 4, OPTIONS)


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError, TypeError])
def test_what_the_bindings_raise_is_told_likewise(kind: type[Exception]) -> None:
    def fail(trt: Recorded) -> None:
        trt.log.log(0, "no memory")
        raise kind("factory function returned nullptr")

    with pytest.raises(
        TensorRtError, match="cannot build a plan: no memory; factory function returned nullptr"
    ):
        build_plan(Recorded("10.3", build=fail), b"graph", 4, OPTIONS)


def test_errors_of_an_earlier_build_are_forgotten() -> None:
    trt = Recorded("10.3", build=lambda trt: trt.log.log(1, "the first"))
    with pytest.raises(TensorRtError, match="the first"):
        build_plan(trt, b"graph", 4, OPTIONS)
    trt._build = lambda trt: None
    with pytest.raises(TensorRtError, match="it gave no reason"):
        build_plan(trt, b"graph", 4, OPTIONS)


@pytest.mark.parametrize("version", PROGRESSING)
def test_progress_is_that_of_the_whole(version: str) -> None:
    told: list[tuple[str, float]] = []
    trt = Recorded(version, build=in_phases(b"plan"))
    build_plan(trt, b"graph", 4, OPTIONS, progress=lambda *each: told.append(each))
    parts = [("part", share) for share in (0.125, 0.25, 0.375, 0.5)]
    assert told == [*parts, ("all", 0.5), ("all", 1.0)]


def test_progress_never_falls_and_bears_what_it_was_not_told() -> None:
    phases = Phases()
    assert phases.step("unheard of", 3) == 0.0
    phases.start("all", None, 4)
    for name in ("first", "second"):
        phases.start(name, "all", 2)
    assert phases.step("first", 1) == 0.25
    phases.finish("first")
    assert phases.step("second", 0) == 0.25
    assert phases.step("all", 1) == 0.5


@pytest.mark.parametrize("version", PROGRESSING)
def test_a_build_can_be_cancelled(version: str) -> None:
    told: list[float] = []
    with pytest.raises(BuildCancelled):
        build_plan(
            Recorded(version, build=in_phases(b"plan")),
            b"graph",
            4,
            OPTIONS,
            progress=lambda phase, share: told.append(share),
            cancelled=lambda: len(told) >= 2,
        )
    assert len(told) == 2


def test_an_error_of_the_one_who_is_told_of_progress_ends_the_build() -> None:
    """TensorRT would end the process."""

    def progress(phase: str, share: float) -> None:
        raise OSError("no terminal")

    with pytest.raises(OSError, match="no terminal"):
        build_plan(Recorded("10.3", build=in_phases(b"plan")), b"graph", 4, OPTIONS, progress=progress)


def test_an_interrupt_stops_the_build_and_waits_for_its_end() -> None:
    ended = threading.Event()

    def build(trt: Recorded) -> None:
        main = threading.main_thread().ident
        while "result" not in [
            f.f_code.co_name for f, _ in traceback.walk_stack(sys._current_frames()[main])
        ]:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        while trt.config.progress_monitor.step_complete("all", 0):
            pass
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        build_plan(Recorded("10.3", build=build), b"graph", 4, OPTIONS)
    assert ended.is_set()


def test_without_a_gpu_the_error_is_that_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def use(index: int) -> None:
        raise CudaError("no NVIDIA driver")

    monkeypatch.setattr(cuda, "use", use)
    with pytest.raises(CudaError, match="no NVIDIA driver"):
        build_plan(Recorded("10.3"), b"graph", 4, OPTIONS)


# The real library, which compiles for GPUs that are not here.

AHEAD: dict[str, Any] = {"compute_capabilities": [(8, 6), (8, 9)]}


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX (requirements/test.txt has it)")


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: f"{graph.parent.name}-{graph.stem}")
def test_a_shipped_model_compiles(rtx: Any, graph: Path) -> None:
    content = graph.read_bytes()
    shares: list[float] = []
    built = build_plan(rtx, content, 4, OPTIONS, progress=lambda phase, share: shares.append(share), **AHEAD)
    assert len(built.plan) > len(content) / 2
    assert shares == sorted(shares)
    assert 0.8 < shares[-1] <= 1


def test_int8_with_zero_points_is_for_cpus_alone(rtx: Any) -> None:
    with pytest.raises(TensorRtError, match="Non-zero zero point is not supported"):
        build_plan(rtx, FOR_CPUS.read_bytes(), 4, OPTIONS, **AHEAD)


def test_symmetric_int8_compiles(rtx: Any, tmp_path: Path) -> None:
    bundle = verified(write_linear_bundle(tmp_path / "tiny"))
    quantise(*bundle, reference_views(), "test views", tmp_path / "int8", symmetric=True)
    content = (tmp_path / "int8" / "search.onnx").read_bytes()
    assert build_plan(rtx, content, 4, OPTIONS, **AHEAD).plan


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no graph at all", "cannot read the graph: .*Failed to parse the ONNX model"),
        (b"", "cannot build a plan: .*Network must have at least one output"),
    ],
)
def test_a_file_that_is_no_graph_is_told_in_tensorrts_words(rtx: Any, content: bytes, reason: str) -> None:
    with pytest.raises(TensorRtError, match=reason):
        build_plan(rtx, content, 4, OPTIONS, **AHEAD)


def test_a_real_operator_that_is_not_supported_is_named(rtx: Any) -> None:
    with pytest.raises(TensorRtError, match=r"cannot read the graph: .*operator: Det\b"):
        build_plan(rtx, one_operator("Det", ["B", 3, 3], ["B"]), 4, OPTIONS, **AHEAD)


def test_a_real_build_can_be_cancelled(rtx: Any) -> None:
    graph = one_operator("Relu", ["B", 3], ["B", 3])
    with pytest.raises(BuildCancelled):
        build_plan(rtx, graph, 4, OPTIONS, cancelled=lambda: True, **AHEAD)


def one_operator(operator: str, shape: list[int | str], output: list[int | str]) -> bytes:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        for name, sizes in (("a", shape), ("b", output))
    ]
    graph = helper.make_graph([helper.make_node(operator, ["a"], ["b"])], "one", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
