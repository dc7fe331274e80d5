"""What every network offers that is trained and flown, whatever its method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

States = tuple[Tensor, ...]


class SearchOutputs(NamedTuple):
    """What the search graph of a bundle gives."""

    score_map: Tensor  # [B, G, G], in (0, 1)
    box_map: Tensor  # [B, 4, G, G], cxcywh relative to the search side
    embedding: Tensor  # [B, E], L2-normalised


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """The crops that a network sees. `network` is its key in models.networks.NETWORKS."""

    network: str
    search_size: int = 256  # px
    template_size: int = 128  # px
    search_factor: float = 4.0  # region side / sqrt(w h)
    template_factor: float = 2.0
    template_slots: int = 1  # T, crops that the template graph takes at once

    @abstractmethod
    def build(self) -> Network:
        """The network, with random weights."""

    @property
    def update_rule(self) -> str:
        """Of the manifest: how the runtime refreshes the template."""
        return "none"

    @property
    def confidence_kind(self) -> str:
        """Of the manifest: what the peak of the score map is."""
        return "probability"

    @property
    @abstractmethod
    def output_grid(self) -> int:
        """G, side of the score map and of the box map; 1 for heads that give one box."""

    @property
    @abstractmethod
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the cached state tensors, without the batch axis."""

    @property
    @abstractmethod
    def tokens(self) -> dict[str, int]:
        """How many there are of the search region and of all templates together, for people."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """E, width of the target embedding."""


class Network(nn.Module, ABC):
    """The template is encoded once and its states are cached; a frame costs `outputs` alone."""

    config: Any  # a NetworkConfig
    fresh_parts: ClassVar[tuple[str, ...]] = ("head.",)  # may start with random weights, see training.start

    @abstractmethod
    def encode_template(self, templates: Tensor) -> States:
        """Normalised templates [B, T, 3, Hz, Wz] -> states, each [B, ...] as config.state_shapes says."""

    @abstractmethod
    def outputs(self, search: Tensor, *states: Tensor) -> SearchOutputs:
        """Normalised search regions [B, 3, Hx, Wx] and the states of their targets -> maps, embedding."""

    def block_names(self) -> list[str]:
        """Modules of the same architecture, first to last, which start.py takes from a deeper network."""
        return []

    def classifier_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """What an image classifier gives, under the names of this network; None = it starts from a ViT."""
        return None

    def deployed(self) -> Network:
        """The network as it is exported, in eval mode; what training alone needs is folded away."""
        return self.eval()
