"""CUDA through cuda-python: on a fake GPU, and its errors on this machine where it has none."""

from __future__ import annotations

import sys

import fake_tensorrt
import numpy as np
import pytest
from fake_tensorrt import Error, Gpu

from distill_tracker_ros.runtime.tensorrt import cuda
from distill_tracker_ros.runtime.tensorrt.cuda import Buffer, Counts, CudaError, Device, Graph, Memory, Stream


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return use(Gpu(), monkeypatch)


def use(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    monkeypatch.setattr(cuda, "_runtime", lambda: gpu)
    return gpu


def test_a_device_is_described(gpu: Gpu) -> None:
    assert cuda.device(0) == Device("Fake GPU", (8, 7), 8, 8192, False, 13020, 13050)
    assert cuda.free_memory() == (1 << 30, 8 << 30)


@pytest.mark.parametrize(
    ("machine", "index", "sentence"),
    [
        (Gpu(devices=2), 2, r"device = 2, but this machine has 2 GPU\(s\), numbered from 0"),
        (Gpu(driver=0), 0, "no NVIDIA driver: this machine has none"),
        (Gpu(devices=0), 0, "no GPU: the NVIDIA driver finds none on this machine"),
    ],
)
def test_a_device_that_cannot_be_used_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, machine: Gpu, index: int, sentence: str
) -> None:
    use(machine, monkeypatch)
    with pytest.raises(CudaError, match=sentence):
        cuda.device(index)


def test_a_driver_that_is_too_old_names_both_versions(gpu: Gpu) -> None:
    gpu.driver = 12020
    gpu.fail("cudaGetDeviceCount", error=Error.cudaErrorInsufficientDriver)
    with pytest.raises(CudaError, match=r"too old: it supports CUDA 12\.2, and this cuda-python needs 13\.5"):
        cuda.device(0)


def test_without_cuda_python_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(cuda, "_runtime", cuda._runtime.__wrapped__)
    with pytest.raises(CudaError, match="cuda-python is not installed: install the one for"):
        cuda.device(0)


def test_the_real_cuda_python_has_what_is_used_of_it_and_answers_in_sentences() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    ours = {"integrated", "devices", "driver", "device", "fail", "failure", "holds", "queue", "stream"}
    for name in set(vars(Gpu)) - ours:
        assert name.startswith("_") or hasattr(runtime, name), name
    for enum, theirs in (
        (fake_tensorrt.Error, runtime.cudaError_t),
        (fake_tensorrt.MemcpyKind, runtime.cudaMemcpyKind),
        (fake_tensorrt.CaptureMode, runtime.cudaStreamCaptureMode),
        (fake_tensorrt.DeviceAttribute, runtime.cudaDeviceAttr),
    ):
        assert {e.name: int(e.value) for e in enum} == {e.name: int(getattr(theirs, e.name)) for e in enum}
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("this machine has a GPU, so that there is no error to see")
    for call in (lambda: cuda.device(0), lambda: Memory(16), Stream):
        with pytest.raises(CudaError, match="^(no NVIDIA driver|no GPU|the NVIDIA driver is too old): "):
            call()


def test_copies_are_done_when_the_stream_is_waited_for(gpu: Gpu) -> None:
    stream, buffer, memory = Stream(), Buffer((4, 3), np.float32, mapped=False), Memory(24)
    buffer.host[:] = np.arange(12).reshape(4, 3)
    buffer.upload(stream, 2)
    stream.copy(buffer.pointer, memory.pointer, 24)
    assert not gpu.copied
    stream.wait()
    found = np.zeros((2, 3), np.float32)
    stream.fetch(memory.pointer, found)
    np.testing.assert_array_equal(found, buffer.host[:2])
    buffer.host[:] = -1
    buffer.download(stream, 1)
    assert (buffer.host == -1).all()
    stream.wait()
    assert buffer.host.tolist() == [[0, 1, 2], *[[-1] * 3] * 3]
    assert stream.counts == Counts(1, 24, 2, 36, 1, 24)
    for thing in (memory, buffer, stream) * 2:  # twice
        thing.close()
    assert not gpu.live


