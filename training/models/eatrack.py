"""The network of EATrack (CVPR 2026): a cached template stage and a joint stage.

Stage 1 runs the same blocks on each template alone and on the search region alone; stage 2 attends
jointly over [template 1, template 2, search]. The output of stage 1 for the templates is the state
that the drone caches, so a frame costs stage 1 of the search region and stage 2. Without a stage 1
(`stage1_blocks: 0`) it is the one-stream tracker of OSTrack, the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .centre_head import CentreHead, CentreMaps
from .layers import ConvStem, PatchStem, position_table, transformer_blocks
from .network import Network, NetworkConfig, SearchOutputs


@dataclass(frozen=True, kw_only=True)
class EATrackConfig(NetworkConfig):
    """The published student by default: DeiT-tiny width, 3 + 5 blocks, two template slots."""

    network: str = "eatrack"
    template_slots: int = 2
    stride: int = 16  # px of a token
    stem: str = "patch"  # patch (ViT) or conv (convolutions of stride 2)
    width: int = 192
    heads: int = 3
    mlp_ratio: float = 4.0
    stage1_blocks: int = 3
    stage2_blocks: int = 5
    head_channels: int = 256
    drop_path: float = 0.1  # of the last block, rising linearly from 0

    def __post_init__(self) -> None:
        for name in ("search_size", "template_size"):
            if getattr(self, name) % self.stride:
                raise ValueError(
                    f"{name} = {getattr(self, name)} must be a multiple of stride = {self.stride}"
                )
        for name in ("stage2_blocks", "template_slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.stem not in ("patch", "conv"):
            raise ValueError(f"stem = {self.stem!r} is unknown; accepted are 'patch' and 'conv'")
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} must be a multiple of heads = {self.heads}")

    def build(self) -> EATrackStudent:
        return EATrackStudent(self)

    @property
    def update_rule(self) -> str:
        return "target_store" if self.template_slots > 1 else "none"

    @property
    def output_grid(self) -> int:
        return self.grid

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.template_slots * self.template_grid**2, self.width),)

    @property
    def tokens(self) -> dict[str, int]:
        return {"search": self.grid**2, "template": self.template_slots * self.template_grid**2}

    @property
    def embedding_size(self) -> int:
        return self.width

    @property
    def blocks(self) -> int:
        """Of both stages."""
        return self.stage1_blocks + self.stage2_blocks

    @property
    def grid(self) -> int:
        """G, side of the search token grid."""
        return self.search_size // self.stride

    @property
    def template_grid(self) -> int:
        """g, side of the template token grid."""
        return self.template_size // self.stride


class SearchResult(NamedTuple):
    maps: CentreMaps
    tokens: Tensor  # [B, G*G, D] search tokens after the final norm
    blocks: tuple[Tensor, ...] = ()  # [B, T*g*g + G*G, D] each: outputs of stage 2, if asked for


class EATrackStudent(Network):
    def __init__(self, config: EATrackConfig) -> None:
        super().__init__()
        self.config = config
        stem = ConvStem if config.stem == "conv" else PatchStem
        self.stem = stem(config.width, config.stride)
        self.template_positions = position_table(config.template_grid**2, config.width)
        self.search_positions = position_table(config.grid**2, config.width)
        rates = torch.linspace(0, config.drop_path, config.blocks, device="cpu")
        blocks = transformer_blocks(config.blocks, config.width, config.heads, config.mlp_ratio, rates)
        self.stage1, self.stage2 = blocks[: config.stage1_blocks], blocks[config.stage1_blocks :]
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.head = CentreHead(config.width, config.head_channels)

    def encode_template(self, templates: Tensor) -> tuple[Tensor]:
        """Normalised templates [B, T, 3, Hz, Wz] -> one state [B, T * g*g, D], slot-major.

        The slots do not see each other, so one can be refreshed without touching the others.
        """
        batch, slots = templates.shape[:2]
        tokens = self._tokens(templates.flatten(0, 1), self.template_positions)
        for block in self.stage1:
            tokens = block(tokens)
        return (tokens.reshape(batch, slots * tokens.shape[1], -1),)

    def search(self, search: Tensor, state: Tensor, keep_blocks: bool = False) -> SearchResult:
        """Normalised search regions [B, 3, Hx, Wx] and the state of their targets -> maps.

        `keep_blocks` also returns what every block of stage 2 gives: templates first, before any norm.
        """
        tokens = self._tokens(search, self.search_positions)
        for block in self.stage1:
            tokens = block(tokens)
        joint = torch.cat([state, tokens], dim=1)
        kept = []
        for block in self.stage2:
            joint = block(joint)
            if keep_blocks:
                kept.append(joint)
        return self.read(joint, tuple(kept))

    def forward(self, templates: Tensor, search: Tensor, keep_blocks: bool = False) -> SearchResult:
        return self.search(search, *self.encode_template(templates), keep_blocks)

    def embed(self, templates: Tensor, search: Tensor) -> Tensor:
        """The joint sequence [B, T * g*g + G*G, D] before any block, templates first."""
        tokens = self._tokens(templates.flatten(0, 1), self.template_positions)
        slots = tokens.unflatten(0, templates.shape[:2]).flatten(1, 2)
        return torch.cat([slots, self._tokens(search, self.search_positions)], dim=1)

    def run_block(self, index: int, joint: Tensor) -> Tensor:
        """One block, from 0 over both stages; those of stage 1 see each template and the search apart."""
        first = self.config.stage1_blocks
        if index >= first:
            return self.stage2[index - first](joint)
        block, slots = self.stage1[index], self.config.template_slots
        templates, search = joint.split([joint.shape[1] - self.config.grid**2, self.config.grid**2], dim=1)
        apart = block(templates.unflatten(1, (slots, -1)).flatten(0, 1))
        return torch.cat([apart.unflatten(0, (-1, slots)).flatten(1, 2), block(search)], dim=1)

    def read(self, joint: Tensor, blocks: tuple[Tensor, ...] = ()) -> SearchResult:
        """What the last block gives -> maps; `blocks` are passed on."""
        grid = self.config.grid
        tokens = self.norm(joint[:, -grid * grid :])
        features = tokens.transpose(1, 2).reshape(-1, self.config.width, grid, grid)
        return SearchResult(self.head(features), tokens, blocks)

    def outputs(self, search: Tensor, *states: Tensor) -> SearchOutputs:
        result = self.search(search, *states)
        return SearchOutputs(result.maps.score, result.maps.boxes, target_embedding(result))

    def block_names(self) -> list[str]:
        stages = {"stage1": len(self.stage1), "stage2": len(self.stage2)}
        return [f"{stage}.{i}" for stage, count in stages.items() for i in range(count)]

    def _tokens(self, images: Tensor, positions: Tensor) -> Tensor:
        return self.stem(images).flatten(2).transpose(1, 2) + positions


def target_embedding(result: SearchResult) -> Tensor:
    """[B, D], L2-normalised: the mean of the search tokens, weighted by their squared scores.

    Written with products and sums that ONNX opset 17 has.
    """
    weight = result.maps.score.flatten(1) ** 2
    mean = (weight.unsqueeze(1) @ result.tokens.float()).squeeze(1)
    return mean / (mean * mean).sum(1, keepdim=True).sqrt().clamp_min(1e-12)
