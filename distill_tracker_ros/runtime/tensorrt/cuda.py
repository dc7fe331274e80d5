"""CUDA through cuda-python, in checked calls: the only module that imports it.

What holds memory or a handle of the driver has `close()`, which may be called again. Copies are queued on a
`Stream` and done when its `wait` returns.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray


class CudaError(ValueError):
    """A call of CUDA failed, or CUDA is not there; the text says why, and what to do where we know it."""


@dataclass(frozen=True)
class Device:
    """A GPU and the software that drives it."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_mb: int
    integrated: bool  # it shares the memory of the processor, as on a Jetson
    driver: int  # newest CUDA version that the driver supports, 1000 major + 10 minor
    runtime: int  # CUDA version of cuda-python, written alike


class Counts(NamedTuple):
    """The copies that a stream was given, those in replayed graphs included."""

    uploads: int = 0  # host -> device
    uploaded_bytes: int = 0
    downloads: int = 0  # device -> host
    downloaded_bytes: int = 0
    device_copies: int = 0  # device -> device
    device_bytes: int = 0


def device(index: int) -> Device:
    """The GPU of this number.

    Raises:
        CudaError: there is no such GPU, no driver, or it is too old.
    """
    runtime = _runtime()
    count = check(runtime.cudaGetDeviceCount())
    if index >= count:
        raise CudaError(f"device = {index}, but this machine has {count} GPU(s), numbered from 0")
    properties = check(runtime.cudaGetDeviceProperties(index))

    def attribute(name: str) -> int:
        kind = getattr(runtime.cudaDeviceAttr, f"cudaDevAttr{name}")
        return int(check(runtime.cudaDeviceGetAttribute(kind, index)))

    return Device(
        name=properties.name.decode(errors="replace"),
        compute_capability=(attribute("ComputeCapabilityMajor"), attribute("ComputeCapabilityMinor")),
        multiprocessors=attribute("MultiProcessorCount"),
        memory_mb=properties.totalGlobalMem >> 20,
        integrated=bool(attribute("Integrated")),
        driver=check(runtime.cudaDriverGetVersion()),
        runtime=check(runtime.cudaRuntimeGetVersion()),
    )


def use(index: int) -> None:
    """Let the calls of this thread go to the GPU of this number: every thread begins with number 0."""
    check(_runtime().cudaSetDevice(index))


def free_memory() -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, and of all."""
    free, total = check(_runtime().cudaMemGetInfo())
    return free, total


def check(result: tuple[Any, ...]) -> Any:
    """What a call of cuda-python gave, without the error code in front: a value, or a tuple of them.

    Raises:
        CudaError: the code is an error.
    """
    code, *values = result
    if int(code):
        raise CudaError(_sentence(code))
    return values[0] if len(values) == 1 else tuple(values)


class Stream:
    """A queue of copies and launches that goes ahead of other queues of the GPU."""

    def __init__(self) -> None:
        runtime = _runtime()
        with ExitStack() as held:
            _, first = check(runtime.cudaDeviceGetStreamPriorityRange())
            flags = runtime.cudaStreamNonBlocking
            self._stream = check(runtime.cudaStreamCreateWithPriority(flags, first))
            held.callback(runtime.cudaStreamDestroy, self._stream)
            # Waiting for it leaves the processor to others, at the price of some 10 us.
            flags = runtime.cudaEventBlockingSync | runtime.cudaEventDisableTiming
            self._done = check(runtime.cudaEventCreateWithFlags(flags))
            held.callback(runtime.cudaEventDestroy, self._done)
            self._held = held.pop_all()
        self._totals = np.zeros((3, 2), np.int64)  # by kind: calls, bytes

    @property
    def handle(self) -> int:
        """The number that other libraries know it by."""
        return int(self._stream)

    @property
    def counts(self) -> Counts:
        return Counts(*self._totals.ravel().tolist())

    def wait(self) -> None:
        """Return when all that was queued is done.

        Raises:
            CudaError: any of it failed.
        """
        runtime = _runtime()
        check(runtime.cudaEventRecord(self._done, self._stream))
        check(runtime.cudaEventSynchronize(self._done))

    def copy(self, source: int, destination: int, nbytes: int) -> None:
        """Queue a copy from one address of the device to another."""
        self._copy("DeviceToDevice", source, destination, nbytes)

    def fetch(self, pointer: int, array: NDArray[Any]) -> None:
        """Fill a host array with what is at an address of the device, and wait for it."""
        self._copy("DeviceToHost", pointer, array.ctypes.data, array.nbytes)
        self.wait()

    def close(self) -> None:
        self._held.close()

    def _copy(self, direction: str, source: int, destination: int, nbytes: int) -> None:
        runtime = _runtime()
        kind = getattr(runtime.cudaMemcpyKind, f"cudaMemcpy{direction}")
        check(runtime.cudaMemcpyAsync(destination, source, nbytes, kind, self._stream))
        self._totals[int(kind) - 1] += 1, nbytes  # the kinds are numbered from 1


class Memory:
    """Bytes on the device."""

    def __init__(self, nbytes: int) -> None:
        runtime = _runtime()
        self.pointer = int(check(runtime.cudaMalloc(nbytes)))
        self._held = ExitStack()
        self._held.callback(runtime.cudaFree, self.pointer)

    def close(self) -> None:
        self._held.close()


class Buffer:
    """An array that the host sees as `host` and the device at `pointer`.

    Pinned host memory and as much on the device, or, `mapped`, one memory for both, where copies are no-ops.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, mapped: bool) -> None:
        runtime = _runtime()
        self._mapped = mapped
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with ExitStack() as held:
            flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
            address = int(check(runtime.cudaHostAlloc(nbytes, flags)))
            held.callback(runtime.cudaFreeHost, address)
            if mapped:
                self.pointer = int(check(runtime.cudaHostGetDevicePointer(address, 0)))
            else:
                self.pointer = int(check(runtime.cudaMalloc(nbytes)))
                held.callback(runtime.cudaFree, self.pointer)
            self._held = held.pop_all()
        content = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        self.host: NDArray[Any] = content.view(dtype).reshape(shape)

    def upload(self, stream: Stream, rows: int) -> None:
        """Queue the copy of the first rows to the device."""
        if not self._mapped:
            host = self.host[:rows]
            stream._copy("HostToDevice", host.ctypes.data, self.pointer, host.nbytes)

    def download(self, stream: Stream, rows: int) -> None:
        """Queue the copy of the first rows to the host."""
        if not self._mapped:
            host = self.host[:rows]
            stream._copy("DeviceToHost", self.pointer, host.ctypes.data, host.nbytes)

    def close(self) -> None:
        self.host = self.host[:0]  # its memory goes
        self._held.close()


