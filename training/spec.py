"""What a student tells the drone about itself."""

from __future__ import annotations

from distill_tracker_ros.core.config import UPDATE_RULES
from distill_tracker_ros.core.engine import ModelSpec, TensorSpec

from .models.network import NetworkConfig

LOST_THRESHOLDS = {"probability": 0.25, "peakedness": 0.0}  # a peakedness means what it is calibrated to


def model_spec(
    config: NetworkConfig,
    name: str,
    method: str = "",
    window_weight: float = 1.0,
    lost_threshold: float | None = None,
    precision: str = "float32",
) -> ModelSpec:
    """The model spec of a network; the numbers of its update rule are the defaults of the runtime.

    Args:
        method: how it was trained, a word for people; empty = the network's key.
        lost_threshold: confidence below which the box is held; None = LOST_THRESHOLDS.
    """
    if lost_threshold is None:
        lost_threshold = LOST_THRESHOLDS[config.confidence_kind]
    states = tuple(TensorSpec(f"state_{i}", shape, precision) for i, shape in enumerate(config.state_shapes))
    return ModelSpec(
        name=name,
        method=method or config.network,
        template_slots=config.template_slots,
        template_size=config.template_size,
        template_factor=config.template_factor,
        search_size=config.search_size,
        search_factor=config.search_factor,
        grid=config.output_grid,
        window_weight=window_weight,
        states=states,
        embedding_size=config.embedding_size,
        update=UPDATE_RULES[config.update_rule](),
        confidence_kind=config.confidence_kind,
        lost_threshold=lost_threshold,
    )
