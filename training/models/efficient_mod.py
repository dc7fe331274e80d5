"""The blocks of EfficientMod (Ma et al., ICLR 2024), the backbone of AsymTrack. Maps are [B, H, W, C]."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

SMALLEST_HEAD = 32  # channels of an attention head
# From the names of the published checkpoint of EfficientMod-xxs (ma-xu/EfficientMod) to those of AsymTrack.
PUBLISHED_NAMES = (
    (r"^patch_embed\.", "stages.0.embedding."),
    (r"^layers\.0\.downsample\.", "stages.1.embedding."),
    (r"^layers\.1\.downsample\.", "stages.2.embedding."),
    (r"^layers\.2\.downsample\.", "reduction."),
    (r"^layers\.2\.blocks\.6\.(attn\.)?", "attention."),  # after six modulation blocks
    (r"^layers\.([012])\.blocks\.(\d)\.(mlp\.)?", r"stages.\1.blocks.\2."),
    (r"\.context_layer\.f\.", ".context.before."),
    (r"\.context_layer\.context_list\.0\.", ".context.conv."),
    (r"\.context_layer\.g\.", ".context.after."),
    (r"\.gamma_1$", ".gamma"),
)


class Embedding(nn.Module):
    """A convolution with a stride and a norm over the channels: [B, H, W, C] -> [B, H/s, W/s, D]."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolve(self.proj, x))


class ModulationBlock(nn.Module):
    """x + gamma * fc2(phi(fc1(n)) * context(n)) with n = LN(x): every feature is scaled by its surroundings.

    The hidden layer is `ratio` times as wide as the map, and its parts share one context. phi is GELU, or
    nothing where the ratio is 1.
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.norm = nn.LayerNorm(width)
        self.context = Context(width)
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        hidden = self.fc1(normed)
        if self.ratio > 1:
            hidden = F.gelu(hidden)
        modulated = hidden.unflatten(-1, (self.ratio, -1)) * self.context(normed).unsqueeze(-2)
        return x + self.gamma * self.fc2(modulated.flatten(-2))


class Context(nn.Module):
    """What surrounds a cell, 7 x 7, on the same grid and channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = nn.Linear(width, width)
        self.conv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.after = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(F.gelu(convolve(self.conv, self.before(x))))


class AttentionBlock(nn.Module):
    """A transformer block whose tokens also look at those of the template, by their cached keys and values.

    There are `heads` heads of `head_width(width, heads)` channels, so that the attention may be wider than
    the map.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.fused_attn = heads, True
        inner = heads * head_width(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def keys_values(self, template: Tensor) -> Tensor:
        """Template map [B, h, w, D] -> [B, 2, heads, h * w, head width]."""
        return self._project(template)[:, 1:]

    def forward(self, x: Tensor, template: Tensor) -> Tensor:
        """Search map [B, H, W, D] and the keys and values of its template -> a map of the same shape."""
        query, keys, values = self._project(x).unbind(1)
        keys, values = torch.cat([template[:, 0], keys], 2), torch.cat([template[:, 1], values], 2)
        if self.fused_attn:
            found = F.scaled_dot_product_attention(query, keys, values)
        else:
            scores = query @ keys.transpose(2, 3) * query.shape[-1] ** -0.5
            found = scores.softmax(-1) @ values
        x = x + self.proj(found.transpose(1, 2).flatten(2)).unflatten(1, x.shape[1:3])
        return x + self.mlp(self.norm2(x))

    def _project(self, x: Tensor) -> Tensor:
        """[B, h, w, D] -> queries, keys and values [B, 3, heads, h * w, head width]."""
        projected = self.qkv(self.norm1(x).flatten(1, 2))
        return projected.unflatten(-1, (3, self.heads, -1)).permute(0, 2, 3, 1, 4)


def head_width(width: int, heads: int) -> int:
    """Channels of an attention head."""
    return max(width // heads, SMALLEST_HEAD)


def convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution of a map [B, H, W, C]."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def small_linear_weights(module: nn.Module) -> None:
    """For `Module.apply`: linear layers start as EfficientMod's do, with a deviation of 0.02 and no bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def published_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published EfficientMod-xxs under the names that AsymTrack has for them."""
    found = {}
    for name, tensor in state.items():
        for pattern, ours in PUBLISHED_NAMES:
            name = re.sub(pattern, ours, name)
        found[name] = tensor
    return found
