"""Corner heads: a box as the expected top-left and bottom-right cell of two maps."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .centre_head import SCORE_FLOOR, conv_branch
from .network import SearchOutputs


class CornerLogits(NamedTuple):
    """One logit a cell for each corner, on a grid of G x G over the search region."""

    top_left: Tensor  # [B, G, G]
    bottom_right: Tensor  # [B, G, G]


class CornerHead(nn.Module):
    """Two branches of four 3x3 convolutions (c, c/2, c/4, c/8 channels), then 1x1, at the grid of its input.

    Source: STARK (Yan et al., 2021).
    """

    def __init__(self, width: int, channels: int = 256) -> None:
        super().__init__()
        self.top_left = conv_branch(width, channels, 1)
        self.bottom_right = conv_branch(width, channels, 1)

    def forward(self, features: Tensor) -> CornerLogits:
        """[B, D, G, G] -> logits on the same grid."""
        return CornerLogits(*(_map(branch(features)) for branch in (self.top_left, self.bottom_right)))


class PyramidCornerHead(nn.Module):
    """The corner head on a grid four times finer than its input.

    Two nearest upsamplings, before each of which the input joins by a convolution of its own.

    Source: MixFormer (Cui et al., 2022), MixViT.
    """

    scale = 4  # side of the output grid / side of the input grid

    def __init__(self, width: int, channels: int = 384) -> None:
        super().__init__()
        self.top_left = _PyramidBranch(width, channels)
        self.bottom_right = _PyramidBranch(width, channels)

    def forward(self, features: Tensor) -> CornerLogits:
        """[B, D, G, G] -> logits on a grid of 4 G."""
        return CornerLogits(*(_map(branch(features)) for branch in (self.top_left, self.bottom_right)))


class _PyramidBranch(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        c = channels
        self.coarse = nn.Sequential(_convolution(width, c), _convolution(c, c // 2))
        self.lateral_coarse = _convolution(width, c // 2)
        self.middle = _convolution(c // 2, c // 4)
        self.lateral_middle = _convolution(width, c // 4)
        self.fine = _convolution(c // 4, c // 8)
        self.logits = nn.Conv2d(c // 8, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        x = _upsampled(self.coarse(features) + self.lateral_coarse(features), 2)
        x = _upsampled(self.middle(x), 2) + _upsampled(self.lateral_middle(features), 4)
        return self.logits(self.fine(x))


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _upsampled(features: Tensor, scale: int) -> Tensor:
    return F.interpolate(features, scale_factor=scale, mode="nearest")


def _map(logits: Tensor) -> Tensor:
    return logits.float().squeeze(1)


def joint_maps(logits: CornerLogits) -> tuple[Tensor, Tensor]:
    """The probabilities [B, G, G] (row, column) of the cell of either corner; float32, each sums to 1."""
    top_left, bottom_right = (
        each.float().flatten(1).softmax(1).reshape(each.shape)
        for each in (logits.top_left, logits.bottom_right)
    )
    return top_left, bottom_right


def marginals(logits: CornerLogits) -> Tensor:
    """[B, 4, G]: the distributions of left, top, right and bottom, each sums to 1."""
    top_left, bottom_right = joint_maps(logits)
    return torch.stack([top_left.sum(1), top_left.sum(2), bottom_right.sum(1), bottom_right.sum(2)], dim=1)


def marginal_logits(logits: CornerLogits) -> Tensor:
    """[B, 4, G]: numbers whose softmax are the marginals, without the loss of digits of their logarithm."""
    top_left, bottom_right = logits
    edges = (top_left, 1), (top_left, 2), (bottom_right, 1), (bottom_right, 2)
    return torch.stack([corner.logsumexp(axis) for corner, axis in edges], dim=1)


def expected_boxes(distributions: Tensor, half_cell: bool = False) -> Tensor:
    """Distributions [B, 4, F] of left, top, right and bottom -> xyxy [B, 4] relative to the search side.

    Bin k stands for k / F, so that edges lie in [0, (F - 1) / F]; with `half_cell` for (k + 0.5) / F.
    """
    bins = distributions.shape[-1]
    steps = torch.arange(bins, device=distributions.device, dtype=torch.float32)
    # A sum of products, as autocast would round the coordinates in a matrix product.
    return (distributions.float() * ((steps + 0.5 * half_cell) / bins)).sum(-1)


def corner_boxes(logits: CornerLogits, half_cell: bool = False) -> Tensor:
    """xyxy [B, 4] relative to the search side: the expected cell of either corner, see expected_boxes."""
    return expected_boxes(marginals(logits), half_cell)


def centre_form(boxes_xyxy: Tensor) -> Tensor:
    """xyxy [B, 4] -> cxcywh with sides of at least SCORE_FLOOR: corners that cross still give a box."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return torch.cat([(low + high) / 2, (high - low).clamp_min(SCORE_FLOOR)], dim=1)


def one_box(boxes_xyxy: Tensor, score: Tensor, embedding: Tensor) -> SearchOutputs:
    """What the drone reads of a network that gives one box [B, 4] and one score [B]: maps of one cell."""
    inside = score.clamp(SCORE_FLOOR, 1 - SCORE_FLOOR)  # a certain one is exactly 1 in float32
    boxes = centre_form(boxes_xyxy)
    return SearchOutputs(inside.reshape(-1, 1, 1), boxes.reshape(-1, 4, 1, 1), embedding)


def peakedness(logits: CornerLogits) -> Tensor:
    """[B] in (0, 1]: sqrt(max P_TL * max P_BR), 1 where both corners are certain.

    The confidence of networks that have no score; it is no probability.
    """
    grid = logits.top_left.shape[-1]
    # As a pooling, because ONNX has the maximum over several axes in another form since opset 18.
    top_left, bottom_right = (F.max_pool2d(each.unsqueeze(1), grid).flatten() for each in joint_maps(logits))
    return (top_left * bottom_right).sqrt()
