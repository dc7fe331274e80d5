"""The tracking losses as pure functions of tensors. Boxes are relative to the search side."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, complete_box_iou_loss, generalized_box_iou_loss

from .models.centre_head import CentreMaps
from .parallel import mean_over_processes


def gaussian_radius(sizes: Tensor, overlap: float = 0.7) -> Tensor:
    """[B, 2] widths and heights in cells -> [B]: how far a corner may move before a box loses `overlap`.

    CornerNet's rule in its historically uncorrected form, with which every tracker of this family was
    trained.
    """
    s, p, m = sizes.sum(1), sizes.prod(1), overlap
    r1 = (s + (s * s - 4 * p * (1 - m) / (1 + m)).sqrt()) / 2
    r2 = (2 * s + (4 * s * s - 16 * (1 - m) * p).sqrt()) / 2
    r3 = (-2 * m * s + (4 * m * m * s * s + 16 * m * (1 - m) * p).sqrt()) / 2
    return torch.stack([r1, r2, r3]).amin(0).clamp_min(0).floor()


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
    radius = gaussian_radius(boxes_cxcywh[:, 2:] * grid).view(-1, 1, 1)
    sigma = (2 * radius + 1) / 6
    steps = torch.arange(grid, device=boxes_cxcywh.device)
    dx = (steps.view(1, 1, -1) - columns.view(-1, 1, 1)).abs()
    dy = (steps.view(1, -1, 1) - rows.view(-1, 1, 1)).abs()
    gaussian = torch.exp(-(dx**2 + dy**2) / (2 * sigma**2))
    inside = torch.maximum(dx, dy) <= radius
    visible = inside & (gaussian >= torch.finfo(torch.float32).eps) & present.view(-1, 1, 1)
    return torch.where(visible, gaussian, torch.zeros_like(gaussian))


def focal_loss(score: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a score map, exponents 2 and 4 (CenterNet), per positive cell.

    Cells are counted over all processes; where none is positive the sum stays undivided.

    Args:
        score: [B, G, G], in (0, 1).
        target: [B, G, G], in [0, 1]; positive cells are exactly 1.
    """
    score = score.clamp_min(1e-12)
    positive = target == 1
    gain = (1 - score) ** 2 * score.log()
    cost = (1 - target) ** 4 * score**2 * (1 - score).clamp_min(1e-12).log()
    total = torch.where(positive, gain, cost).sum()
    count = mean_over_processes(positive.sum().float())
    return -total / torch.where(count > 0, count, 1.0)


def box_losses(
    predicted_cxcywh: Tensor,
    target_cxcywh: Tensor,
    weight: Tensor,
    cut: bool = True,
    overlap_loss: Callable[[Tensor, Tensor], Tensor] = generalized_box_iou_loss,
) -> tuple[Tensor, Tensor]:
    """Weighted means of the L1 distance of xyxy numbers and of 1 - GIoU; [N, 4], [N, 4], [N] -> scalars.

    Weights are summed over all processes. With `cut` the target ends at the border of the region.
    `overlap_loss` is another loss of xyxy boxes [N, 4] and [N, 4] -> [N] instead of 1 - GIoU.
    """
    predicted = box_convert(predicted_cxcywh, "cxcywh", "xyxy")
    target = box_convert(target_cxcywh, "cxcywh", "xyxy")
    target = target.clamp(0, 1) if cut else target
    total = mean_over_processes(weight.sum()).clamp_min(1e-6)
    l1 = (F.l1_loss(predicted, target, reduction="none").mean(1) * weight).sum() / total
    overlap = (overlap_loss(predicted, target) * weight).sum() / total
    return l1, overlap


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
    cells, inside = cells_around(boxes_cxcywh, grid)
    weight = inside * present.view(-1, 1) / inside.sum(1, keepdim=True)
    predicted = maps.boxes.flatten(2).gather(2, cells.unsqueeze(1).expand(-1, 4, -1)).transpose(1, 2)
    target = boxes_cxcywh.unsqueeze(1).expand_as(predicted)
    losses["l1"], losses["giou"] = box_losses(predicted.flatten(0, 1), target.flatten(0, 1), weight.flatten())
    return losses


def cells_around(boxes_cxcywh: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Indices [B, 9] of the target's cell and its neighbours, row-major, and which of them are on the grid.

    Indices beyond the border are clamped to it.
    """
    columns, rows = target_cell(boxes_cxcywh, grid)
    step = torch.arange(-1, 2, device=boxes_cxcywh.device)
    x, y = columns.view(-1, 1, 1) + step, rows.view(-1, 1, 1) + step.view(-1, 1)
    inside = (x >= 0) & (x < grid) & (y >= 0) & (y < grid)
    cells = y.clamp(0, grid - 1) * grid + x.clamp(0, grid - 1)
    return cells.flatten(1), inside.flatten(1)


def complete_iou_loss(predicted_xyxy: Tensor, target_xyxy: Tensor) -> Tensor:
    """1 - CIoU of boxes [N, 4] and [N, 4] -> [N] (Zheng et al., 2020); corners may cross, see `opened`."""
    loss: Tensor = complete_box_iou_loss(opened(predicted_xyxy), opened(target_xyxy))
    return loss


def generalized_iou_loss(predicted_xyxy: Tensor, target_xyxy: Tensor) -> Tensor:
    """1 - GIoU of boxes [N, 4] and [N, 4] -> [N] (Rezatofighi et al., 2019); corners may cross as above."""
    loss: Tensor = generalized_box_iou_loss(opened(predicted_xyxy), opened(target_xyxy))
    return loss


def opened(boxes_xyxy: Tensor) -> Tensor:
    """Boxes [N, 4] with sides of at least 1e-4 of the region: expected corners cross, areas need sides."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return torch.cat([low, torch.maximum(high, low + 1e-4)], dim=1)
