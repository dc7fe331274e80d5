"""One batch learnt by heart, whatever the method and its network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torchvision.ops import box_convert, box_iou

from training.cross_resolution import resize_images
from training.data.sampler import Batch
from training.models.layers import normalise
from training.models.network import Network

STEPS, LEARNING_RATE = 120, 3e-3


def learn(method: nn.Module, batch: Batch, weights: Mapping[str, float], steps: int = STEPS) -> None:
    """Minimise the weighted losses of a batch."""
    optimiser = torch.optim.AdamW(p for p in method.parameters() if p.requires_grad)
    method.train()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / steps))
        losses = method(batch, step / steps)
        optimiser.zero_grad()
        torch.stack([weights[name] * value for name, value in losses.items()]).sum().backward()
        nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def mean_iou(network: Network, batch: Batch) -> float:
    """Of the boxes that the drone would read; the crops are resized if the network sees smaller ones."""
    config = network.eval().config
    templates = resize_images(normalise(batch.templates), config.template_size)
    search = resize_images(normalise(batch.search), config.search_size)
    found = network.outputs(search, *network.encode_template(templates))
    peak = found.score_map.flatten(1).argmax(1).view(-1, 1, 1).expand(-1, 4, 1)
    boxes = found.box_map.flatten(2).gather(2, peak).squeeze(2)
    corners = [box_convert(b, "cxcywh", "xyxy") for b in (boxes, batch.box)]
    return box_iou(*corners).diagonal().mean().item()
