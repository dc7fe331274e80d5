"""The centre head of OSTrack: score, offset and size maps from the search tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

SCORE_FLOOR = 1e-4  # scores and sizes lie in [floor, 1 - floor]


class CentreMaps(NamedTuple):
    """Outputs of the head on a G x G grid; lengths are relative to the search side, offsets in cells."""

    score_logits: Tensor  # [B, G, G]
    offset: Tensor  # [B, 2, G, G]: x, y
    size: Tensor  # [B, 2, G, G]: w, h in (0, 1)

    @property
    def score(self) -> Tensor:
        """[B, G, G] in (0, 1)."""
        return self.score_logits.sigmoid().clamp(SCORE_FLOOR, 1 - SCORE_FLOOR)

    @property
    def boxes(self) -> Tensor:
        """[B, 4, G, G] cxcywh relative to the search side; column i, row j: ((i + dx)/G, (j + dy)/G, w, h)"""
        grid = self.offset.shape[-1]
        steps = torch.arange(grid, device=self.offset.device, dtype=self.offset.dtype)
        columns = steps.expand(grid, grid)
        corner = torch.stack([columns, columns.T])
        return torch.cat([(corner + self.offset) / grid, self.size], dim=1)


class CentreHead(nn.Module):
    """Three branches of four 3x3 convolutions (c, c/2, c/4, c/8 channels), then 1x1.

    Source: OSTrack (Ye et al., 2022), c = 256.
    """

    def __init__(self, width: int, channels: int = 256) -> None:
        super().__init__()
        self.score = conv_branch(width, channels, 1)
        self.offset = conv_branch(width, channels, 2)
        self.size = conv_branch(width, channels, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Tensor) -> CentreMaps:
        """[B, D, G, G] -> maps."""
        size = self.size(features).float().sigmoid().clamp(SCORE_FLOOR, 1 - SCORE_FLOOR)
        return CentreMaps(self.score(features).float().squeeze(1), self.offset(features).float(), size)


def conv_branch(width: int, channels: int, outputs: int) -> nn.Sequential:
    """Four 3x3 convolutions (c, c/2, c/4, c/8 channels), then 1x1 to the outputs; of corner heads too."""
    widths = [width, channels, channels // 2, channels // 4, channels // 8]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 1))
