"""The network of AsymTrack (AAAI 2025): two branches with shared weights, of which one runs once.

The search branch is a hierarchical backbone in three stages. It meets the template in stages 2 and 3 through
a handful of computed kernels, and in one attention block through keys and values: these are the states that
the drone caches.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from .asym_modules import KERNEL_SOURCES, TAPS, ObjectPerception, TemplateModulation, prototype_count
from .corner_head import CornerHead, corner_boxes, marginal_logits, one_box, peakedness
from .efficient_mod import (
    AttentionBlock,
    Embedding,
    ModulationBlock,
    head_width,
    published_weights,
    small_linear_weights,
)
from .network import Network, NetworkConfig, SearchOutputs, States

RATIOS = (1, 6)  # of the modulation blocks, in turn
STRIDE = 32  # px of a cell of the corner maps
TEMPLATE_STRIDE = 16  # px of a cell where the attention reads the template


@dataclass(frozen=True, kw_only=True)
class AsymTrackConfig(NetworkConfig):
    """AsymTrack-T by default; S and B have (2, 2, 3) blocks, B also larger crops."""

    network: str = "asymtrack"
    width: int = 32  # channels of stage 1; two, four and eight times as many follow
    stage_blocks: tuple[int, ...] = (2, 2, 1)  # modulation blocks of the three stages
    heads: int = 8
    head_channels: int = 256
    kernels_from: str = "template"  # whose prototypes make the dynamic kernels, or search (the paper)
    shared_weights: bool = False  # one attention over cells for both maps (the paper)
    detach_template: bool = False  # no gradient through the template's prototypes (the released code)
    half_cell: bool = False  # corners at the centres of cells instead of at their top-left ends

    def __post_init__(self) -> None:
        for name, stride in (("search_size", STRIDE), ("template_size", TEMPLATE_STRIDE), ("width", 16)):
            value = getattr(self, name)
            if value < stride or value % stride:
                raise ValueError(f"{name} = {value} must be a multiple of {stride}")
        if len(self.stage_blocks) != 3 or min(self.stage_blocks) < 1:
            raise ValueError(f"stage_blocks = {list(self.stage_blocks)} must be three numbers of at least 1")
        if self.heads < 1:
            raise ValueError(f"heads = {self.heads} must be at least 1")
        if self.template_slots != 1:
            raise ValueError(f"template_slots = {self.template_slots} must be 1: AsymTrack has one template")
        if self.kernels_from not in KERNEL_SOURCES:
            accepted = " and ".join(map(repr, KERNEL_SOURCES))
            raise ValueError(f"kernels_from = {self.kernels_from!r} is unknown; accepted are {accepted}")

    def build(self) -> AsymTrack:
        return AsymTrack(self)

    @property
    def stage_widths(self) -> tuple[int, int, int]:
        return self.width, 2 * self.width, 4 * self.width

    @property
    def edge_bins(self) -> int:
        """G, side of the corner maps."""
        return self.search_size // STRIDE

    @property
    def confidence_kind(self) -> str:
        return "peakedness"

    @property
    def output_grid(self) -> int:
        return 1

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of stages 2 and 3: kernels (or prototypes), then the keys and values of the attention."""
        widths = self.stage_widths
        counts = [(prototype_count(width), width) for width in widths[1:]]
        modulation = [(n, TAPS + n if self.kernels_from == "template" else width) for n, width in counts]
        cells = self.tokens["template"]
        return (*modulation, (2, self.heads, cells, head_width(widths[2], self.heads)))

    @property
    def tokens(self) -> dict[str, int]:
        """Of the attention block."""
        sides = {"search": self.search_size, "template": self.template_size}
        return {name: (side // TEMPLATE_STRIDE) ** 2 for name, side in sides.items()}

    @property
    def embedding_size(self) -> int:
        return 8 * self.width


class AsymTrackResult(NamedTuple):
    logits: Tensor  # [B, 4, G] of the distributions of left, top, right, bottom: marginals of both corners
    boxes: Tensor  # [B, 4] xyxy relative to the search side; an untrained head may cross its corners
    score: Tensor  # [B] in (0, 1], peakedness of the corners
    features: Tensor  # [B, G, G, D], what the head reads


class AsymTrack(Network):
    # All that an image classifier does not have.
    fresh_parts = (
        "neck.",
        "head.",
        *(f"stages.{i}.{part}." for i in range(3) for part in ("modulation", "perception")),
    )

    def __init__(self, config: AsymTrackConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.stage_widths
        embeddings = Embedding(3, widths[0], 7, 4), *(Embedding(w, 2 * w, 3, 2) for w in widths[:2])
        switches = config.kernels_from, config.shared_weights, config.detach_template
        modulations = None, *(TemplateModulation(width, *switches) for width in widths[1:])
        self.stages = nn.ModuleList(map(Stage, widths, embeddings, config.stage_blocks, modulations))
        self.attention = AttentionBlock(widths[2], config.heads)
        self.reduction = Embedding(widths[2], 8 * config.width, 3, 2)
        self.neck = nn.Linear(8 * config.width, 8 * config.width)
        self.apply(small_linear_weights)
        self.head = CornerHead(8 * config.width, config.head_channels)

    def encode_template(self, templates: Tensor) -> States:
        """Normalised templates [B, 1, 3, Hz, Wz] -> the states of stages 2 and 3, keys and values."""
        template, states = templates.squeeze(1).permute(0, 2, 3, 1), []
        for stage in self.stages:
            template, found = stage.encode_template(template)
            states += found
        return (*states, self.attention.keys_values(template))

    def search(self, search: Tensor, *states: Tensor) -> AsymTrackResult:
        """Normalised search regions [B, 3, Hx, Wx] and the states of their targets -> boxes and scores."""
        *modulation, keys_values = states
        x = search.permute(0, 2, 3, 1)
        for stage, state in zip(self.stages, (None, *modulation), strict=True):
            x = stage(x, state)
        features = self.neck(self.reduction(self.attention(x, keys_values)))
        corners = self.head(features.permute(0, 3, 1, 2))
        boxes = corner_boxes(corners, self.config.half_cell)
        return AsymTrackResult(marginal_logits(corners), boxes, peakedness(corners), features)

    def forward(self, templates: Tensor, search: Tensor) -> AsymTrackResult:
        return self.search(search, *self.encode_template(templates))

    def outputs(self, search: Tensor, *states: Tensor) -> SearchOutputs:
        result = self.search(search, *states)
        mean = (result.features.float() / self.config.edge_bins**2).sum((1, 2))
        embedding = mean / (mean * mean).sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return one_box(result.boxes, result.score, embedding)

    def classifier_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The backbone from a published EfficientMod-xxs: of stage 3 the first blocks and the attention."""
        own = self.state_dict()
        return {name: tensor for name, tensor in published_weights(state).items() if name in own}

    def deployed(self) -> AsymTrack:
        """A copy in eval mode whose object perception is a plain convolution."""
        network = copy.deepcopy(self).eval()
        for stage in network.stages:
            stage.perception.fold()
        return network


class Stage(nn.Module):
    """Modulation blocks, then what the template has to say, then object perception."""

    def __init__(
        self, width: int, embedding: Embedding, blocks: int, modulation: TemplateModulation | None
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.Sequential(*(ModulationBlock(width, RATIOS[i % 2]) for i in range(blocks)))
        self.modulation = modulation
        self.perception = ObjectPerception(width)

    def encode_template(self, template: Tensor) -> tuple[Tensor, States]:
        """Map [B, H, W, C] -> map [B, H/s, W/s, D] and what the search region needs of it, if anything."""
        template = self.blocks(self.embedding(template))
        states = (self.modulation.encode_template(template),) if self.modulation is not None else ()
        return self.perception(template), states

    def forward(self, search: Tensor, state: Tensor | None) -> Tensor:
        """Map [B, H, W, C] and the state of its template -> map [B, H/s, W/s, D]."""
        search = self.blocks(self.embedding(search))
        if self.modulation is not None:
            search = self.modulation(search, state)
        return self.perception(search)
