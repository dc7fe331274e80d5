"""Batches of numbered samples, cut in worker processes or, where the device holds the images, there."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import cv2
import torch
from torch.utils.data import DataLoader

from .patches import Patches
from .resident import resident_images
from .sampler import Sampler


def loader(
    sampler: Sampler, batches: Sequence[Sequence[int]], workers: int, device: torch.device
) -> Iterator[Patches]:
    """The batches of these sample numbers, on the device, ready for `making.make_batch`.

    Args:
        sampler: of the samples; it learns here which images the device holds.
        batches: the numbers of each batch, this process's share alone.
        workers: processes that make them; 0 = this one.
        device: that trains.
    """
    resident = resident_images(sampler.images, sampler.config, device)
    sampler.resident = resident.numbers if resident else None
    numbered = DataLoader(
        sampler,
        batch_size=None,  # a batch is one item: its geometry is drawn at once
        sampler=batches,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_prepare,
    )
    for patches in numbered:
        patches = patches.to(device)
        yield patches.cut(resident.cut) if resident else patches


def _prepare(_worker: int) -> None:
    """Workers are the parallelism: OpenCV's threads would fight them. Signals are for whom they serve."""
    cv2.setNumThreads(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
