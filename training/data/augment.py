"""Light, colour, blur and noise, for a whole batch at once on the training device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .sampler import Batch

GREY = (0.299, 0.587, 0.114)


def augment(batch: Batch, generator: Generator) -> Batch:
    """Change how templates and search regions look, not where things are.

    Light and colour differ a little between the views of a sample; greyscale is shared by them.
    """
    search = batch.search.float().movedim(-1, 1) / 255
    templates = batch.templates.float().movedim(-1, 2) / 255
    count, slots = templates.shape[:2]
    grey = _chance(0.1, count, search, generator)
    look = _Look.draw(count, search, generator)
    search = _recolour(search, look.varied(generator), grey)
    flat = templates.flatten(0, 1)
    look = look.repeated(slots)
    flat = _recolour(flat, look.varied(generator), grey.repeat_interleave(slots))
    search = _soften(search, 0.3, generator)
    flat = _soften(flat, 0.15, generator)
    search = _noise(search, generator)
    return batch._replace(
        search=_to_bytes(search).movedim(1, -1),
        templates=_to_bytes(flat).unflatten(0, (count, slots)).movedim(2, -1),
    )


class _Look:
    """Brightness, contrast, saturation (factors) and a tint a channel, one row a sample."""

    def __init__(self, factors: Tensor) -> None:
        self.factors = factors  # [N, 6]

    @classmethod
    def draw(cls, count: int, like: Tensor, generator: Generator) -> _Look:
        noise = torch.randn(count, 6, generator=generator, device=like.device)
        deviation = torch.tensor([0.2, 0.2, 0.3, 0.05, 0.05, 0.05], device=like.device)
        return cls(torch.exp(noise * deviation))

    def varied(self, generator: Generator) -> Tensor:
        noise = torch.randn(self.factors.shape, generator=generator, device=self.factors.device)
        return self.factors * torch.exp(
            0.1 * noise * (torch.tensor([1.0, 1, 1, 0.3, 0.3, 0.3], device=noise.device))
        )

    def repeated(self, times: int) -> _Look:
        return _Look(self.factors.repeat_interleave(times, 0))


def _recolour(images: Tensor, factors: Tensor, grey: Tensor) -> Tensor:
    """[N, 3, H, W] in 0..1."""
    brightness, contrast, saturation = (factors[:, i].view(-1, 1, 1, 1) for i in range(3))
    luma = (images * torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    saturation = torch.where(grey.view(-1, 1, 1, 1), torch.zeros_like(saturation), saturation)
    images = luma + (images - luma) * saturation
    mean = luma.mean((2, 3), keepdim=True)
    tint = factors[:, 3:].view(-1, 3, 1, 1)
    return ((mean + (images - mean) * contrast) * brightness * tint).clamp(0, 1)


def _soften(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Blur of motion (a line) or focus (a disc) by a 7 x 7 kernel, for some of the images."""
    chosen = _chance(probability, len(images), images, generator).nonzero().squeeze(1)
    if not len(chosen):
        return images
    draw = torch.rand(len(chosen), 3, generator=generator, device=images.device)
    steps = torch.arange(-3.0, 4.0, device=images.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle = draw[:, 0].view(-1, 1, 1) * torch.pi
    along = x * angle.cos() + y * angle.sin()
    across = y * angle.cos() - x * angle.sin()
    length = (0.3 + 2.0 * draw[:, 1]).view(-1, 1, 1)
    width = torch.where(draw[:, 2].view(-1, 1, 1) < 0.5, torch.full_like(length, 0.4), length)
    kernel = torch.exp(-0.5 * ((along / length) ** 2 + (across / width) ** 2))
    kernel = (kernel / kernel.sum((1, 2), keepdim=True)).repeat_interleave(3, 0).unsqueeze(1)
    flat = images[chosen].reshape(1, -1, *images.shape[2:])
    padded = F.pad(flat, (3, 3, 3, 3), mode="replicate")
    blurred = F.conv2d(padded, kernel, groups=kernel.shape[0]).reshape(-1, 3, *images.shape[2:])
    return images.index_copy(0, chosen, blurred)


def _noise(images: Tensor, generator: Generator) -> Tensor:
    level = 0.03 * torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) ** 2
    return images + level * torch.randn(images.shape, generator=generator, device=images.device)


def _chance(probability: float, count: int, like: Tensor, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=like.device) < probability


def _to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)
