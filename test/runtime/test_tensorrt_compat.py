"""Every version of TensorRT that we support, as its documentation and sources record it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from tensorrt_versions import CAPABILITIES, VERSIONS, Layer, Recorded

from distill_tracker_ros.runtime.tensorrt import compat, cuda
from distill_tracker_ros.runtime.tensorrt.builder import build_plan
from distill_tracker_ros.runtime.tensorrt.compat import TensorRtError
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

HALF = (
    Layer("CAST", "HALF"),
    Layer("NORMALIZATION"),
    Layer("MATRIX_MULTIPLY", "HALF"),
    Layer("SOFTMAX", "HALF"),
)
QUANTISED = Layer("QUANTIZE", "INT8"), Layer("DEQUANTIZE"), Layer("MATRIX_MULTIPLY")


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "use", lambda index: None)


@pytest.mark.parametrize(
    ("version", "flags", "weak", "rtx", "progress"),
    [
        ("8.6", 1 << 0, True, False, False),
        ("10.3", 1 << 1, False, False, True),
        ("10.13", 1 << 1, False, False, True),
        ("10.16", 1 << 1, False, False, True),
        ("11.1", 1 << 0, False, False, True),
        ("RTX 1.7", 1 << 0, False, True, True),
    ],
)
def test_what_each_version_is(version: str, flags: int, weak: bool, rtx: bool, progress: bool) -> None:
    trt = Recorded(version)
    assert compat.network_flags(trt) == flags
    assert compat.is_weakly_typed(trt) is weak
    assert compat.is_rtx(trt) is rtx
    assert compat.reports_progress(trt) is progress


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((Layer("NORMALIZATION"), Layer("SOFTMAX")), []),
        (HALF, ["FP16", "OBEY_PRECISION_CONSTRAINTS"]),
        (QUANTISED, ["INT8"]),
        (HALF + QUANTISED, ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]),
    ],
)
def test_a_build_touches_only_names_that_the_version_has(
    without_gpu: None, version: str, layers: tuple[Layer, ...], expected: list[str]
) -> None:
    """Any other raises AttributeError, as it does there. Flags for types are for 8.6 alone."""
    trt = Recorded(version, layers)
    built = build_plan(trt, b"graph", 4, TensorRtOptions(precision="float32", workspace_mb=16))
    assert built.plan == b"plan"
    assert trt.network_flags == compat.network_flags(trt)
    assert sorted(trt.flags) == (expected if version == "8.6" else [])
    held = {
        layer.type.name for layer in trt.layers if getattr(layer, "precision", None) == trt.DataType.FLOAT
    }
    assert held == ({"NORMALIZATION", "SOFTMAX"} if version == "8.6" and "FP16" in expected else set())
    assert trt.cleared == ["TF32"]
    assert trt.pool == ("WORKSPACE", 16 << 20)


def test_the_record_of_rtx_is_right() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX (requirements/test.txt has it)")
    for kind, names in VERSIONS["RTX 1.7"].names.items():
        assert names <= set(dir(getattr(rtx, kind))), kind
    for kind in ("BuilderFlag", "ILayer", "IBuilderConfig"):
        wrong = VERSIONS["8.6"].names[kind] - VERSIONS["RTX 1.7"].names[kind]
        assert not wrong & set(dir(getattr(rtx, kind))), kind
    found = {name: int(value) for name, value in rtx.NetworkDefinitionCreationFlag.__members__.items()}
    assert found == VERSIONS["RTX 1.7"].network_flags


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != "RTX 1.7"])
def test_only_rtx_builds_for_a_gpu_that_is_not_here(version: str) -> None:
    with pytest.raises(TensorRtError, match="builds for the GPU that is here: .* TensorRT-RTX .* is needed"):
        build_plan(Recorded(version), b"graph", 4, TensorRtOptions(), compute_capabilities=[(8, 6)])


def test_compute_capabilities_reach_rtx_in_their_order() -> None:
    trt = Recorded("RTX 1.7")
    build_plan(trt, b"graph", 4, TensorRtOptions(), compute_capabilities=[(8, 9), (12, 0)])
    assert (trt.config.num_compute_capabilities, trt.capabilities) == (2, ["SM89", "SM120"])


def test_a_compute_capability_that_rtx_does_not_know_is_answered_with_those_it_does() -> None:
    assert "SM87" not in CAPABILITIES  # Orin
    with pytest.raises(
        TensorRtError, match=r"capability 8\.7: accepted are 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"
    ):
        build_plan(Recorded("RTX 1.7"), b"graph", 4, TensorRtOptions(), compute_capabilities=[(8, 7)])


def install(monkeypatch: pytest.MonkeyPatch, **modules: str | None) -> None:
    """Let these be the only TensorRT modules, by their version; None = not installed."""
    for name in compat.MODULES:
        module = None
        if number := modules.get(name):
            module = ModuleType(name)
            module.__version__ = number
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("number", ["8.6.1", "8.6.2.3", "10.3.0", "11.4.1", "10.0.0b6"])
def test_tensorrt_is_preferred_to_rtx(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    install(monkeypatch, tensorrt=number, tensorrt_rtx="1.7.1.116")
    assert compat.find().__name__ == "tensorrt"
    assert compat.find(("tensorrt_rtx",)).__name__ == "tensorrt_rtx"


@pytest.mark.parametrize("tensorrt", ["8.5.2.2", None])
def test_rtx_is_taken_where_tensorrt_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, tensorrt: str | None
) -> None:
    install(monkeypatch, tensorrt=tensorrt, tensorrt_rtx="1.7.1.116")
    assert compat.find().__name__ == "tensorrt_rtx"


def test_without_tensorrt_the_error_says_what_was_found_and_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, tensorrt="8.5.2.2")
    with pytest.raises(
        TensorRtError, match=r"tensorrt is 8\.5\.2\.2, older than 8\.6; tensorrt_rtx: .*needed"
    ):
        compat.find()


def test_the_log_keeps_the_last_errors_only() -> None:
    log = compat.log(Recorded("10.3"))
    assert log.reason() == "it gave no reason"
    for number in range(9):
        log.log(1, f"error\n  {number}")
    log.log(2, "a warning")
    assert log.reason() == "error 5; error 6; error 7; error 8"


def test_there_is_one_log_for_a_module() -> None:
    trt = Recorded("10.3")
    assert compat.log(trt) is compat.log(trt)
