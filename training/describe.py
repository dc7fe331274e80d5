"""What a network costs: parameters, multiply-accumulates of a frame and of a template, tokens and states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from timm.layers import Attention
from torch import Tensor, nn

from .models.eatrack import EATrackStudent
from .recipe import Recipe
from .spec import eatrack_spec


def describe(recipe: Recipe) -> dict[str, Any]:
    """Numbers of the network that a recipe trains, a student or a teacher.

    `parameters` leaves the position tables out, `linear_macs` counts linear layers and convolutions of one
    frame with the template cached (the convention of the field), `macs` adds the products of attention;
    `template_macs` are those of one template, which are spent once a template.
    """
    config = recipe.student
    student = EATrackStudent(config).eval()
    spec = eatrack_spec(config, recipe.name)
    parameters = sum(p.numel() for name, p in student.named_parameters() if "positions" not in name)
    state = torch.zeros(1, *spec.states[0].shape)
    with torch.inference_mode(), _counting(student) as count:
        student.search(torch.zeros(1, 3, config.search_size, config.search_size), state)
    with torch.inference_mode(), _counting(student) as template_count:
        student.encode_template(torch.zeros(1, 1, 3, config.template_size, config.template_size))
    return {
        "name": recipe.name,
        "method": recipe.method,
        "parameters": parameters,
        "position_table_parameters": sum(p.numel() for p in student.parameters()) - parameters,
        "linear_macs": count["linear"],
        "macs": sum(count.values()),
        "template_macs": sum(template_count.values()),
        "tokens": {"search": config.grid**2, "template": config.template_slots * config.template_grid**2},
        "states": [
            {
                "name": s.name,
                "shape": list(s.shape),
                "dtype": s.dtype,
                "bytes": int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize,
            }
            for s in spec.states
        ],
    }


@contextmanager
def _counting(module: nn.Module) -> Iterator[dict[str, int]]:
    """Count the multiply-accumulates of every call inside the block."""
    count = {"linear": 0, "attention": 0}

    def on_linear(layer: nn.Linear, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count["linear"] += output.numel() * layer.in_features

    def on_convolution(layer: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count["linear"] += output.numel() * layer.weight[0].numel()

    def on_attention(_layer: Attention, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        batch, tokens, width = inputs[0].shape
        count["attention"] += 2 * batch * tokens * tokens * width  # Q K^T and A V

    hooks = {nn.Linear: on_linear, nn.Conv2d: on_convolution, Attention: on_attention}
    handles = [m.register_forward_hook(hooks[type(m)]) for m in module.modules() if type(m) in hooks]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()
