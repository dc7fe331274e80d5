"""From a bundle to an engine on a GPU: plans are kept, checked, and built anew when they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_tensorrt
import numpy as np
import onnx
import pytest
from fake_tensorrt import Gpu, plan
from onnx import numpy_helper
from synthetic import moving_square
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.runtime import load as runtime_load
from distill_tracker_ros.runtime.parity import ParityError
from distill_tracker_ros.runtime.tensorrt import compat, cuda, load
from distill_tracker_ros.runtime.tensorrt.builder import BuildCancelled, Built
from distill_tracker_ros.runtime.tensorrt.compat import TensorRtError
from distill_tracker_ros.runtime.tensorrt.engine import TensorRtEngine
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions


class Machine:
    """A GPU that is not there, with a folder of plans; `build` stands in for TensorRT's builder."""

    def __init__(self, folder: Path) -> None:
        self.gpu = Gpu()
        self.trt = fake_tensorrt.tensorrt(self.gpu)
        self.options = TensorRtOptions(cache_folder=str(folder / "plans"), max_targets=4)
        self.bundle = write_tiny_bundle(folder / "tiny")
        self.built: list[bytes] = []
        self.said: list[str] = []
        self.change: Callable[[bytes], bytes] = lambda graph: graph

    def build(
        self, trt: ModuleType, graph: bytes, max_batch: int, options: TensorRtOptions, **more: Any
    ) -> Built:
        if more["cancelled"] and more["cancelled"]():
            raise BuildCancelled("the build was cancelled")
        more["progress"]("tactics", 0.5)
        self.built.append(graph)
        return Built(plan(self.change(graph), (1, max_batch)), b"timings")

    def open(self, options: TensorRtOptions | None = None, **more: Any) -> tuple[TensorRtEngine, str]:
        verified = runtime_load.verified(self.bundle)
        return load.open_bundle(*verified, options or self.options, self.said.append, **more)

    @property
    def kept(self) -> list[Path]:
        return sorted(Path(self.options.cache_folder).glob("*.plan"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setattr(cuda, "_runtime", lambda: machine.gpu)
    monkeypatch.setattr(compat, "find", lambda: machine.trt)
    monkeypatch.setattr(load, "build_plan", machine.build)
    monkeypatch.setattr(load, "SAY_EVERY_S", 0.0)
    return machine


def test_plans_are_built_once(machine: Machine) -> None:
    engine, device = machine.open()
    assert device == "tensorrt 10.3.0, Fake GPU, precision model"
    assert len(machine.built) == len(machine.kept) == 2
    why, *progress = machine.said
    assert "no plan of it in" in why
    assert progress == [f"tiny-{graph}: 50% built (tactics)" for graph in ("template", "search")]
    engine.close()

    again, _ = machine.open()
    assert len(machine.built) == 2
    again.close()
    assert not machine.gpu.live


def test_other_options_have_plans_of_their_own(machine: Machine) -> None:
    for options in (machine.options, replace(machine.options, max_targets=2), machine.options):
        machine.open(options)[0].close()
    assert len(machine.built) == len(machine.kept) == 4


@pytest.mark.parametrize("harm", ["torn", "swapped", "refused"])
def test_a_plan_that_does_not_fit_is_built_anew(
    machine: Machine, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.open()[0].close()
    if harm == "torn":
        machine.kept[0].write_bytes(machine.kept[0].read_bytes()[:100])
        why = "has 100 bytes"
    elif harm == "swapped":
        contents = [file.read_bytes() for file in machine.kept]
        machine.kept[0].write_bytes(contents[1])
        why = "bytes, but"
    else:  # by TensorRT, as after an update that kept its version
        real, refused = machine.gpu.failure, iter([True])
        monkeypatch.setattr(
            machine.gpu,
            "failure",
            lambda name: (
                fake_tensorrt.Error.cudaErrorInvalidValue
                if name == "create_execution_context" and next(refused, False)
                else real(name)
            ),
        )
        why = "cannot be run here"
    machine.said.clear()
    machine.open()[0].close()
    assert len(machine.built) == 4
    assert why in machine.said[0]
    assert not machine.gpu.live


def brighter(graph: bytes) -> bytes:
    """The graph with another scale of its pixels, as a builder that computes wrongly."""
    model = onnx.load_from_string(graph)
    for constant in model.graph.initializer:
        value = numpy_helper.to_array(constant)
        if value.dtype == np.float32 and np.allclose(value, 1 / 255):
            constant.CopyFrom(numpy_helper.from_array(value * 1.2, constant.name))
    return model.SerializeToString()


def test_an_engine_that_computes_something_else_is_refused(machine: Machine) -> None:
    machine.change = lambda graph: brighter(graph) if len(machine.built) == 2 else graph
    with pytest.raises(ParityError, match=r"tiny by tensorrt 10.3.0, .* set tensorrt.precision to float32"):
        machine.open()
    assert not machine.gpu.live
    with pytest.raises(ParityError, match="boxes differ by"):  # known, and not built again
        machine.open()
    assert len(machine.built) == 2 and not machine.gpu.live
    machine.change = lambda graph: graph
    machine.open(replace(machine.options, precision="float32"))[0].close()
    assert len(machine.built) == 4


def test_tensorrt_rtx_is_not_asked_for_a_gpu_that_it_does_not_know(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the Jetson that this machine pretends to be."""
    rtx = fake_tensorrt.tensorrt(machine.gpu, "1.7.1")
    rtx.__name__ = "tensorrt_rtx"
    rtx.ComputeCapability = IntEnum("ComputeCapability", {"CURRENT": 0, "SM86": 86, "SM89": 89})  # type: ignore[attr-defined]
    monkeypatch.setattr(machine, "trt", rtx)
    with pytest.raises(TensorRtError, match="does not compile for .* 8.7: accepted are 8.6, 8.9"):
        machine.open()
    assert not machine.built


def test_a_build_can_be_cancelled(machine: Machine) -> None:
    with pytest.raises(BuildCancelled):
        machine.open(cancelled=lambda: True)
    for backend in ("tensorrt", "auto"):  # which goes on with nothing else then
        with pytest.raises(BuildCancelled):
            runtime_load.load(machine.bundle, backend, tensorrt=machine.options, cancelled=lambda: True)
    assert not machine.kept and not machine.gpu.live


def test_without_onnxruntime_a_new_plan_is_not_trusted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ImportError("No module named 'onnxruntime'")

    monkeypatch.setattr(load, "OnnxEngine", missing)
    with pytest.raises(TensorRtError, match="No module named 'onnxruntime'.*pip install onnxruntime"):
        machine.open()
    assert not machine.kept and not machine.gpu.live


def test_auto_flies_on_the_gpu_as_on_the_processor(machine: Machine) -> None:
    """Two targets, with refreshed templates: the boxes of both runtimes are the same."""
    on_gpu = runtime_load.load(machine.bundle, "auto", tensorrt=machine.options)
    assert (on_gpu.backend, on_gpu.notes) == ("tensorrt", ())
    on_cpu = runtime_load.load(machine.bundle, "onnxruntime")
    boxes = []
    for engine in (on_gpu.engine, on_cpu.engine):
        session = Session(engine, TrackerConfig())
        for number, (rgb, box) in enumerate(moving_square(40)):
            frame = ArrayFrame(rgb)
            if number == 0:
                session.set_target(frame, box, 0, id="a")
                session.set_target(frame, np.array([40.0, 40.0, 30.0, 20.0]), 0, id="b")
            else:
                tracks = session.update(frame, number * 40_000_000)
                boxes.append([track.box_xywh for track in tracks.values()])
        engine.close()
    half = len(boxes) // 2
    np.testing.assert_allclose(boxes[:half], boxes[half:], atol=1e-3)
    assert not machine.gpu.live
