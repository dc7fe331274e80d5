"""Pieces of images on their way from the files to the crops that they are drawn into.

A crop needs a small part of an image, at about its own resolution. So what travels to the device is a
*window*: a square of fixed side cut out of the image, halved as often as leaves enough pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from .cutout import Outline
from .geometry import chained, scalings, warped_bounds
from .images import Image

# Image pixels on the side of a crop pixel, at most, once the image is halved. At 1.85 crops are about as
# sharp as those of core.crop, which averages areas; more would alias, less would blur.
DENSITY = 1.85


class Cutout(NamedTuple):
    """What is cut out of K pieces."""

    outline: Outline
    to_box: Tensor  # [K, 2, 3] float32, pixels of the crop -> -1 to 1 across the box that the outline fills

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Cutout:
        return Cutout(
            self.outline.to(device, non_blocking), self.to_box.to(device, non_blocking=non_blocking)
        )


class Layer(NamedTuple):
    """K pieces of images, each drawn into one of the crops of a batch."""

    side: int  # P
    rows: Tensor  # [K] int64, the crop
    windows: Tensor  # [K, 4] int64: number of the image, halvings, left, top; stays on the host
    pixels: Tensor  # [K, P, P, 3] uint8; none before they are cut
    to_pixels: Tensor  # [K, 2, 3] float32, pixels of the crop -> pixels of the window
    inside: Tensor | None  # [K, 4] float32, xyxy of the image in window pixels; None: it fills all crops
    cutout: Cutout | None  # None: all of the image is drawn

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Layer:
        """The same on a device, but for `windows`."""

        def moved(part: Tensor) -> Tensor:
            return part.to(device, non_blocking=non_blocking)

        return self._replace(
            rows=moved(self.rows),
            pixels=moved(self.pixels),
            to_pixels=moved(self.to_pixels),
            inside=None if self.inside is None else moved(self.inside),
            cutout=self.cutout and self.cutout.to(device, non_blocking),
        )


class Pieces(NamedTuple):
    """K pieces of images to be drawn; numbers are float64, on the host."""

    rows: Tensor  # [K] int64, the crop
    images: Tensor  # [K] int64
    image_sizes: Tensor  # [K, 2], width and height
    from_crop: Tensor  # [K, 2, 3], pixels of the crop -> pixels of the image

    def chosen(self, mask: Tensor) -> Pieces:
        """Those for which `mask` [K] holds."""
        return Pieces(*(part[mask] for part in self))

    def bounds(self, size: int) -> Tensor:
        """[K, 4] xyxy in pixels of the images, around crops of size x size."""
        crop = torch.tensor([0.0, 0.0, size, size], dtype=torch.float64)
        return warped_bounds(crop, self.from_crop)

    def covers(self, size: int) -> Tensor:
        """[K] bool: crops of size x size lie within the images."""
        bounds = self.bounds(size)
        return ((bounds[:, :2] >= 0) & (bounds[:, 2:] <= _shown(self.image_sizes))).all(dim=1)


def view_layer(pieces: Pieces, size: int, covering: bool = False) -> Layer:
    """All of the images that the crops of size x size show; `covering`: these crops lie within the images."""
    layer = _layer(pieces, pieces.bounds(size), 2 * size)
    return layer._replace(inside=None) if covering else layer


def object_layer(pieces: Pieces, boxes_xywh: Tensor, outline: Outline, size: int) -> Layer:
    """What K outlines cut out of boxes [K, 4] (pixels of the images), in crops of size x size."""
    low, extent = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    to_box = chained(scalings(2 / extent, -1 - 2 * low / extent), pieces.from_crop)
    layer = _layer(pieces, torch.cat([low, low + extent], 1), size)
    return layer._replace(cutout=Cutout(outline, to_box.float()))


def _shown(image_sizes: Tensor) -> Tensor:
    """core.crop never shows the last column and row of a frame, see its `padding`."""
    return image_sizes - 1


def _layer(pieces: Pieces, bounds_xyxy: Tensor, side: int) -> Layer:
    """Windows that hold `bounds_xyxy` (pixels of the images) as far as there is image."""
    low, high = bounds_xyxy[:, :2], bounds_xyxy[:, 2:]
    scale = pieces.from_crop[:, :, :2].norm(dim=1).amin(1)  # image pixels of a crop pixel
    need = torch.maximum((high - low).amax(1) / (side - 1), scale / DENSITY)
    halvings = need.clamp_min(1).log2().ceil()
    halvings = halvings.minimum(pieces.image_sizes.amin(1).log2().floor()).unsqueeze(1)
    factor = 2**halvings
    available = (pieces.image_sizes / factor).floor()
    origin = (low / factor).floor().clamp_min(0).minimum(available - 1)
    inside = torch.cat([-origin, _shown(pieces.image_sizes) / factor - origin], 1)
    to_pixels = chained(scalings((1 / factor).expand_as(origin), -origin), pieces.from_crop)
    windows = torch.cat([pieces.images.unsqueeze(1), halvings.long(), origin.long()], 1)
    nothing = torch.empty(len(low), 0, dtype=torch.uint8)
    return Layer(side, pieces.rows, windows, nothing, to_pixels.float(), inside.float(), None)


def joined_layers(layers: Sequence[Layer], crops: Sequence[int]) -> Layer:
    """One layer of several, each of a batch with so many crops."""
    firsts = [sum(crops[:i]) for i in range(len(crops))]
    inside = [layer.inside for layer in layers if layer.inside is not None]
    cutouts = [layer.cutout for layer in layers if layer.cutout is not None]
    cutout = None
    if cutouts:
        outlines = zip(*(cutout.outline for cutout in cutouts), strict=True)
        cutout = Cutout(Outline(*map(torch.cat, outlines)), torch.cat([cutout.to_box for cutout in cutouts]))
    return Layer(
        layers[0].side,
        torch.cat([layer.rows + first for layer, first in zip(layers, firsts, strict=True)]),
        torch.cat([layer.windows for layer in layers]),
        torch.cat([layer.pixels for layer in layers]),
        torch.cat([layer.to_pixels for layer in layers]),
        torch.cat(inside) if inside else None,
        cutout,
    )


def halvings_of(image: Image) -> int:
    """How often an image can be halved."""
    return min(image.shape[:2]).bit_length() - 1


def halved(image: Image, times: int) -> Image:
    """Areas of 2^times x 2^times pixels averaged; what is left over at right and bottom is dropped."""
    factor = 1 << times
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if not times:
        return image
    whole = image[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def cut_windows(images: list[Image], windows: Tensor, side: int) -> Tensor:
    """[K, 4] as in Layer -> [K, side, side, 3] uint8; zeros outside the images."""
    found = np.zeros((len(windows), side, side, 3), np.uint8)
    for window, (number, times, left, top) in zip(found, windows.tolist(), strict=True):
        part = images[number][top << times : (top + side) << times, left << times : (left + side) << times]
        part = halved(part, times)
        window[: part.shape[0], : part.shape[1]] = part
    return torch.from_numpy(found)
