"""A GPU on host memory, behind the names of cuda-python and of TensorRT that the package uses and no others.

Streams are queues whose work is done when somebody waits for it; a capture records the work, and a graph
replays it with the addresses and sizes of then. A plan is an ONNX graph with a header, run by onnxruntime on
the memory at the addresses that were set. What is not allowed on a GPU (memory of the wrong kind or too
small, an allocation during a capture, a launch from a thread that uses another GPU, freeing twice) fails.

    gpu = Gpu()
    monkeypatch.setattr(cuda, "_runtime", lambda: gpu)
    TensorRtEngine((plan(template), plan(search)), spec, options, tensorrt(gpu))
"""

from __future__ import annotations

import ctypes
import json
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import wraps
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

_MAGIC = b"fake plan "
_GARBAGE = 0xCD  # in new memory

Work = Callable[[], None]


class Error(IntEnum):
    """cudaError_t"""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class MemcpyKind(IntEnum):
    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class CaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


class DeviceAttribute(Enum):
    cudaDevAttrMultiProcessorCount = 16
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


@dataclass(eq=False)
class Handle:
    """A stream, an event, a graph or an executable graph."""

    kind: str
    number: int
    device: int
    work: list[Work | Handle] = field(default_factory=list)  # a Handle: an event
    capture: list[Work] | None = None  # of a stream that records
    spoilt: bool = False  # the capture
    stream: Handle | None = None  # of an event

    def __int__(self) -> int:
        return self.number


