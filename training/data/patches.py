"""Batches on their way through training: laid out, with pixels, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .layers import Layer, joined_layers


class Batch(NamedTuple):
    """B samples; crops are uint8 RGB, boxes cxcywh relative to the side of their crop."""

    templates: Tensor  # [B, T, Hz, Wz, 3]
    search: Tensor  # [B, Hx, Wx, 3]
    box: Tensor  # [B, 4] float32, in the search region
    present: Tensor  # [B] bool
    template_boxes: Tensor  # [B, T, 4] float32


class Patches(NamedTuple):
    """B samples before they are drawn: the layers of their crops, from the bottom to the top."""

    numbers: Tensor  # [B] int64, of the samples; stay on the host
    templates: tuple[Layer, ...]  # rows are b T + t
    search: tuple[Layer, ...]  # rows are b
    box: Tensor
    present: Tensor
    template_boxes: Tensor  # the last three as in Batch

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Patches:
        """The same on a device, but for what only the host needs."""
        tensors = (part.to(device, non_blocking=non_blocking) for part in self[3:])
        layers = self._each(lambda layer: layer.to(device, non_blocking))
        return Patches(self.numbers, layers.templates, layers.search, *tensors)

    def cut(self, cutter: Callable[[Tensor, int], Tensor]) -> Patches:
        """With pixels: `cutter` makes [K, P, P, 3] of windows [K, 4] and P."""
        return self._each(lambda layer: layer._replace(pixels=cutter(layer.windows, layer.side)))

    def renumbered(self, numbers: Tensor) -> Patches:
        """With the windows' images called by other numbers [images] int64."""

        def renumber(layer: Layer) -> Layer:
            windows = torch.cat([numbers[layer.windows[:, :1]], layer.windows[:, 1:]], 1)
            return layer._replace(windows=windows)

        return self._each(renumber)

    def _each(self, change: Callable[[Layer], Layer]) -> Patches:
        return self._replace(
            templates=tuple(map(change, self.templates)), search=tuple(map(change, self.search))
        )


def joined(parts: Sequence[Patches]) -> Patches:
    """One batch of several."""
    counts = [len(part.numbers) for part in parts]
    slots = parts[0].template_boxes.shape[1]
    return Patches(
        torch.cat([part.numbers for part in parts]),
        tuple(
            joined_layers(layers, [slots * count for count in counts])
            for layers in zip(*(part.templates for part in parts), strict=True)
        ),
        tuple(joined_layers(layers, counts) for layers in zip(*(part.search for part in parts), strict=True)),
        torch.cat([part.box for part in parts]),
        torch.cat([part.present for part in parts]),
        torch.cat([part.template_boxes for part in parts]),
    )
