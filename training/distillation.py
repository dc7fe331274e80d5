"""The distillation losses of EATrack as pure functions of tensors. Boxes are relative to their region's side.

Both compare a student with its teacher inside the target's box alone, and both are means over all
samples of the batch, of which those without a target count zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert

from .losses import target_cell

LOG_FLOOR = -30.0  # of the logarithm of a softmax probability that a divergence divides by
EXCLUDED = -1e9  # logit of a cell outside the mask


def coverage_mask(boxes_cxcywh: Tensor, grid: int, background: float = 0.0) -> Tensor:
    """[B, 4] -> [B, G, G]: the share of each cell that its box covers, 0 to 1.

    What the box does not cover weighs `background` instead of 0, unless the box misses the region: then
    the whole mask is zero.
    """
    corners = box_convert(boxes_cxcywh, "cxcywh", "xyxy") * grid
    steps = torch.arange(grid, device=boxes_cxcywh.device, dtype=boxes_cxcywh.dtype)

    def covered(low: Tensor, high: Tensor) -> Tensor:
        return (torch.minimum(high[:, None], steps + 1) - torch.maximum(low[:, None], steps)).clamp(0, 1)

    columns, rows = covered(corners[:, 0], corners[:, 2]), covered(corners[:, 1], corners[:, 3])
    mask = rows[:, :, None] * columns[:, None, :]
    hit = mask.amax((1, 2), keepdim=True) > 0
    return torch.where(hit, mask + background * (1 - mask), mask)


def cell_mask(boxes_cxcywh: Tensor, grid: int) -> Tensor:
    """[B, 4] -> [B, G, G] of 0 and 1: the cells whose centre lies in the box.

    Where there is none, it is the one cell of the box's centre, clamped to the region; a box that misses
    the region has no cell.
    """
    corners: Tensor = box_convert(boxes_cxcywh, "cxcywh", "xyxy").unsqueeze(2)
    low, high = corners[:, :2], corners[:, 2:]
    steps = torch.arange(grid, device=boxes_cxcywh.device)
    centres = (steps + 0.5) / grid
    columns, rows = ((centres >= low) & (centres < high)).unbind(1)
    inside = rows.unsqueeze(2) & columns.unsqueeze(1)
    column, row = (index.view(-1, 1, 1) for index in target_cell(boxes_cxcywh, grid))
    centre = (steps.view(-1, 1) == row) & (steps == column)
    hit = (high.clamp_max(1) > low.clamp_min(0)).all(1, keepdim=True)
    mask = torch.where(inside.flatten(1).any(1).view(-1, 1, 1), inside, centre) & hit
    return mask.to(boxes_cxcywh.dtype)


def feature_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, reduction: str = "mean"
) -> Tensor:
    """(1 / K B) sum_k sum_i || M_i (x_i^k - y_i^k) ||^2 (EATrack, feature branch).

    Args:
        student, teacher: K pairs of token tensors [B, N, D], the outputs of paired blocks.
        mask: [B, N] weights of the tokens, 0 to 1.
        reduction: "mean" divides every (k, i) by D * sum_j M_ij^2, so that the size of the target does
            not matter; "seed-sum" is the plain sum of the formula.
    """
    weight = mask.float().square()
    terms = []
    for x, y in zip(student, teacher, strict=True):
        distance = (weight * (x.float() - y.float()).square().sum(2)).sum(1)
        if reduction == "mean":
            distance = distance / (x.shape[2] * weight.sum(1)).clamp_min(1e-6)
        terms.append(distance.mean())
    return torch.stack(terms).mean()


def prediction_loss(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor,
    domain: str = "two-class",
    temperature: float = 2.0,
    direction: str = "student-teacher",
) -> Tensor:
    """Divergence of the tempered score maps inside the mask (EATrack, prediction branch).

    Args:
        student, teacher: score logits [B, G, G].
        mask: [B, G, G] of 0 and 1; an empty one gives zero.
        domain: what is a distribution. "two-class": {target, background} at every cell; the mean over the
            mask. "masked-softmax": the cells of the mask; their sum. "full-softmax": all cells, of which the
            masked terms are averaged; not a divergence (it can be negative), kept for comparison.
        temperature: divides the logits.
        direction: "student-teacher" = KL(student || teacher), or "teacher-student".
    """
    a, b = (logits.float().flatten(1) / temperature for logits in (student, teacher))
    if direction == "teacher-student":
        a, b = b, a
    m = mask.float().flatten(1)
    cells = m.sum(1).clamp_min(1)
    if domain == "two-class":
        return ((m * two_class_divergence(a, b)).sum(1) / cells).mean()
    if domain == "masked-softmax":
        a, b = (torch.where(m > 0, logits, EXCLUDED) for logits in (a, b))
        cells = torch.ones_like(cells)
    log_p, log_q = a.log_softmax(1), b.log_softmax(1).clamp_min(LOG_FLOOR)
    return ((m * log_p.exp() * (log_p - log_q)).sum(1) / cells).mean()


def two_class_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(sigmoid(a) || sigmoid(b)) of two classes from logits; between 0 and |a - b|, whatever their size.

    Equal to softplus(b) - softplus(a) - sigmoid(a) (b - a), which loses its digits for large logits.
    """
    target = a.sigmoid() * (F.logsigmoid(a) - F.logsigmoid(b))
    return target + (-a).sigmoid() * (F.logsigmoid(-a) - F.logsigmoid(-b))


def edge_loss(student: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """(1/4) sum_X KL(P_X^teacher || P_X^student) over the edges of the box (MixFormerV2, dense to sparse).

    The mean over all samples, as the released code averages over the edges; the paper writes their sum.

    Args:
        student, teacher: logits [B, 4, F] of the distributions of left, top, right and bottom. The marginals
            of a corner head have logits too, see models.corner_head.
        weight: [B], 0 for samples without a target.
    """
    own, other = (logits.float().log_softmax(2) for logits in (student, teacher))
    divergence = F.kl_div(own, other, reduction="none", log_target=True).sum(2).mean(1)
    return (weight * divergence).mean()
