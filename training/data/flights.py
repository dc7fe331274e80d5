"""Short synthetic videos with known boxes: cut-out objects move over a photograph under a moving camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from distill_tracker_ros.core.boxes import Boxes

from .cutout import Outline, outline_boxes
from .footage import Shot
from .geometry import chained, inverse, linear_maps, scalings, warps_about
from .images import Image, ImageStore
from .layers import Layer, Pieces, cut_windows, object_layer, view_layer
from .making import draw_layers

FRAME_PX = 400  # side of the square frames
AT_ONCE = 15  # frames


def flight(
    rng: Generator, images: ImageStore, objects: Sequence[Shot], frames: int = 60
) -> tuple[list[NDArray[np.uint8]], Boxes]:
    """A video in which the first of `objects` is the target and the others pass by.

    Returns:
        RGB frames (FRAME_PX, FRAME_PX, 3), and the target's boxes (frames, 4) xywh in frame pixels.
    """
    pictures = [images.random(rng), *(images[shot.image] for shot in objects)]
    camera = _wander(rng, frames, reach=0.12 * FRAME_PX, turn=6.0, zoom=0.1)
    outlines = [_outline(rng, frames) for _ in objects]
    paths = [_wander(rng, frames, reach=0.3 * FRAME_PX, turn=20.0, zoom=0.3) for _ in objects]
    sides = np.exp(rng.uniform(np.log(20), np.log(90), len(objects)))
    placed = [
        chained(path, _to_side(shot.box_xywh, float(side)))
        for path, shot, side in zip(paths, objects, sides, strict=True)
    ]
    boxes = [torch.tensor(shot.box_xywh, dtype=torch.float64).expand(frames, 4) for shot in objects]
    ground = chained(camera, _covering(pictures[0]))
    video: list[NDArray[np.uint8]] = []
    for start in range(0, frames, AT_ONCE):
        part = slice(start, min(frames, start + AT_ONCE))
        layers = [view_layer(_pieces(pictures, 0, ground[part]), FRAME_PX)]
        for i in reversed(range(len(objects))):
            piece = _pieces(pictures, i + 1, placed[i][part])
            outline = outlines[i].chosen(torch.arange(len(piece.rows)))
            layers.append(object_layer(piece, boxes[i][part], outline, FRAME_PX // 2))
        video += _drawn([_cut(layer, pictures) for layer in layers], part.stop - start)
    return video, outline_boxes(outlines[0], boxes[0], placed[0]).numpy()


def _drawn(layers: list[Layer], count: int) -> list[NDArray[np.uint8]]:
    drawn = draw_layers(tuple(layers), count, FRAME_PX).mul(255).round().to(torch.uint8)
    return list(drawn.movedim(1, -1).contiguous().numpy())


def _cut(layer: Layer, pictures: list[Image]) -> Layer:
    return layer._replace(pixels=cut_windows(pictures, layer.windows, layer.side))


def _pieces(pictures: list[Image], number: int, to_frame: Tensor) -> Pieces:
    """One picture in all frames."""
    count = len(to_frame)
    height, width = pictures[number].shape[:2]
    return Pieces(
        torch.arange(count),
        torch.full((count,), number),
        torch.tensor([[width, height]], dtype=torch.float64).expand(count, 2),
        inverse(to_frame),
    )


def _wander(rng: Generator, frames: int, reach: float, turn: float, zoom: float) -> Tensor:
    """Centred coordinates -> frame pixels [frames, 2, 3]: slow waves of place (px), angle (degrees), zoom."""
    time = np.arange(frames)[:, None, None] / 30.0
    hertz, phase = rng.uniform(0.1, 0.9, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))
    waves = torch.from_numpy(np.sin(2 * np.pi * hertz * time + phase).mean(axis=1))
    shake = torch.from_numpy(rng.normal(0, 0.004, (frames, 2)))
    scale = (zoom * waves[:, 3]).exp()
    linear = linear_maps(turn * waves[:, 2], scale, scale, torch.zeros_like(scale))
    middle = FRAME_PX / 2 + reach * (waves[:, :2] + shake)
    return warps_about(torch.zeros_like(middle), linear, middle)


def _outline(rng: Generator, frames: int) -> Outline:
    """One random outline, the same in all frames."""
    power, depth = math.exp(rng.uniform(math.log(1.6), math.log(8.0))), rng.uniform(0, 0.25)
    ones = torch.ones(frames)
    return Outline(power * ones, depth * ones, (ones * rng.integers(2)).bool())


def _covering(ground: Image) -> Tensor:
    """A photograph's pixels -> centred coordinates, so large that it fills the frame at any place."""
    height, width = ground.shape[:2]
    scale = torch.full((2,), 1.6 * FRAME_PX / min(height, width), dtype=torch.float64)
    return scalings(scale, -scale * torch.tensor([width / 2, height / 2]))


def _to_side(box_xywh: tuple[float, float, float, float], side: float) -> Tensor:
    """Image pixels -> centred coordinates in which the box has sqrt(w h) = `side`."""
    x, y, w, h = box_xywh
    scale = torch.full((2,), side / math.sqrt(w * h), dtype=torch.float64)
    return scalings(scale, -scale * torch.tensor([x + w / 2, y + h / 2], dtype=torch.float64))
