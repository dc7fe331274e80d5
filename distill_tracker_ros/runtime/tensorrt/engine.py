"""A model bundle behind TensorRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ...core.engine import ModelSpec, SearchOutput, State, TensorSpec
from ..manifest import signature
from . import cuda
from .compat import TensorRtError
from .cuda import Buffer, Counts, CudaError, Memory, Stream
from .options import TensorRtOptions
from .program import Program, Wires
from .states import Store, nbytes

_EMPTY = -1  # no slot


class TensorRtEngine:
    """The two plans of a bundle on an NVIDIA GPU. Implements `core.engine.Engine`.

    All memory is allocated here, for `max_targets` regions; larger batches are split. Crops go to the GPU
    from pinned memory, maps come back into pinned memory and are given as copies, which are small. States
    stay on the GPU: `encode_template` gives handles, and `search` moves, from the GPU to the GPU, only those
    rows that are not where they were in the last call. Where the GPU shares the memory of the processor,
    crops and maps are not copied either.
    """

    def __init__(
        self,
        plans: tuple[bytes, bytes],
        spec: ModelSpec,
        options: TensorRtOptions,
        trt: ModuleType,
    ) -> None:
        """Load the plans of the template graph and of the search graph.

        Args:
            plans: built for `spec` with these options, on this machine.
            trt: what `compat.find` gives.

        Raises:
            TensorRtError: a plan cannot be loaded here, or is not for this model and these options.
            CudaError: no such GPU, no driver for it, or not enough memory.
        """
        self.spec, self._options = spec, options
        tensors, rows = signature(spec), options.max_targets
        self.device = cuda.device(options.device)
        cuda.use(options.device)
        with ExitStack() as held:

            def buffer(tensor: TensorSpec) -> Buffer:
                made = Buffer((rows, *tensor.shape), tensor.dtype, self.device.integrated)
                return held.enter_context(closing(made))

            def memory(tensor: TensorSpec) -> Memory:
                return held.enter_context(closing(Memory(rows * nbytes(tensor))))

            def program(name: str, plan: bytes, inputs: Wires, outputs: Wires) -> Program:
                made = Program(name, plan, inputs, outputs, self._stream, options, trt)
                return held.enter_context(closing(made))

            self._stream = held.enter_context(closing(Stream()))
            self._store = held.enter_context(closing(Store(spec.states, rows + 1, self._stream)))
            (templates,), (search, *_) = tensors.template_inputs, tensors.search_inputs
            self._templates, self._regions = buffer(templates), buffer(search)
            self._encoded = {tensor: memory(tensor) for tensor in spec.states}
            self._gathered = {tensor: memory(tensor) for tensor in spec.states}
            self._maps = {tensor: buffer(tensor) for tensor in tensors.search_outputs}
            self._template = program("template", plans[0], {templates: self._templates}, self._encoded)
            inputs: Wires = {search: self._regions, **self._gathered}
            self._search = program("search", plans[1], inputs, self._maps)
            self._held = held.pop_all()
        self._slots = [_EMPTY] * rows  # whose states are in the rows of `_gathered`
        self._closed = False

    @property
    def counts(self) -> Counts:
        """The copies that were made since the start."""
        return self._stream.counts

    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        """(B, T, Hz, Wz, 3) RGB -> handles of the state tensors, each with a leading axis B.

        Raises:
            TensorRtError: the GPU failed, or the engine is closed.
        """
        with self._on_gpu("encoding templates"):
            place = self._store.take(len(templates))
            for rows in self._batches(len(templates)):
                self._encode(templates[rows], place.slots[rows])
        return self._store.tensors(place)

    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        """(B, Hx, Wx, 3) RGB and the states of the regions, in order -> maps.

        Raises:
            TensorRtError: the GPU failed, the engine is closed, or a state is not its own.
        """
        slots = [slot for state in states for slot in self._store.slots(state)]
        if len(slots) != len(search):
            raise TensorRtError(f"{len(search)} regions came with the states of {len(slots)}")
        maps = [np.empty((len(search), *t.shape), t.dtype) for t in self._maps]
        with self._on_gpu("searching"):
            for rows in self._batches(len(search)):
                self._search_batch(search[rows], slots[rows])
                for given, buffer in zip(maps, self._maps.values(), strict=True):
                    np.copyto(given[rows], buffer.host[: len(search[rows])])
        score_map, box_map, *embedding = maps
        return SearchOutput(score_map, box_map, embedding[0] if embedding else None)

    def close(self) -> None:
        """Free everything; may be called again. States of this engine cannot be read any more."""
        self._closed = True
        self._held.close()

    def _encode(self, templates: NDArray[np.uint8], slots: Sequence[int]) -> None:
        batch = len(templates)
        np.copyto(self._templates.host[:batch], templates)
        self._template.enqueue(batch)
        for row, slot in enumerate(slots):
            self._copy_states(_row(self._encoded, row), self._store.addresses(slot))
        self._slots = [_EMPTY if slot in slots else slot for slot in self._slots]
        self._stream.wait()
        self._template.record()

    def _search_batch(self, search: NDArray[np.uint8], slots: Sequence[int]) -> None:
        batch = len(search)
        np.copyto(self._regions.host[:batch], search)
        for row, slot in enumerate(slots):
            if self._slots[row] != slot:
                self._copy_states(self._store.addresses(slot), _row(self._gathered, row))
                self._slots[row] = slot
        self._search.enqueue(batch)
        self._stream.wait()
        self._search.record()

    def _batches(self, rows: int) -> Iterator[slice]:
        """The rows in parts of at most `max_targets`."""
        most = self._options.max_targets
        return (slice(start, start + most) for start in range(0, rows, most))

    def _copy_states(self, sources: Sequence[int], destinations: Sequence[int]) -> None:
        """Queue the copy of one row of every state tensor from address to address."""
        for source, destination, tensor in zip(sources, destinations, self.spec.states, strict=True):
            self._stream.copy(source, destination, nbytes(tensor))

    @contextmanager
    def _on_gpu(self, doing: str) -> Iterator[None]:
        """Calls of this thread go to the GPU of the options; what fails there is told."""
        if self._closed:
            raise TensorRtError("the engine is closed: it must be loaded again")
        try:
            cuda.use(self._options.device)
            yield
        except CudaError as error:
            self._slots = [_EMPTY] * len(self._slots)  # the copies may have failed
            raise TensorRtError(f"{doing} failed on {self.device.name}: {error}") from error


def _row(memories: Mapping[TensorSpec, Memory], row: int) -> list[int]:
    """Where a row of each tensor begins."""
    return [memory.pointer + row * nbytes(tensor) for tensor, memory in memories.items()]
