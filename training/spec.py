"""What a student tells the drone about itself."""

from __future__ import annotations

from distill_tracker_ros.core.config import StoreConfig
from distill_tracker_ros.core.engine import ModelSpec, TensorSpec

from .models.eatrack import EATrackConfig


def eatrack_spec(
    config: EATrackConfig,
    name: str,
    window_weight: float = 1.0,
    lost_threshold: float = 0.25,
    precision: str = "float32",
) -> ModelSpec:
    """The model spec of an EATrack student; the store's numbers are the defaults of StoreConfig."""
    state = TensorSpec("state_0", (config.template_slots * config.template_grid**2, config.width), precision)
    return ModelSpec(
        name=name,
        method="eatrack",
        template_slots=config.template_slots,
        template_size=config.template_size,
        template_factor=config.template_factor,
        search_size=config.search_size,
        search_factor=config.search_factor,
        grid=config.grid,
        window_weight=window_weight,
        states=(state,),
        embedding_size=config.width,
        update_rule="target_store",
        store=StoreConfig(),
        confidence_kind="probability",
        lost_threshold=lost_threshold,
    )
