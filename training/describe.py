"""What a network costs: parameters, multiply-accumulates of a frame and of a template, tokens and states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .recipe import Recipe
from .spec import model_spec


def describe(recipe: Recipe) -> dict[str, Any]:
    """Numbers of the network that a recipe trains, a student or a teacher.

    `parameters` leaves the position tables out, `linear_macs` counts linear layers and convolutions of one
    frame with the template cached (the convention of the field), `macs` adds all other matrix products, those
    of attention; `template_macs` is the share of one template in a call of the template graph.
    """
    config = recipe.student
    student = config.build().deployed()
    spec = model_spec(config, recipe.name)
    parameters = sum(p.numel() for name, p in student.named_parameters() if "positions" not in name)
    states = [torch.zeros(1, *state.shape) for state in spec.states]
    search = torch.zeros(1, 3, config.search_size, config.search_size)
    slots = config.template_slots
    templates = torch.zeros(1, slots, 3, config.template_size, config.template_size)
    with torch.inference_mode():
        with _linear_macs(student) as linear, FlopCounterMode(display=False) as flops:
            student.outputs(search, *states)
        with FlopCounterMode(display=False) as template_flops:
            student.encode_template(templates)
    return {
        "name": recipe.name,
        "method": recipe.method,
        "parameters": parameters,
        "position_table_parameters": sum(p.numel() for p in student.parameters()) - parameters,
        "linear_macs": sum(linear),
        "macs": flops.get_total_flops() // 2,
        "template_macs": template_flops.get_total_flops() // 2 // slots,
        "tokens": config.tokens,
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
def _linear_macs(module: nn.Module) -> Iterator[list[int]]:
    """The multiply-accumulates of every call of a linear layer or a convolution inside the block."""
    counts: list[int] = []

    def on_linear(layer: nn.Linear, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.numel() * layer.in_features)

    def on_convolution(layer: nn.Conv2d, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.numel() * layer.weight[0].numel())

    hooks = {nn.Linear: on_linear, nn.Conv2d: on_convolution}
    handles = [m.register_forward_hook(hooks[type(m)]) for m in module.modules() if type(m) in hooks]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
