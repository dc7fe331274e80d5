"""How the views of samples lie: the warp of each image, and the squares that are cut out of it.

All numbers of a batch at once, on the host: which pixels are needed follows from them, and they are few.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .config import DataConfig, Sizes
from .cutout import Outline, outline_boxes
from .draws import Draws
from .geometry import (
    boxes_in_regions,
    chained,
    from_crops,
    inverse,
    linear_maps,
    mapped,
    product,
    regions_around,
    warped_bounds,
    warped_boxes,
    warps_about,
)

STILL, VIDEO = 1.5, 0.5  # strength of the warps: footage of a video brings its own change


class Targets(NamedTuple):
    """B objects in V = T + 1 images each, the last of which is searched; float64."""

    boxes_xywh: Tensor  # [B, V, 4] pixels of the images
    image_sizes: Tensor  # [B, V, 2] width and height
    still: Tensor  # [B] bool: all views are of one image
    pasted: Tensor  # [B] bool: cut out
    outline: Outline  # [B] each


class Views(NamedTuple):
    """V views of B samples; float64."""

    warps: Tensor  # [B, V, 2, 3] pixels of the image -> pixels of the frame, as if a camera had seen it
    boxes_xywh: Tensor  # [B, V, 4] in the frame
    regions: Tensor  # [B, V, 3] x, y, side in the frame
    in_view: Tensor  # [B] bool: the search region holds the target's centre

    def with_same_templates(self, same: Tensor) -> Views:
        """All templates like the first where `same` [B] holds."""

        def repeat(part: Tensor) -> Tensor:
            slot = torch.arange(part.shape[1]).expand(part.shape[:2]).clone()
            slot[same, :-1] = 0
            return part[torch.arange(len(part)).unsqueeze(1), slot]

        return Views(repeat(self.warps), repeat(self.boxes_xywh), repeat(self.regions), self.in_view)

    def boxes(self) -> Tensor:
        """[B, V, 4] cxcywh relative to the regions' sides."""
        return boxes_in_regions(self.boxes_xywh, self.regions)

    def from_crops(self, size: int) -> Tensor:
        """[B, V, 2, 3] pixels of crops of size x size -> pixels of the images."""
        return chained(inverse(self.warps), from_crops(self.regions, size))


def draw_views(targets: Targets, config: DataConfig, sizes: Sizes, draws: Draws) -> Views:
    warps = _warps(targets, config, draws)
    boxes = warped_boxes(targets.boxes_xywh, warps)
    cut_out = outline_boxes(
        Outline(*(part.repeat_interleave(boxes.shape[1]) for part in targets.outline)),
        targets.boxes_xywh.flatten(0, 1),
        warps.flatten(0, 1),
    )
    boxes = torch.where(targets.pasted[:, None, None], cut_out.view_as(boxes), boxes)
    templates = regions_around(_template_boxes(boxes[:, :-1], config, draws), sizes.template_factor)
    search = _search_regions(targets, warps[:, -1], boxes[:, -1], config, sizes.search_factor, draws)
    regions = torch.cat([templates, search.unsqueeze(1)], 1)
    centre = boxes_in_regions(boxes[:, -1], search)[:, :2]
    return Views(warps, boxes, regions, ((centre >= 0) & (centre < 1)).all(1))


def _warps(targets: Targets, config: DataConfig, draws: Draws) -> Tensor:
    """Each view's own small warp about its object, and a turn and a mirroring that all views share."""
    count = targets.boxes_xywh.shape[1]
    strength = torch.where(targets.still, STILL, VIDEO).double().unsqueeze(1)
    own_mirror = draws.uniform("own mirror", count) < config.own_mirror
    stretch = (draws.normal("stretch", 2 * count) * config.stretch * strength).exp()
    own = linear_maps(
        draws.normal("turn", count) * config.turn_degrees * strength,
        stretch[:, :count] * torch.where(own_mirror, -1.0, 1.0),
        stretch[:, count:],
        draws.normal("shear", count) * config.shear * strength,
    )
    turned = draws.chance("quarter turn", config.quarter_turn)
    quarters = torch.where(turned, (4 * draws.uniform("quarters", 1)[:, 0]).floor(), 0.0)
    mirrored = torch.where(draws.chance("mirror", config.mirror), -1.0, 1.0).double()
    one = torch.ones_like(mirrored)
    shared = linear_maps(90 * quarters.double(), mirrored, one, 0 * one).unsqueeze(1)
    linear = product(own, shared)
    centre = targets.boxes_xywh[..., :2] + targets.boxes_xywh[..., 2:] / 2
    return warps_about(centre, linear, centre)


