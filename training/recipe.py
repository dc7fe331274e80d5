"""A recipe: one YAML file that says what is trained, on what, by which method and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from .data.sampler import DataConfig
from .models.eatrack import EATrackConfig


@dataclass(frozen=True)
class Optimiser:
    """AdamW with a warm-up, a plateau and a linear decay to zero."""

    learning_rate: float = 4e-4
    backbone_factor: float = (
        1.0  # of the learning rate, for everything but the head (0.1 from pre-trained weights)
    )
    weight_decay: float = 1e-4
    batch_size: int = 128  # a process
    warmup_steps: int = 500
    decay_from: float = 0.8  # progress at which the decay starts
    clip_norm: float = 0.1
    ema_decay: float = 0.9995  # of the averaged weights that are validated and exported


@dataclass(frozen=True)
class Recipe:
    """Unknown keys are errors, here and in every part."""

    name: str
    method: str = "tracking"
    student: EATrackConfig = field(default_factory=EATrackConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss_weights: dict[str, float] = field(default_factory=lambda: {"focal": 1.0, "l1": 5.0, "giou": 2.0})
    box_cells: str = (
        "peak"  # which cells learn the box: peak (published) or around; see losses.tracking_losses
    )
    steps: int = 100_000
    seed: int = 0
    mixed_precision: str = "bf16"  # no, bf16 or fp16
    workers: int = 2  # processes that make samples
    validate_every: int = 2000  # steps
    validation_flights: int = 12  # synthetic videos, beside the held-out tracks
    checkpoint_every: int = 500  # steps


def read_recipe(path: Path) -> Recipe:
    """A recipe from YAML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key (the accepted ones are named), a missing name or a wrong value.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"recipe {path} does not exist; shipped ones are in {Path(__file__).parent / 'recipes'}"
        )
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{path}: a recipe is a mapping with at least the key 'name'")
    recipe: Recipe = _build(Recipe, content, str(path))
    return recipe


def _build(kind: type, content: dict[str, Any], where: str) -> Any:
    """A dataclass from a mapping, its parts likewise."""
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(content) - known):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; accepted are {', '.join(sorted(known))}")
    hints = get_type_hints(kind)
    values = {}
    for key, value in content.items():
        hint = hints[key]
        if is_dataclass(hint):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: {key} must be a mapping; got {value!r}")
            values[key] = _build(hint, value, f"{where}: {key}")  # type: ignore[arg-type]
        else:
            values[key] = _checked(hint, value, f"{where}: {key}")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _checked(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is not hint:
        raise ValueError(f"{where} must be of type {hint.__name__}; got {value!r}")
    if hint is float:
        raise ValueError(f"{where} must be a number; got {value!r}")
    return tuple(value) if isinstance(value, list) else value
