"""A plan on the GPU: loaded, compared with the model, run, and recorded into CUDA graphs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...core.engine import TensorSpec
from . import compat
from .compat import TensorRtError
from .cuda import Buffer, CudaError, Graph, Memory, Stream
from .options import TensorRtOptions

# A Buffer is copied before or after each run; what is in a Memory stays on the device.
Wires = Mapping[TensorSpec, Buffer | Memory]

_TYPES = {"uint8": "UINT8", "float32": "FLOAT", "float16": "HALF"}  # numpy's name -> TensorRT's
_RECORDED_RUN = 2  # of a batch size: one that is met once is not worth a graph


class Program:
    """One plan with its execution context; its copies and runs are queued on a stream.

    One context serves graphs of all batch sizes: a graph holds all that a run of its size needs. The memory
    of inputs and outputs belongs to the caller, and has room for `max_targets` rows.
    """

    def __init__(
        self,
        name: str,
        plan: bytes,
        inputs: Wires,
        outputs: Wires,
        stream: Stream,
        options: TensorRtOptions,
        trt: ModuleType,
    ) -> None:
        """Load a plan; `name` is that of its graph, for errors.

        Raises:
            TensorRtError: the plan cannot be loaded here, or is not for these tensors and batches.
        """
        self._name, self._inputs, self._outputs, self._stream = name, inputs, outputs, stream
        self._uploads = [wire for wire in inputs.values() if isinstance(wire, Buffer)]
        self._downloads = [wire for wire in outputs.values() if isinstance(wire, Buffer)]
        self._recording = options.cuda_graphs
        self._graphs: dict[int, Graph] = {}  # by batch size
        self._runs: Counter[int] = Counter()  # those without a graph
        self._batch = 0  # that the context is set to; 0 = none
        self._log = compat.log(trt)
        self._log.errors.clear()
        self._runtime: Any = trt.Runtime(self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._error("cannot be loaded here")
        self._check(trt, options.max_targets)
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise self._error("cannot be run here")
        for tensor, wire in (*inputs.items(), *outputs.items()):
            if not self._context.set_tensor_address(tensor.name, wire.pointer):
                raise self._error(f"does not take the memory for {tensor.name}")

    def enqueue(self, batch: int) -> None:
        """Queue the copies and the run of the first `batch` rows.

        Raises:
            TensorRtError: TensorRT refuses.
            CudaError: a copy or a launch failed.
        """
        if batch in self._graphs:
            self._graphs[batch].launch(self._stream)
            return
        if batch != self._batch:
            self._resize(batch)
        self._work(batch)
        self._runs[batch] += 1

    def record(self) -> None:
        """Make a graph of the last run if its size has come again; what was queued must be done.

        If that fails, it warns and makes no more graphs.
        """
        batch = self._batch
        if not self._recording or batch in self._graphs or self._runs[batch] < _RECORDED_RUN:
            return
        try:
            self._graphs[batch] = Graph(self._stream, lambda: self._work(batch))
        except (TensorRtError, CudaError) as error:
            self._recording = False
            slower = f"the kernels of the {self._name} graph are launched one by one, without a CUDA graph"
            warnings.warn(f"{slower}: {error}", stacklevel=2)

    def close(self) -> None:
        """Free the graphs, the context, the engine and the runtime, in this order."""
        while self._graphs:
            self._graphs.popitem()[1].close()
        self._context = None
        self._engine = None
        self._runtime = None

    def _work(self, batch: int) -> None:
        for buffer in self._uploads:
            buffer.upload(self._stream, batch)
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._error(f"failed to run with a batch of {batch}")
        for buffer in self._downloads:
            buffer.download(self._stream, batch)

    def _resize(self, batch: int) -> None:
        """Set the context to a batch size.

        Raises:
            TensorRtError: it refuses, or it would give more or less than there is room for.
        """
        self._batch = 0
        for tensor in self._inputs:
            if not self._context.set_input_shape(tensor.name, (batch, *tensor.shape)):
                raise self._error(f"does not take {tensor.name} with a batch of {batch}")
        for tensor in self._outputs:
            found = tuple(self._context.get_tensor_shape(tensor.name))
            if found != (batch, *tensor.shape):
                raise TensorRtError(
                    f"the {self._name} plan gives {tensor.name} of shape {list(found)}, "
                    f"but by the manifest, for a batch of {batch}, it is {[batch, *tensor.shape]}"
                )
        self._batch = batch

    def _check(self, trt: ModuleType, max_batch: int) -> None:
        """Compare what the plan takes and gives with what it must.

        Raises:
            TensorRtError: names, types or shapes differ, or its batches do not reach `max_batch`.
        """
        plan, engine = f"the {self._name} plan", self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = trt.TensorIOMode
        for side, mode, wires in (
            ("input", modes.INPUT, self._inputs),
            ("output", modes.OUTPUT, self._outputs),
        ):
            found = sorted(name for name in names if engine.get_tensor_mode(name) == mode)
            wanted = sorted(tensor.name for tensor in wires)
            if found != wanted:
                raise TensorRtError(
                    f"{plan} has the {side}s {', '.join(found)}, "
                    f"but by the manifest they are {', '.join(wanted)}"
                )
            for tensor in wires:
                dtype = engine.get_tensor_dtype(tensor.name)
                shape = tuple(engine.get_tensor_shape(tensor.name))
                expected = getattr(trt.DataType, _TYPES[tensor.dtype])
                if dtype != expected or not _fits(shape, tensor, side, max_batch):
                    raise TensorRtError(
                        f"{plan}: {side} {tensor.name} is {dtype.name} {list(shape)}, "
                        f"but by the manifest it is {expected.name} {[-1, *tensor.shape]}"
                    )
        for tensor in self._inputs:
            low, _, high = engine.get_tensor_profile_shape(tensor.name, 0)
            if not (low[0] <= 1 and max_batch <= high[0]):
                raise TensorRtError(
                    f"{plan} was built for {low[0]} to {high[0]} rows of {tensor.name}, "
                    f"but max_targets = {max_batch} needs 1 to {max_batch}"
                )

    def _error(self, what: str) -> TensorRtError:
        return TensorRtError(f"the {self._name} plan {what}: {self._log.reason()}")


def _fits(shape: tuple[int, ...], tensor: TensorSpec, side: str, max_batch: int) -> bool:
    """Whether a shape is that of a tensor with an open batch axis (-1).

    A size of an output may be open, too: it is known, and compared, when the batch size is set.
    """
    batches = (-1, 1) if max_batch == 1 else (-1,)  # a plan for one target may have closed it
    open_too = (-1,) if side == "output" else ()
    return (
        len(shape) == 1 + len(tensor.shape)
        and shape[0] in batches
        and all(size in (wanted, *open_too) for size, wanted in zip(shape[1:], tensor.shape, strict=True))
    )
