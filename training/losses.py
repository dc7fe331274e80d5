"""Losses as pure functions of tensors. Boxes are relative to the search side."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou_loss

from .models.centre_head import CentreMaps


def gaussian_radius(width: float, height: float, overlap: float = 0.7) -> int:
    """How far, in cells, a corner may move before a box loses `overlap` (CornerNet's rule).

    The historically uncorrected form, with which every tracker of this family was trained.
    """
    s, p, m = width + height, width * height, overlap
    r1 = (s + math.sqrt(s * s - 4 * p * (1 - m) / (1 + m))) / 2
    r2 = (2 * s + math.sqrt(4 * s * s - 16 * (1 - m) * p)) / 2
    r3 = (-2 * m * s + math.sqrt(4 * m * m * s * s + 16 * m * (1 - m) * p)) / 2
    return math.floor(max(0.0, min(r1, r2, r3)))


def target_cell(boxes_cxcywh: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Column and row [B] of the cell that contains the centre.

    OSTrack rounds instead, which shifts the map by half a cell against the symmetric window; on a
    small grid that is a visible preference for one side.
    """
    cell = (boxes_cxcywh[:, :2] * grid).floor().clamp(0, grid - 1).long()
    return cell[:, 0], cell[:, 1]


def target_heat_map(boxes_cxcywh: Tensor, present: Tensor, grid: int) -> Tensor:
    """[B, 4], [B] -> [B, G, G]: a Gaussian of diameter 2 r + 1 at the target's cell; zeros if absent."""
    columns, rows = target_cell(boxes_cxcywh, grid)
    sizes = (boxes_cxcywh[:, 2:] * grid).tolist()
    radius = torch.tensor([gaussian_radius(w, h) for w, h in sizes], device=boxes_cxcywh.device)
    sigma = ((2 * radius + 1) / 6).view(-1, 1, 1)
    steps = torch.arange(grid, device=boxes_cxcywh.device)
    dx = (steps.view(1, 1, -1) - columns.view(-1, 1, 1)).abs()
    dy = (steps.view(1, -1, 1) - rows.view(-1, 1, 1)).abs()
    gaussian = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    inside = torch.maximum(dx, dy) <= radius.view(-1, 1, 1)
    visible = inside & (gaussian >= torch.finfo(torch.float32).eps) & present.view(-1, 1, 1)
    return torch.where(visible, gaussian, torch.zeros_like(gaussian))


def focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a score map, exponents 2 and 4 (CenterNet), per positive cell.

    Args:
        score: [B, G, G], in (0, 1).
        target: [B, G, G], in [0, 1]; positive cells are exactly 1.
    """
    score = score.clamp_min(1e-12)
    positive = target == 1
    gain = (1 - score) ** 2 * score.log()
    cost = (1 - target) ** 4 * score**2 * (1 - score).clamp_min(1e-12).log()
    total = torch.where(positive, gain, cost).sum()
    return -total / positive.sum().clamp_min(1)


def box_losses(predicted_cxcywh: Tensor, target_cxcywh: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means of the L1 distance of xyxy numbers and of 1 - GIoU; [N, 4], [N, 4], [N] -> scalars."""
    predicted = box_convert(predicted_cxcywh, "cxcywh", "xyxy")
    target = box_convert(target_cxcywh, "cxcywh", "xyxy").clamp(0, 1)
    total = weight.sum().clamp_min(1e-6)
    l1 = (F.l1_loss(predicted, target, reduction="none").mean(1) * weight).sum() / total
    giou = (generalized_box_iou_loss(predicted, target) * weight).sum() / total
    return l1, giou


def boxes_at_peak(maps: CentreMaps, window: Tensor | None = None) -> Tensor:
    """[B, 4] cxcywh at the highest score, multiplied by a window [G, G] if one is given."""
    score = maps.score if window is None else maps.score * window
    index = score.flatten(1).argmax(1)
    return maps.boxes.flatten(2).gather(2, index.view(-1, 1, 1).expand(-1, 4, 1)).squeeze(2)


def tracking_losses(
    maps: CentreMaps, boxes_cxcywh: Tensor, present: Tensor, box_cells: str = "peak"
) -> dict[str, Tensor]:
    """L_cls, L_1, L_GIoU of OSTrack, unweighted (its weights are 1, 5, 2).

    Args:
        maps: outputs of the centre head.
        boxes_cxcywh: [B, 4].
        present: [B] bool; an absent target teaches the score map alone.
        box_cells: which cells learn the box: "peak" (the predicted peak, as published) or "around"
            (the target's cell and its eight neighbours: nine times the signal, and a peak that is one
            cell off still gives the right box).
    """
    grid = maps.offset.shape[-1]
    losses = {"focal": focal_loss(maps.score, target_heat_map(boxes_cxcywh, present, grid))}
    if box_cells == "peak":
        losses["l1"], losses["giou"] = box_losses(boxes_at_peak(maps), boxes_cxcywh, present.float())
        return losses
    columns, rows = target_cell(boxes_cxcywh, grid)
    steps = torch.arange(grid, device=columns.device)
    near = (steps.view(1, 1, -1) - columns.view(-1, 1, 1)).abs() <= 1
    near = near & ((steps.view(1, -1, 1) - rows.view(-1, 1, 1)).abs() <= 1) & present.view(-1, 1, 1)
    weight = near.float() / near.sum((1, 2), keepdim=True).clamp_min(1)
    batch, row, column = near.nonzero(as_tuple=True)
    predicted = maps.boxes[batch, :, row, column]
    losses["l1"], losses["giou"] = box_losses(predicted, boxes_cxcywh[batch], weight[batch, row, column])
    return losses


def coverage_mask(boxes_cxcywh: Tensor, grid: int) -> Tensor:
    """[B, 4] -> [B, G, G]: the share of each cell that its box covers, 0 to 1 (EATrack, feature branch)."""
    corners = box_convert(boxes_cxcywh, "cxcywh", "xyxy") * grid
    steps = torch.arange(grid, device=boxes_cxcywh.device, dtype=boxes_cxcywh.dtype)

    def covered(low: Tensor, high: Tensor) -> Tensor:
        return (torch.minimum(high[:, None], steps + 1) - torch.maximum(low[:, None], steps)).clamp(0, 1)

    return (
        covered(corners[:, 1], corners[:, 3])[:, :, None] * covered(corners[:, 0], corners[:, 2])[:, None, :]
    )