def _template_boxes(boxes_xywh: Tensor, config: DataConfig, draws: Draws) -> Tensor:
    """[B, T, 4]: the first as it is, the others as inexact as boxes are at run time."""
    count = boxes_xywh.shape[1]
    shift = draws.uniform("template shake", 2 * count, -0.5, 0.5).view(-1, count, 2) * config.template_jitter
    growth = draws.normal("template scale", 2 * count).view(-1, count, 2) * config.template_scale_jitter
    shift[:, 0] = growth[:, 0] = 0
    return _jittered(boxes_xywh, growth.double(), shift.double())


def _search_regions(
    targets: Targets, warps: Tensor, boxes_xywh: Tensor, config: DataConfig, factor: float, draws: Draws
) -> Tensor:
    """[B, 3]: around boxes with scale change and camera shake, or beside the target.

    A shake after which the region would show padding only is left out.
    """
    growth = (draws.normal("search scale", 2) * config.scale_jitter).double()
    shift = (draws.uniform("search shake", 2, -0.5, 0.5) * config.centre_jitter).double()
    shaken = regions_around(_jittered(boxes_xywh, growth, shift), factor)
    calm = regions_around(_jittered(boxes_xywh, growth, 0 * shift), factor)
    to_image, image_size = inverse(warps), targets.image_sizes[:, -1]
    seen = warped_bounds(torch.cat([shaken[:, :2], shaken[:, :2] + shaken[:, 2:]], 1), to_image)
    shows = ((seen[:, 2:] > 0) & (seen[:, :2] < image_size)).all(1)
    regions = torch.where(shows.unsqueeze(1), shaken, calm)
    beside, is_image = _regions_beside(boxes_xywh, calm, to_image, image_size, draws)
    away = draws.chance("out of view", config.out_of_view) & is_image
    return torch.where(away.unsqueeze(1), beside, regions)


def _regions_beside(
    boxes_xywh: Tensor, regions: Tensor, to_image: Tensor, image_size: Tensor, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Regions [B, 3] moved until the boxes lie outside, to a random side where their middle is image.

    Returns:
        The moved regions, and whether there is such a side [B]; each image's own size is [B, 2].
    """
    sides = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    turn = (4 * draws.uniform("direction", 1)).floor().long()
    along = sides[(turn + torch.arange(4)) % 4]  # [B, 4, 2]: all four, from a random one on
    across = along.flip(-1) * draws.uniform("across", 1, -0.4, 0.4).unsqueeze(1)
    side = regions[:, None, 2:]
    reach = (side + boxes_xywh[:, None, 2:]) / 2 * draws.uniform("distance", 1, 1.05, 1.3).unsqueeze(1)
    corner = (regions[:, None, :2] + along * reach + across * side).round()
    middle = mapped(to_image.unsqueeze(1), corner + side / 2)
    is_image = ((middle > 0) & (middle < image_size.unsqueeze(1))).all(-1)  # [B, 4]
    first = is_image.int().argmax(1)
    return torch.cat([corner[torch.arange(len(first)), first], regions[:, 2:]], 1), is_image.any(1)


def _jittered(boxes_xywh: Tensor, growth: Tensor, shift: Tensor) -> Tensor:
    """size' = size exp(growth), centre' = centre + sqrt(w' h') shift; [..., 4], [..., 2], [..., 2]."""
    size = boxes_xywh[..., 2:] * growth.exp()
    centre = boxes_xywh[..., :2] + boxes_xywh[..., 2:] / 2 + size.prod(-1, keepdim=True).sqrt() * shift
    return torch.cat([centre - size / 2, size], -1)
