"""A network that only answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """Holds a trained network for inference: in eval mode for good, without gradients.

    The network moves between devices with its owner, but stands neither in the owner's parameters nor in
    its state_dict nor under its `train()`, so that optimisers, averages, checkpoints and data-parallel
    wrappers pass it by.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._hidden = (network.eval().requires_grad_(False),)  # a tuple hides it from nn.Module

    @property
    def network(self) -> nn.Module:
        return self._hidden[0]

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)
