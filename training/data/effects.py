"""Light, lens and sensor: what changes how crops look, not where things are in them.

Images are float [N, 3, H, W], 0 to 1, on the training device. Their random numbers are drawn on the host: it
knows without waiting for the device which images an effect is for.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import DataConfig
from .draws import Draws

GREY = (0.299, 0.587, 0.114)
KERNEL_PX = 128  # crops up to this side are blurred by kernels of 7 x 7, larger ones by larger kernels
GRAIN_PX = 1024


def light_factors(config: DataConfig, draws: Draws, views: int) -> Tensor:
    """Factors of brightness, contrast, saturation and the three colours, [B, views, 6].

    What the views of a sample share, times a little of their own; without colour for some of the samples.
    """
    shared = torch.tensor([config.brightness, config.contrast, config.saturation, *3 * [config.tint]])
    own = config.own_light * torch.tensor([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])
    logarithm = draws.normal("light", 6).unsqueeze(1) * shared
    logarithm = logarithm + draws.normal("own light", 6 * views).view(-1, views, 6) * own
    factors = logarithm.exp()
    factors[draws.chance("grey", config.grey), :, 2] = 0
    return factors


def recolour(images: Tensor, factors: Tensor) -> Tensor:
    """Contrast is about the mean grey of each image; [N, 3, H, W], [N, 6] (host)."""
    grey = torch.tensor(GREY)
    brightness, contrast, saturation = (factors[:, i, None, None] for i in range(3))
    gain = brightness * factors[:, 3:, None]
    mixing = gain * contrast * (saturation * torch.eye(3) + (1 - saturation) * grey)
    mean = (gain * (1 - contrast) * grey).to(images.device, non_blocking=True)
    offset = mean @ images.mean((2, 3)).unsqueeze(2)
    mixing = mixing.to(images.device, non_blocking=True)
    return torch.baddbmm(offset, mixing, images.flatten(2)).view_as(images).clamp_(0, 1)


def darken(images: Tensor, rows: Tensor, gain: Tensor, gamma: Tensor) -> None:
    """Some of the images, in place: gain x^gamma; [K] each (host)."""
    if len(rows):
        gain, gamma, rows = _on(images, gain, gamma, rows)
        images[rows] = images[rows] ** gamma.view(-1, 1, 1, 1) * gain.view(-1, 1, 1, 1)


def blur(images: Tensor, rows: Tensor, kernels: Tensor) -> None:
    """Some of the images, in place, each by its kernel [K, k, k] (host)."""
    if len(rows):
        rows, kernels = _on(images, rows, kernels.repeat_interleave(3, 0).unsqueeze(1))
        reach = kernels.shape[-1] // 2
        flat = F.pad(images[rows].flatten(0, 1).unsqueeze(0), 4 * (reach,), mode="replicate")
        images[rows] = F.conv2d(flat, kernels, groups=len(kernels)).view(-1, *images.shape[1:])


def blur_kernels(size: int, angle: Tensor, strength: Tensor, motion: Tensor) -> Tensor:
    """Gaussians, long in the direction of the motion or round; for crops of size x size.

    Args:
        size: of the crops; the larger, the wider the kernels.
        angle: [K] in half turns.
        strength: [K], 0 to 1.
        motion: [K] bool; the others are out of focus.
    """
    scale = max(1.0, size / KERNEL_PX)
    reach = round(3 * scale)
    steps = torch.arange(-reach, reach + 1.0)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle = torch.pi * angle.view(-1, 1, 1)
    along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    length = scale * (0.3 + 2.0 * strength.view(-1, 1, 1))
    width = torch.where(motion.view(-1, 1, 1), torch.full_like(length, 0.4), length)
    kernels = torch.exp(-0.5 * ((along / length) ** 2 + (across / width) ** 2))
    return kernels / kernels.sum((1, 2), keepdim=True)


def add_noise(images: Tensor, rows: Tensor, level: Tensor, place: Tensor) -> None:
    """To some of the images, in place: normal noise of deviation `level` [K].

    Args:
        place: [K, 6] in [0, 1): which parts of a fixed sheet of noise the three colours get. Fresh noise for
            every pixel would cost more than all other effects together.
    """
    if len(rows):
        height, width = images.shape[2:]
        sheet = _grain(images.device)
        squares = sheet.unfold(0, height, 1).unfold(1, width, 1)
        top = (place[:, :3] * (GRAIN_PX - height)).long()
        left = (place[:, 3:] * (GRAIN_PX - width)).long()
        rows, level, top, left = _on(images, rows, level, top, left)
        images[rows] = images[rows].addcmul(squares[top, left], level.view(-1, 1, 1, 1))


@lru_cache(maxsize=8)
def _grain(device: torch.device) -> Tensor:
    return torch.randn(GRAIN_PX, GRAIN_PX, generator=torch.Generator().manual_seed(0)).to(device)


def _on(images: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    return tuple(value.to(images.device, non_blocking=True) for value in values)