class Graph:
    """What a stream was given by `work`, recorded without running it, to be run by one call.

    The addresses and sizes in it are frozen.
    """

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Record.

        Raises:
            CudaError: something in the work cannot be recorded; also what `work` raises.
        """
        runtime = _runtime()
        before = stream._totals.copy()
        # ThreadLocal: other threads of the process may allocate memory of the GPU meanwhile.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with ExitStack() as held:
            check(runtime.cudaStreamBeginCapture(stream._stream, mode))
            try:
                work()
            finally:
                # After an error, too: the stream must come out of the recording.
                code, graph = runtime.cudaStreamEndCapture(stream._stream)
                if not int(code):
                    held.callback(runtime.cudaGraphDestroy, graph)
                self._copies = stream._totals - before
                stream._totals[:] = before
            check((code,))
            self._executable = check(runtime.cudaGraphInstantiateWithFlags(graph, 0))
        self._held = ExitStack()
        self._held.callback(runtime.cudaGraphExecDestroy, self._executable)

    def launch(self, stream: Stream) -> None:
        """Queue the work once more."""
        check(_runtime().cudaGraphLaunch(self._executable, stream._stream))
        stream._totals += self._copies

    def close(self) -> None:
        self._held.close()


@cache
def _runtime() -> ModuleType:
    """cuda-python's module of the CUDA runtime, by the name of today or that of before 13.0."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart as runtime
        except ImportError as error:
            raise CudaError(
                "cuda-python is not installed: install the one for the CUDA of this machine's driver "
                "(for CUDA 12: 12.9.1 or a later 12, as older ones hold up all of Python while they wait)"
            ) from error
    return runtime  # type: ignore[no-any-return]


def _sentence(code: Any) -> str:
    runtime = _runtime()
    if code.name == "cudaErrorMemoryAllocation":
        error, free, total = runtime.cudaMemGetInfo()
        left = "" if int(error) else f" ({free >> 20} of {total >> 20} MB are free)"
        return (
            f"out of memory on the GPU{left}: "
            "take a smaller max_targets or a smaller model, or close other programs"
        )
    if code.name == "cudaErrorNoDevice":
        return "no GPU: the NVIDIA driver finds none on this machine"
    if code.name == "cudaErrorInsufficientDriver":
        (_, needed), (_, found) = runtime.cudaRuntimeGetVersion(), runtime.cudaDriverGetVersion()
        if not found:
            return "no NVIDIA driver: this machine has none, or this container does not see it"
        return (
            f"the NVIDIA driver is too old: it supports CUDA {_version(found)}, and this cuda-python needs "
            f"{_version(needed)}: install a newer driver, or cuda-python {_version(found)}"
        )
    return f"CUDA failed with {code.name}: {runtime.cudaGetErrorString(code)[1].decode()}"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
