"""Images that live on the training device, so that batches are cut there and only numbers travel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .config import DataConfig
from .images import Image, ImageStore
from .layers import halved, halvings_of

SHARE = 0.25  # of the free memory of the device that `auto` may take


class ResidentImages:
    """Many images, each as it is and halved again and again, in one tensor.

    Attributes:
        numbers: what the images are called in windows.
    """

    def __init__(self, images: Mapping[Path, Image], device: torch.device) -> None:
        self.numbers = {path: number for number, path in enumerate(images)}
        levels = 1 + max(halvings_of(image) for image in images.values())
        # Pixel 0 is black: what windows show outside the images.
        self._pixels = torch.zeros(1 + _pixels(images), 3, dtype=torch.uint8, device=device)
        table = torch.zeros(len(images), levels, 3, dtype=torch.int64)
        first = 1
        for number, image in enumerate(images.values()):
            for level in range(1 + halvings_of(image)):
                part = torch.from_numpy(halved(image, level).reshape(-1, 3).copy())
                self._pixels[first : first + len(part)] = part.to(device)
                table[number, level] = torch.tensor([first, image.shape[1] >> level, image.shape[0] >> level])
                first += len(part)
        self._table = table.to(device)  # first pixel, width, height

    def cut(self, windows: Tensor, side: int) -> Tensor:
        """As `layers.cut_windows`, on the device."""
        number, level, left, top = windows.to(self._table.device, non_blocking=True).unbind(1)
        first, width, height = self._table[number, level].view(-1, 3, 1, 1).unbind(1)
        steps = torch.arange(side, device=first.device)
        x, y = left.view(-1, 1, 1) + steps, top.view(-1, 1, 1) + steps.view(-1, 1)
        place = (first + y * width + x).where((x < width) & (y < height), 0)
        return self._pixels[place]


def resident_images(images: ImageStore, config: DataConfig, device: torch.device) -> ResidentImages | None:
    """The images on the device, if the configuration wants it so (see DataConfig.resident).

    Raises:
        ValueError: it demands what cannot be, for the images do not even fit into the host's memory.
    """
    if config.resident is False or (config.resident == "auto" and device.type != "cuda"):
        return None
    held = {path: image for path, image in images.held.items() if image is not None}
    if config.resident == "auto":
        free = torch.cuda.mem_get_info(device)[0]
        if not held or 3 * _pixels(held) > SHARE * free:
            return None
    if not held:
        raise ValueError("resident = true needs images that fit into memory; false and auto take any")
    return ResidentImages(held, device)


def _pixels(images: Mapping[Path, Image]) -> int:
    """Of all images with all their halves."""
    return sum(
        (image.shape[0] >> level) * (image.shape[1] >> level)
        for image in images.values()
        for level in range(1 + halvings_of(image))
    )