def test_mapped_memory_is_one_for_both_and_not_copied(gpu: Gpu) -> None:
    stream, buffer = Stream(), Buffer((2, 5), np.uint8, mapped=True)
    buffer.upload(stream, 2)
    buffer.download(stream, 2)
    stream.wait()
    assert buffer.pointer == buffer.host.ctypes.data
    assert stream.counts == Counts()
    assert set(gpu.live.values()) == {"mapped", "stream", "event"}
    buffer.close()
    assert set(gpu.live.values()) == {"stream", "event"}
    assert buffer.host.size == 0


@pytest.mark.parametrize(
    ("call", "make"),
    [
        ("cudaMalloc", lambda: Memory(16)),
        ("cudaHostAlloc", lambda: Buffer((2,), np.uint8, mapped=False)),
        ("cudaMalloc", lambda: Buffer((2,), np.uint8, mapped=False)),
        ("cudaHostGetDevicePointer", lambda: Buffer((2,), np.uint8, mapped=True)),
        ("cudaStreamCreateWithPriority", Stream),
        ("cudaEventCreateWithFlags", Stream),
    ],
)
def test_what_fails_half_way_leaves_nothing(gpu: Gpu, call: str, make: object) -> None:
    gpu.fail(call)
    with pytest.raises(CudaError, match=r"out of memory on the GPU \(1024 of 8192 MB are free\): take a sm"):
        make()  # type: ignore[operator]
    assert not gpu.live


def test_any_other_error_is_told_with_its_name_and_cudas_words(gpu: Gpu) -> None:
    gpu.fail("cudaMalloc", error=Error.cudaErrorLaunchFailure)
    with pytest.raises(CudaError, match="CUDA failed with cudaErrorLaunchFailure: the words of CUDA"):
        Memory(16)


def test_a_graph_records_without_running_and_replays(gpu: Gpu) -> None:
    stream, buffer, memory = Stream(), Buffer((2,), np.uint8, mapped=False), Memory(2)

    def work() -> None:
        buffer.upload(stream, 2)
        stream.copy(buffer.pointer, memory.pointer, 2)

    graph = Graph(stream, work)
    assert stream.counts == Counts()
    found = np.zeros(2, np.uint8)
    for value in (7, 8):
        buffer.host[:] = value
        graph.launch(stream)
        stream.fetch(memory.pointer, found)
        assert found.tolist() == [value] * 2
    assert stream.counts == Counts(2, 4, 2, 4, 2, 4)
    for thing in (graph, memory, buffer, stream) * 2:
        thing.close()
    assert not gpu.live


@pytest.mark.parametrize("call", ["cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_a_graph_that_cannot_be_made_leaves_nothing_and_the_stream_works(gpu: Gpu, call: str) -> None:
    stream, buffer = Stream(), Buffer((2,), np.uint8, mapped=False)
    gpu.fail(call, error=Error.cudaErrorStreamCaptureInvalidated)
    with pytest.raises(CudaError, match="cudaErrorStreamCaptureInvalidated"):
        Graph(stream, lambda: buffer.upload(stream, 2))
    check_that_it_works(gpu, stream, buffer)


def test_an_error_in_the_recorded_work_ends_the_recording(gpu: Gpu) -> None:
    stream, buffer = Stream(), Buffer((2,), np.uint8, mapped=False)

    def work() -> None:
        buffer.upload(stream, 2)
        raise RuntimeError("in the work")

    with pytest.raises(RuntimeError, match="in the work"):
        Graph(stream, work)
    with pytest.raises(CudaError, match="cudaErrorStreamCaptureUnsupported"):
        Graph(stream, lambda: Memory(4).close())
    check_that_it_works(gpu, stream, buffer)


def check_that_it_works(gpu: Gpu, stream: Stream, buffer: Buffer) -> None:
    assert stream.counts == Counts()
    buffer.upload(stream, 2)
    stream.wait()
    assert stream.counts == Counts(1, 2)
    assert sorted(gpu.live.values()) == ["device", "event", "pinned", "stream"]
