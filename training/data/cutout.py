"""Objects cut out of photographs: a soft outline that fills its box.

The outline is a superellipse |x|^p + |y|^p <= 1 with a wavy rim, x and y from -1 to 1 across the box: p = 2
is an ellipse, a large p a rectangle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .draws import Draws

SOFTNESS = 1 / 16  # width of the rim in halves of the box; at least a pixel


class Outline(NamedTuple):
    """K outlines."""

    power: Tensor  # [K], 1.6 to 8
    depth: Tensor  # [K], of the waves, 0 to 0.25
    doubled: Tensor  # [K] bool: eight waves around instead of four

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Outline:
        return Outline(*(part.to(device, non_blocking=non_blocking) for part in self))

    def chosen(self, mask: Tensor) -> Outline:
        """Those for which `mask` [K] holds, or that it numbers."""
        return Outline(*(part[mask] for part in self))


def random_outlines(draws: Draws, name: str) -> Outline:
    power, depth, waves = draws.uniform(f"{name} outline", 3).unbind(1)
    low, high = math.log(1.6), math.log(8.0)
    return Outline((low + (high - low) * power).exp(), 0.25 * depth, waves < 0.5)


def opacity(outline: Outline, x: Tensor, y: Tensor, half_px: Tensor) -> Tensor:
    """0 outside to 1 inside, 1/2 on the rim.

    Args:
        outline: K of them.
        x, y: [K, H, W] places relative to the boxes, -1 to 1.
        half_px: [K] half a box side in pixels, for rims that are a pixel wide in small boxes.
    """
    power, depth, doubled, half = (part.view(-1, 1, 1) for part in (*outline, half_px))
    distance = _power(_power(x.abs(), power) + _power(y.abs(), power), 1 / power)
    # sin(2 angle), squared: zero on the axes, where the outline touches its box
    wave = (4 * x * x * y * y / (x * x + y * y + 1e-12) ** 2).clamp_max_(1)
    wave = torch.where(doubled, 4 * wave * (1 - wave), wave)
    slope = half.clamp(1.0, 1 / SOFTNESS)
    return ((1 - distance - depth * wave) * slope + 0.5).clamp_(0, 1)


def _power(x: Tensor, power: Tensor) -> Tensor:
    """x^power for x from 0 on, in half the time of torch.pow on a CPU."""
    return (x.log2() * power).exp2()


def outline_boxes(outline: Outline, boxes_xywh: Tensor, maps: Tensor) -> Tensor:
    """The boxes around outlines that fill boxes [K, 4], after affine maps [K, 2, 3]; float64."""
    angle = torch.arange(64, dtype=torch.float64) * (2 * math.pi / 64)
    x, y = angle.cos(), angle.sin()
    power, depth, doubled = (part.double().unsqueeze(1) for part in outline)
    wave = torch.where(doubled > 0, (4 * angle).sin(), (2 * angle).sin())
    reach = (1 - depth * wave**2) / (x.abs() ** power + y.abs() ** power) ** (1 / power)
    rim = torch.stack([x * reach, y * reach], -1) * (boxes_xywh[:, None, 2:] / 2)
    rim = (maps[:, None, :, :2] * rim.unsqueeze(-2)).sum(-1)  # [K, 64, 2] about the mapped centre
    centre = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2
    centre = (maps[:, :, :2] * centre.unsqueeze(-2)).sum(-1) + maps[:, :, 2]
    low, high = rim.amin(1), rim.amax(1)
    return torch.cat([centre + low, high - low], -1)
