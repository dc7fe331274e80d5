"""How TensorRT is to build and run a model."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.config import check_ranges, choice, option


@dataclass(frozen=True)
class TensorRtOptions:
    """This class can be had where TensorRT is not installed."""

    precision: str = choice(
        "of the plans: model leaves the graphs as they are in the bundle; int8 is a bundle made by "
        "distill-tracker quantise",
        "model",
        "float32",
        "float16",
    )
    max_targets: int = option(16, "search regions in one call that plans are built for", 1, 64)
    cache_folder: str = option(
        "", "where built plans are kept; empty = distill_tracker_ros/plans in $XDG_CACHE_HOME or ~/.cache"
    )
    cache_limit_mb: int = option(1024, "the plans used longest ago leave above this, MB", 1, 1_000_000)
    workspace_mb: int = option(1024, "GPU memory that a build may use for trials, MB", 16, 1_000_000)
    optimisation_level: int = option(3, "0 builds fastest, 5 tries most", 0, 5)
    cuda_graphs: bool = option(True, "replay a recorded call instead of launching kernel by kernel")
    device: int = option(0, "number of the GPU", 0, 63)

    def __post_init__(self) -> None:
        check_ranges(self)
