"""The networks that there are, by the key that recipes, checkpoints and bundles have for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.config import Sizes
from .asymtrack import AsymTrackConfig
from .eatrack import EATrackConfig
from .mixformer import MixFormerConfig
from .network import NetworkConfig

NETWORKS: dict[str, type[NetworkConfig]] = {
    "eatrack": EATrackConfig,
    "mixformer": MixFormerConfig,
    "asymtrack": AsymTrackConfig,
}


def config_kind(content: Mapping[str, Any]) -> type[NetworkConfig]:
    """The class of a configuration, by its key `network`.

    Raises:
        ValueError: there is no such network (the accepted ones are named).
    """
    name = content.get("network", "eatrack")
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(f"network = {name!r} is unknown; accepted are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def sizes_of(config: NetworkConfig) -> Sizes:
    """The crops that a network sees."""
    return Sizes(
        config.search_size,
        config.search_factor,
        config.template_size,
        config.template_factor,
        config.template_slots,
    )
