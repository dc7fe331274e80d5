"""Encoded templates on the device: places for them, and the handles that the tracker holds."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.engine import State, TensorSpec
from .compat import TensorRtError
from .cuda import Memory, Stream


class DeviceTensor:
    """A state tensor of `encode_template`; its memory is taken for as long as somebody holds it.

    `numpy.asarray` copies it to the host, for checks: the engine never does.
    """

    def __init__(self, place: Place, tensor: TensorSpec, index: int) -> None:
        self.place = place
        self.shape = (len(place.slots), *tensor.shape)
        self.dtype = np.dtype(tensor.dtype)
        self._index = index

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a tensor on the device cannot be had on the host without a copy")
        host = np.empty(self.shape, self.dtype)
        self.place.store.read(self.place.slots, self._index, host)
        return host if dtype is None else host.astype(dtype, copy=False)


class Place:
    """Slots of a store that are given back when this object is no longer referred to."""

    def __init__(self, store: Store, slots: tuple[int, ...]) -> None:
        self.store, self.slots = store, slots
        weakref.finalize(self, store.give_back, slots).atexit = False


class Store:
    """Memory for encoded templates, in slots that hold one row of every state tensor.

    It grows when more templates are held at once than ever before, and never shrinks before `close`.
    """

    def __init__(self, tensors: Sequence[TensorSpec], block: int, stream: Stream) -> None:
        """`block`: slots to begin with, and by which it grows."""
        self._tensors, self._block, self._stream = tuple(tensors), block, stream
        self._blocks: list[tuple[Memory, ...]] = []  # by state tensor
        self._free: list[int] = []
        self._held = ExitStack()
        self._grow()

    def take(self, rows: int) -> Place:
        """Room for so many rows."""
        while len(self._free) < rows:
            self._grow()
        return Place(self, tuple(self._free.pop() for _ in range(rows)))

    def give_back(self, slots: Sequence[int]) -> None:
        self._free.extend(slots)

    def tensors(self, place: Place) -> State:
        """The handles of what is in a place."""
        return tuple(DeviceTensor(place, tensor, i) for i, tensor in enumerate(self._tensors))

    def slots(self, state: State) -> tuple[int, ...]:
        """Where the rows of a state are.

        Raises:
            TensorRtError: the state is not of this store.
        """
        first = state[0]
        if not isinstance(first, DeviceTensor) or first.place.store is not self:
            raise TensorRtError(
                "this state is of another engine: a template is searched for where it was encoded"
            )
        return first.place.slots

    def addresses(self, slot: int) -> list[int]:
        """Where the row of each state tensor begins."""
        memories, offset = self._blocks[slot // self._block], slot % self._block
        return [m.pointer + offset * nbytes(t) for m, t in zip(memories, self._tensors, strict=True)]

    def read(self, slots: Sequence[int], index: int, host: NDArray[Any]) -> None:
        """Copy the rows of one state tensor to the host."""
        if not self._blocks:
            raise TensorRtError("this state is gone: its engine is closed")
        for slot, row in zip(slots, host, strict=True):
            self._stream.fetch(self.addresses(slot)[index], row)

    def close(self) -> None:
        self._blocks.clear()
        self._held.close()

    def _grow(self) -> None:
        with ExitStack() as held:
            memories = tuple(
                held.enter_context(closing(Memory(self._block * nbytes(tensor)))) for tensor in self._tensors
            )
            self._held.enter_context(held.pop_all())
        first = len(self._blocks) * self._block
        self._blocks.append(memories)
        self._free.extend(range(first, first + self._block))


def nbytes(tensor: TensorSpec) -> int:
    """Of one row."""
    return int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