def _call(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """A function of CUDA: gives an error code and its results, and fails when it is told to."""
    name = function.__name__

    @wraps(function)
    def call(self: Gpu, *arguments: Any) -> tuple[Any, ...]:
        if error := self.failure(name):
            return error, None
        result = function(self, *arguments)
        if isinstance(result, Error):
            return result, None
        return (Error.cudaSuccess, *(result if isinstance(result, tuple) else (result,)))

    return call


class Gpu:
    """Stands in for `cuda.bindings.runtime`."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = Error, MemcpyKind, CaptureMode
    cudaDeviceAttr = DeviceAttribute
    cudaHostAllocDefault, cudaHostAllocMapped = 0, 2
    cudaStreamNonBlocking = 1
    cudaEventBlockingSync, cudaEventDisableTiming = 1, 2

    def __init__(self, integrated: bool = False, devices: int = 1, driver: int = 13020) -> None:
        self.integrated, self.devices, self.driver = integrated, devices, driver
        self.calls: Counter[str] = Counter()
        self.failures: dict[tuple[str, int], Error] = {}
        self.live: dict[int, str] = {}  # what is not freed: number or address -> its kind
        self.freed: list[str] = []  # the objects of TensorRT, in their order
        self.copied: Counter[str] = Counter()  # calls, and with "bytes" behind it bytes, that were done
        self.runs = 0  # of plans
        self._memory: dict[int, tuple[Any, int]] = {}  # address -> owner, size
        self._handles: dict[int, Handle] = {}
        self._numbers = count(1)
        self._thread = threading.local()

    def fail(self, name: str, call: int = 1, error: Error = Error.cudaErrorMemoryAllocation) -> None:
        """Let a call of a function fail, counted from now."""
        self.failures[name, self.calls[name] + call] = error

    def failure(self, name: str) -> Error | None:
        self.calls[name] += 1
        return self.failures.pop((name, self.calls[name]), None)

    # Devices.

    @_call
    def cudaGetDeviceCount(self) -> Any:
        if not self.driver:
            return Error.cudaErrorInsufficientDriver
        return self.devices if self.devices else Error.cudaErrorNoDevice

    @_call
    def cudaGetDeviceProperties(self, device: int) -> Any:
        return SimpleNamespace(name=b"Fake GPU", totalGlobalMem=8 << 30)

    @_call
    def cudaDeviceGetAttribute(self, kind: DeviceAttribute, device: int) -> Any:
        values = {"MultiProcessorCount": 8, "Integrated": int(self.integrated)}
        values |= {"ComputeCapabilityMajor": 8, "ComputeCapabilityMinor": 7}
        return values[kind.name.removeprefix("cudaDevAttr")]

    @_call
    def cudaDriverGetVersion(self) -> Any:
        return self.driver

    @_call
    def cudaRuntimeGetVersion(self) -> Any:
        return 13050

    @_call
    def cudaSetDevice(self, device: int) -> Any:
        if device >= self.devices:
            return Error.cudaErrorInvalidDevice
        self._thread.device = device
        return ()

    @_call
    def cudaMemGetInfo(self) -> Any:
        return 1 << 30, 8 << 30

    @_call
    def cudaGetErrorString(self, error: Error) -> Any:
        return b"the words of CUDA"

    @property
    def device(self) -> int:
        """That this thread uses."""
        return getattr(self._thread, "device", 0)

    # Memory.

    @_call
    def cudaMalloc(self, size: int) -> Any:
        if self._capturing():
            for stream in self._capturing():
                stream.spoilt = True
            return Error.cudaErrorStreamCaptureUnsupported
        return self._allocate("device", size)

    @_call
    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._allocate("mapped" if flags & self.cudaHostAllocMapped else "pinned", size)

    @_call
    def cudaHostGetDevicePointer(self, address: int, flags: int) -> Any:
        return address if self.live.get(address) == "mapped" else Error.cudaErrorInvalidValue

    @_call
    def cudaFree(self, address: int) -> Any:
        return self._free(address, "device")

    @_call
    def cudaFreeHost(self, address: int) -> Any:
        return self._free(address, "pinned", "mapped")

    @_call
    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: MemcpyKind, stream: Handle) -> Any:
        source_kind, to_kind = kind.name.removeprefix("cudaMemcpy").split("To")
        places = {"Host": ("pinned",), "Device": ("device", "mapped")}
        # To memory that is not pinned it is no copy that a graph could hold.
        to_plain = to_kind == "Host" and stream.capture is None
        to_good = to_plain or self.holds(to, size, *places[to_kind])
        if not (to_good and self.holds(source, size, *places[source_kind])):
            return Error.cudaErrorInvalidValue

        def copy() -> None:
            ctypes.memmove(to, source, size)
            self.copied[kind.name] += 1
            self.copied[f"{kind.name} bytes"] += size

        self.queue(stream, copy)
        return ()

    def holds(self, address: int, size: int, *kinds: str) -> bool:
        """Whether these bytes lie within one piece of memory of one of these kinds."""
        return any(
            self.live.get(start) in kinds and start <= address and address + size <= start + length
            for start, (_, length) in self._memory.items()
        )

    def _allocate(self, kind: str, size: int) -> int:
        owner = (ctypes.c_uint8 * size)()
        ctypes.memset(owner, _GARBAGE, size)
        address = ctypes.addressof(owner)
        self._memory[address] = owner, size
        self.live[address] = kind
        return address

    def _free(self, address: int, *kinds: str) -> tuple[()]:
        assert self.live.pop(address, "nothing") in kinds, "freed what is not there"
        del self._memory[address]
        return ()

    # Streams and events.

    @_call
    def cudaDeviceGetStreamPriorityRange(self) -> Any:
        return 0, -5

    @_call
    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> Any:
        assert (flags, priority) == (self.cudaStreamNonBlocking, -5)
        return self._handle("stream")

    @_call
    def cudaStreamDestroy(self, stream: Handle) -> Any:
        return self._destroy(stream, "stream")

    @_call
    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        assert flags == self.cudaEventBlockingSync | self.cudaEventDisableTiming
        return self._handle("event")

    @_call
    def cudaEventDestroy(self, event: Handle) -> Any:
        return self._destroy(event, "event")

    @_call
    def cudaEventRecord(self, event: Handle, stream: Handle) -> Any:
        if stream.device != self.device:
            return Error.cudaErrorInvalidResourceHandle
        if stream.capture is not None:
            stream.spoilt = True
            return Error.cudaErrorStreamCaptureUnsupported
        if event.stream:
            event.stream.work = [work for work in event.stream.work if work is not event]
        event.stream = stream
        stream.work.append(event)
        return ()

    def cudaEventSynchronize(self, event: Handle) -> Any:
        """What fails takes the work with it."""
        assert event.stream is not None
        if error := self.failure("cudaEventSynchronize"):
            event.stream.work.clear()
            return (error,)
        while (work := event.stream.work.pop(0)) is not event:
            if not isinstance(work, Handle):
                work()
        return (Error.cudaSuccess,)

    def queue(self, stream: Handle, work: Work) -> None:
        (stream.work if stream.capture is None else stream.capture).append(work)

    def stream(self, number: int) -> Handle:
        return self._handles[number]

    # Graphs.

    @_call
    def cudaStreamBeginCapture(self, stream: Handle, mode: CaptureMode) -> Any:
        assert mode is CaptureMode.cudaStreamCaptureModeThreadLocal
        assert stream.capture is None
        stream.capture, stream.spoilt = [], False
        return ()

    def cudaStreamEndCapture(self, stream: Handle) -> Any:
        """It comes to an end, failing or not."""
        work, stream.capture = stream.capture, None
        error = Error.cudaErrorStreamCaptureInvalidated if stream.spoilt else None
        if error := error or self.failure("cudaStreamEndCapture"):
            return error, None
        graph = self._handle("graph")
        graph.work += work or []
        return Error.cudaSuccess, graph

    @_call
    def cudaGraphInstantiateWithFlags(self, graph: Handle, flags: int) -> Any:
        executable = self._handle("executable")
        executable.work += graph.work
        return executable

    @_call
    def cudaGraphDestroy(self, graph: Handle) -> Any:
        return self._destroy(graph, "graph")

    @_call
    def cudaGraphExecDestroy(self, executable: Handle) -> Any:
        return self._destroy(executable, "executable")

    @_call
    def cudaGraphLaunch(self, executable: Handle, stream: Handle) -> Any:
        if stream.device != self.device:
            return Error.cudaErrorInvalidResourceHandle
        assert executable.number in self.live
        stream.work += executable.work
        return ()

    def _capturing(self) -> list[Handle]:
        return [handle for handle in self._handles.values() if handle.capture is not None]

    def _handle(self, kind: str) -> Handle:
        handle = Handle(kind, next(self._numbers), self.device)
        self._handles[handle.number] = handle
        self.live[handle.number] = kind
        return handle

    def _destroy(self, handle: Handle, kind: str) -> tuple[()]:
        assert self.live.pop(handle.number, "nothing") == kind, "destroyed what is not there"
        del self._handles[handle.number]
        return ()


# TensorRT.


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 5
    INT64 = 9


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


_DTYPES = {
    "tensor(uint8)": (DataType.UINT8, np.uint8),
    "tensor(float)": (DataType.FLOAT, np.float32),
    "tensor(float16)": (DataType.HALF, np.float16),
    "tensor(int64)": (DataType.INT64, np.int64),
}


def plan(graph: bytes, batches: tuple[int, int] = (1, 4), open_outputs: bool = False) -> bytes:
    """A plan of an ONNX graph for batches from the first to the second number.

    `open_outputs`: it does not tell the sizes of its outputs before the batch size is set.
    """
    return _MAGIC + json.dumps((*batches, open_outputs)).encode() + b"\n" + graph


def tensorrt(gpu: Gpu, version: str = "10.3.0") -> ModuleType:
    """A module like NVIDIA's, for this GPU."""
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    module.ILogger, module.DataType, module.TensorIOMode = ILogger, DataType, TensorIOMode  # type: ignore[attr-defined]
    module.Runtime = lambda log: _Runtime(gpu, log)  # type: ignore[attr-defined]
    return module


class _Object:
    """Notes when it goes."""

    def __init__(self, gpu: Gpu, log: ILogger) -> None:
        self._gpu, self._log = gpu, log
        weakref.finalize(self, gpu.freed.append, type(self).__name__.strip("_").lower()).atexit = False

    def _fails(self, name: str) -> bool:
        error = self._gpu.failure(name)
        if error:
            self._log.log(Severity.ERROR, f"{name} met {error.name}")
        return error is not None


class _Runtime(_Object):
    def __init__(self, gpu: Gpu, log: ILogger) -> None:
        assert isinstance(log, ILogger)
        super().__init__(gpu, log)

    def deserialize_cuda_engine(self, content: bytes) -> _Engine | None:
        header, _, graph = content.partition(b"\n")
        if not header.startswith(_MAGIC):
            self._log.log(Severity.ERROR, "the magic tag is not that of a plan")
            return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        low, high, open_outputs = json.loads(header.removeprefix(_MAGIC))
        return _Engine(self._gpu, self._log, session, (low, high), open_outputs)


class _Engine(_Object):
    def __init__(
        self, gpu: Gpu, log: ILogger, session: Any, batches: tuple[int, int], open_outputs: bool
    ) -> None:
        super().__init__(gpu, log)
        self._session, self._batches, self._open_outputs = session, batches, open_outputs
        self._inputs = {node.name: node for node in session.get_inputs()}
        self._nodes = self._inputs | {node.name: node for node in session.get_outputs()}

    @property
    def num_io_tensors(self) -> int:
        return len(self._nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._nodes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return _DTYPES[self._nodes[name].type][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._nodes[name].shape
        if self._open_outputs and name not in self._inputs:
            return (-1,) * len(shape)
        return tuple(size if isinstance(size, int) else -1 for size in shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert profile == 0
        low, high = self._batches
        return [(batch, *self.get_tensor_shape(name)[1:]) for batch in (low, low, high)]

    def create_execution_context(self) -> _Context | None:
        if self._fails("create_execution_context"):
            return None
        return _Context(self._gpu, self._log, self._session, self._batches)


class _Context(_Object):
    def __init__(self, gpu: Gpu, log: ILogger, session: Any, batches: tuple[int, int]) -> None:
        super().__init__(gpu, log)
        self._session, self._batches = session, batches
        self._inputs = {node.name: node for node in session.get_inputs()}
        self._outputs = {node.name: node for node in session.get_outputs()}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, high = self._batches
        fits = low <= shape[0] <= high and list(shape[1:]) == self._inputs[name].shape[1:]
        if self._fails("set_input_shape") or not fits:
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._shapes:
            return self._shapes[name]
        zeros = {n: np.zeros(shape, _DTYPES[self._inputs[n].type][1]) for n, shape in self._shapes.items()}
        return self._session.run([name], zeros)[0].shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        if self._fails("set_tensor_address"):
            return False
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        gpu, stream = self._gpu, self._gpu.stream(handle)
        inputs = {name: self._place(node, self._shapes[name]) for name, node in self._inputs.items()}
        outputs = {n: self._place(node, self.get_tensor_shape(n)) for n, node in self._outputs.items()}
        if self._fails("execute_async_v3"):
            return False
        assert stream.device == gpu.device, "this thread uses another GPU"
        for address, shape, dtype in (*inputs.values(), *outputs.values()):
            assert gpu.holds(address, int(np.prod(shape)) * np.dtype(dtype).itemsize, "device", "mapped")
        session = self._session

        def run() -> None:
            results = session.run(list(outputs), {name: _view(*at).copy() for name, at in inputs.items()})
            for at, result in zip(outputs.values(), results, strict=True):
                _view(*at)[...] = result
            gpu.runs += 1

        gpu.queue(stream, run)
        return True

    def _place(self, node: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...], type]:
        return self._addresses[node.name], shape, _DTYPES[node.type][1]


def _view(address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)
