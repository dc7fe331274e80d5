"""A student in PyTorch behind the drone's Engine protocol: training is scored with the tracker that flies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from distill_tracker_ros.core.engine import ModelSpec, SearchOutput, State, joined

from .models.layers import normalise
from .models.network import Network


class TorchEngine:
    def __init__(self, student: Network, spec: ModelSpec) -> None:
        self.spec = spec
        self._student = student.eval()
        self._device = next(student.parameters()).device

    @torch.inference_mode()
    def encode_template(self, templates: NDArray[np.uint8]) -> State:
        states = self._student.encode_template(normalise(self._tensor(templates)))
        return tuple(state.cpu().numpy() for state in states)

    @torch.inference_mode()
    def search(self, search: NDArray[np.uint8], states: Sequence[State]) -> SearchOutput:
        outputs = self._student.outputs(normalise(self._tensor(search)), *map(self._tensor, joined(states)))
        return SearchOutput(*(tensor.cpu().numpy() for tensor in outputs))

    def close(self) -> None:
        """Nothing is held that the student does not hold."""

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
