"""Samples are drawn: for a whole batch at once, on the device that trains."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import effects
from .config import DataConfig, Sizes
from .cutout import opacity
from .draws import Draws
from .layers import Layer
from .patches import Batch, Patches


@torch.no_grad()
def make_batch(patches: Patches, config: DataConfig, sizes: Sizes, draws: Draws) -> Batch:
    """Draw the layers of the crops, then change light, blur and noise.

    Nothing here waits for the device. To be called outside of autocast, whose products would round colours.

    Args:
        patches: with pixels, on the device of the batch.
        draws: of `patches.numbers`, on the host.
    """
    count, slots = len(patches.numbers), sizes.template_slots
    templates = draw_layers(patches.templates, count * slots, sizes.template_size)
    search = draw_layers(patches.search, count, sizes.search_size)
    factors = effects.light_factors(config, draws, slots + 1)
    templates = effects.recolour(templates, factors[:, :-1].flatten(0, 1))
    search = effects.recolour(search, factors[:, -1])
    _light_and_lens(templates, config, draws, slots, search=False)
    _light_and_lens(search, config, draws, 1, search=True)
    return Batch(
        _bytes(templates).view(count, slots, *templates.shape[1:]).movedim(2, -1),
        _bytes(search).movedim(1, -1),
        patches.box,
        patches.present,
        patches.template_boxes,
    )


def _light_and_lens(images: Tensor, config: DataConfig, draws: Draws, views: int, search: bool) -> None:
    """Darkness, which all views of a sample share; blur and noise, of each its own. In place."""
    name, share = ("search", 1.0) if search else ("template", 0.5)
    dark = draws.chance("low light", config.low_light).repeat_interleave(views)
    night = draws.uniform("night", 3).repeat_interleave(views, 0)
    rows = dark.nonzero().squeeze(1)
    effects.darken(images, rows, 0.15 + 0.45 * night[rows, 0], 1 + 0.6 * night[rows, 1])

    which, angle, strength = draws.uniform(f"{name} blur", 3 * views).view(-1, 3).unbind(1)
    motion, blurred = config.motion_blur * share, (config.motion_blur + config.defocus) * share
    rows = (which < blurred).nonzero().squeeze(1)
    kernels = effects.blur_kernels(images.shape[-1], angle[rows], strength[rows], which[rows] < motion)
    effects.blur(images, rows, kernels)

    drawn = draws.uniform(f"{name} noise", 7 * views).view(-1, 7)
    level = config.noise * drawn[:, 6] ** 2 if search else torch.zeros(len(images))
    level = level + torch.where(dark, 0.01 + 0.04 * night[:, 2], 0.0)
    rows = (level > 0).nonzero().squeeze(1)
    effects.add_noise(images, rows, level[rows], drawn[rows, :6])


def draw_layers(layers: tuple[Layer, ...], crops: int, size: int) -> Tensor:
    """[crops, 3, size, size] float32, 0 to 1; zeros where no layer has drawn."""
    canvas = torch.zeros(crops, 3, size, size, device=layers[0].to_pixels.device)
    for layer in layers:
        if len(layer.rows):
            _draw(canvas, layer)
    return canvas


def _draw(canvas: Tensor, layer: Layer) -> None:
    size = canvas.shape[-1]
    places = _places(layer.to_pixels, size)
    alpha = None
    if layer.cutout is not None:
        outline, to_box = layer.cutout
        half_px = 1 / to_box[:, :, :2].norm(dim=2).mean(1)
        across = _places(to_box, size)
        alpha = opacity(outline, across[..., 0], across[..., 1], half_px)
    elif layer.inside is not None:
        alpha = _coverage(places[..., 0], layer.to_pixels[:, 0], layer.inside[:, 0], layer.inside[:, 2])
        alpha *= _coverage(places[..., 1], layer.to_pixels[:, 1], layer.inside[:, 1], layer.inside[:, 3])
    if layer.inside is not None:
        # Beyond the image its last pixels go on, so that its border does not fade to black.
        places = torch.minimum(places, layer.inside[:, None, None, 2:].floor() - 0.5)
    grid = places.mul_(2 / layer.side).sub_(1)
    pixels = layer.pixels.movedim(-1, 1).float()
    seen = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).div_(255)
    if alpha is not None:
        seen = torch.lerp(canvas.index_select(0, layer.rows), seen, alpha.unsqueeze(1))
    canvas[layer.rows] = seen


def _places(maps: Tensor, size: int) -> Tensor:
    """Where the pixels of the crops are mapped to: [K, 2, 3] -> [K, size, size, 2] as x, y."""
    steps = torch.arange(0.5, size, device=maps.device).view(-1, 1)
    across = steps * maps[:, None, :, 0]  # [K, size, 2]
    down = steps * maps[:, None, :, 1] + maps[:, None, :, 2]
    return across.unsqueeze(1) + down.unsqueeze(2)


def _coverage(places: Tensor, row: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The share of each pixel of the crop between two borders of the image, [K, size, size].

    Args:
        places: where the pixels' centres lie, on one axis.
        row: [K, 3], of the map that has put them there.
        low, high: [K].
    """
    width = row[:, :2].abs().sum(1)  # of a pixel of the crop
    middle, reach = (low + high) / 2, (high - low) / 2
    inside = (places - middle.view(-1, 1, 1)).abs_()
    return inside.mul_((-1 / width).view(-1, 1, 1)).add_((reach / width + 0.5).view(-1, 1, 1)).clamp_(0, 1)


def _bytes(images: Tensor) -> Tensor:
    return images.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
