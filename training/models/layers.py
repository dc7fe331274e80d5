"""What all networks share: normalisation, the stems, position tables and the transformer block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB [..., H, W, 3] -> float32 [..., 3, H, W], ImageNet mean and deviation.

    The cast comes first: TensorRT accepts no other operator on uint8.
    """
    x = images.float() / 255.0
    mean, std = (_filled(values, x.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((x - mean) / std).movedim(-1, -3)


def _filled(values: Sequence[float], device: torch.device) -> Tensor:
    """A vector made on the device: torch.tensor would copy it there, and wait for all work before it."""
    return torch.stack([torch.full((), value, device=device) for value in values])


def transformer_blocks(
    count: int, width: int, heads: int, mlp_ratio: float, drop_path: Tensor, kind: type[Block] = Block
) -> nn.ModuleList:
    """Pre-norm ViT blocks (timm); `drop_path` holds one rate a block, `kind` is their class."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    return nn.ModuleList(
        kind(width, heads, mlp_ratio, qkv_bias=True, drop_path=float(rate), norm_layer=norm)
        for rate in drop_path[:count]
    )


def matching_block(block: int, blocks: int, other_blocks: int) -> int:
    """The block of another network at the same relative depth, ceil(T l / S); both count from 1."""
    return -(-other_blocks * block // blocks)


class PatchStem(nn.Module):
    """ViT's patch embedding: one convolution with kernel = stride. [B, 3, H, W] -> [B, D, H/s, W/s]."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, stride, stride)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images)


class ConvStem(nn.Sequential):
    """A stack of stride-2 3x3 convolutions, then 1x1 to the width (Xiao et al., 2021).

    A small transformer trained from scratch learns much faster behind it than behind a patch
    embedding. [B, 3, H, W] -> [B, D, H/s, W/s], s a power of two.
    """

    def __init__(self, width: int, stride: int) -> None:
        steps = stride.bit_length() - 1
        if 2**steps != stride:
            raise ValueError(f"a convolutional stem needs a stride that is a power of two; got {stride}")
        channels = [3] + [max(24, width >> (steps - 1 - i)) for i in range(steps)]
        layers: list[nn.Module] = []
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [
                nn.Conv2d(before, after, 3, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, nn.Conv2d(channels[-1], width, 1))


def position_table(tokens: int, width: int) -> nn.Parameter:
    """A learned table [1, tokens, width]."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, width), std=0.02))


def resize_position_table(table: Tensor, grid: int) -> Tensor:
    """[1, g*g, D] -> [1, grid*grid, D], bicubic, corners not aligned. Prefix rows must be dropped before."""
    old = round(table.shape[1] ** 0.5)
    if old * old != table.shape[1]:
        raise ValueError(
            f"a position table has a square number of rows; got {table.shape[1]} (drop the prefix rows)"
        )
    image = table.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
