"""Affine maps and boxes of many views at once, on the host.

Points are continuous (pixel centres at +0.5); a map is [..., 2, 3], p -> map @ (x, y, 1); all float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def linear_maps(degrees: Tensor, scale_x: Tensor, scale_y: Tensor, shear: Tensor) -> Tensor:
    """Scale, then shear, then turn: [...] each -> [..., 2, 2]. A negative `scale_x` mirrors."""
    c, s = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    top = torch.stack([c * scale_x, (c * shear - s) * scale_y], -1)
    return torch.stack([top, torch.stack([s * scale_x, (s * shear + c) * scale_y], -1)], -2)


def warps_about(centre: Tensor, linear: Tensor, to: Tensor) -> Tensor:
    """p -> linear (p - centre) + to; [..., 2], [..., 2, 2], [..., 2] -> [..., 2, 3]."""
    return torch.cat([linear, (to - _times(linear, centre)).unsqueeze(-1)], -1)


def scalings(scale: Tensor, shift: Tensor) -> Tensor:
    """p -> scale p + shift; [..., 2] each -> [..., 2, 3]."""
    return torch.cat([torch.diag_embed(scale), shift.unsqueeze(-1)], -1)


def chained(outer: Tensor, inner: Tensor) -> Tensor:
    """p -> outer(inner(p))."""
    linear = product(outer[..., :2], inner[..., :2])
    return torch.cat([linear, mapped(outer, inner[..., 2]).unsqueeze(-1)], -1)


def product(outer: Tensor, inner: Tensor) -> Tensor:
    """[..., 2, 2] each. A product by a library may round otherwise in a batch of another size."""
    return (outer.unsqueeze(-1) * inner.unsqueeze(-3)).sum(-2)


def inverse(maps: Tensor) -> Tensor:
    a, b, c, d = (maps[..., i, j] for i in (0, 1) for j in (0, 1))
    adjoint = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    linear = adjoint / (a * d - b * c)[..., None, None]
    return torch.cat([linear, -_times(linear, maps[..., 2]).unsqueeze(-1)], -1)


def mapped(maps: Tensor, points: Tensor) -> Tensor:
    """[..., 2, 3], [..., 2] -> [..., 2]."""
    return _times(maps[..., :2], points) + maps[..., 2]


def warped_boxes(boxes_xywh: Tensor, maps: Tensor) -> Tensor:
    """The boxes around the ellipses inscribed in boxes, after affine maps; [..., 4], [..., 2, 3] -> [..., 4].

    Exact for scaling, mirroring and quarter turns; for other turns the ellipse stays closer to a real
    object's outline than the corners of the box would.
    """
    size = boxes_xywh[..., 2:]
    centre = mapped(maps, boxes_xywh[..., :2] + size / 2)
    half = (maps[..., :2] * (size / 2).unsqueeze(-2)).norm(dim=-1)
    return torch.cat([centre - half, 2 * half], -1)


def warped_bounds(rectangles_xyxy: Tensor, maps: Tensor) -> Tensor:
    """The upright rectangles around mapped ones; [..., 4], [..., 2, 3] -> [..., 4] xyxy."""
    low, high = rectangles_xyxy[..., :2], rectangles_xyxy[..., 2:]
    centre = mapped(maps, (low + high) / 2)
    reach = _times(maps[..., :2].abs(), (high - low) / 2)
    return torch.cat([centre - reach, centre + reach], -1)


def regions_around(boxes_xywh: Tensor, factor: float) -> Tensor:
    """`core.crop.region_around` of many boxes, its rounding included; [..., 4] -> [..., 3] x, y, side."""
    size = boxes_xywh[..., 2:]
    side = (size.prod(-1).sqrt() * factor).ceil().clamp_min(1).unsqueeze(-1)
    return torch.cat([(boxes_xywh[..., :2] + size / 2 - side / 2).round(), side], -1)


def boxes_in_regions(boxes_xywh: Tensor, regions: Tensor) -> Tensor:
    """`core.crop.box_to_region` of many; [..., 4], [..., 3] -> [..., 4] cxcywh relative to the side."""
    centre = boxes_xywh[..., :2] + boxes_xywh[..., 2:] / 2 - regions[..., :2]
    return torch.cat([centre, boxes_xywh[..., 2:]], -1) / regions[..., 2:]


def from_crops(regions: Tensor, size: int) -> Tensor:
    """Pixels of the regions' crops of size x size -> frame pixels; [..., 3] -> [..., 2, 3]."""
    return scalings((regions[..., 2:] / size).expand_as(regions[..., :2]), regions[..., :2])


def _times(linear: Tensor, points: Tensor) -> Tensor:
    return (linear * points.unsqueeze(-2)).sum(-1)
