"""The network of MixFormerV2 (NeurIPS 2023): a transformer in which the templates see templates alone.

The search tokens and four prediction tokens see everything. So all that a frame needs of the templates are
their keys and values in every block, which the drone caches. The head reads the prediction tokens: a
distribution for each edge of the box, and a score. With a corner head and without prediction tokens it is
the teacher, MixViT.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from .corner_head import (
    CornerHead,
    PyramidCornerHead,
    corner_boxes,
    expected_boxes,
    marginal_logits,
    one_box,
    peakedness,
)
from .layers import ConvStem, PatchStem, position_table, transformer_blocks
from .network import Network, NetworkConfig, SearchOutputs

EDGES = 4  # left, top, right, bottom: one prediction token each
HEADS = ("tokens", "corner", "pyramid")

Memory = tuple[Tensor, Tensor]  # keys and values of the templates in a block, [B, heads, T * g*g, D / heads]


@dataclass(frozen=True, kw_only=True)
class MixFormerConfig(NetworkConfig):
    """MixFormerV2-B by default."""

    network: str = "mixformer"
    search_size: int = 288
    search_factor: float = 4.5
    template_slots: int = 2
    stride: int = 16  # px of a token
    stem: str = "patch"  # patch (ViT) or conv (convolutions of stride 2)
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    blocks: int = 8
    head: str = "tokens"  # or of the teacher: corner (a map of the tokens' grid), pyramid (four times finer)
    bins: int = 96  # F of the token head: the side of the map of the teacher
    head_channels: int = 384  # of the corner heads
    drop_path: float = 0.1  # of the last block, rising linearly from 0

    def __post_init__(self) -> None:
        for name in ("search_size", "template_size"):
            if getattr(self, name) % self.stride:
                raise ValueError(
                    f"{name} = {getattr(self, name)} must be a multiple of stride = {self.stride}"
                )
        for name in ("blocks", "template_slots", "bins"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
        for name, accepted in (("stem", ("patch", "conv")), ("head", HEADS)):
            if getattr(self, name) not in accepted:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is unknown; accepted are {', '.join(accepted)}"
                )
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width = {self.width} must be a multiple of 4 and of heads = {self.heads}")

    def build(self) -> MixFormerStudent:
        return MixFormerStudent(self)

    @property
    def confidence_kind(self) -> str:
        return "probability" if self.head == "tokens" else "peakedness"

    @property
    def update_rule(self) -> str:
        return "best_in_interval" if self.template_slots > 1 else "none"

    @property
    def output_grid(self) -> int:
        return 1

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.blocks, 2, self.heads, self.tokens["template"], self.width // self.heads),)

    @property
    def tokens(self) -> dict[str, int]:
        search = self.grid**2 + (EDGES if self.head == "tokens" else 0)
        return {"search": search, "template": self.template_slots * self.template_grid**2}

    @property
    def embedding_size(self) -> int:
        return self.width

    @property
    def grid(self) -> int:
        """G, side of the search token grid."""
        return self.search_size // self.stride

    @property
    def template_grid(self) -> int:
        """g, side of the template token grid."""
        return self.template_size // self.stride

    @property
    def edge_bins(self) -> int:
        """F, bins of the distributions of the edges, whatever the head."""
        sides = {"tokens": self.bins, "corner": self.grid, "pyramid": PyramidCornerHead.scale * self.grid}
        return sides[self.head]


class MixFormerResult(NamedTuple):
    logits: Tensor  # [B, 4, F] of the distributions of left, top, right, bottom
    boxes: Tensor  # [B, 4] xyxy relative to the search side; an untrained head may cross its edges
    score: Tensor  # [B] in (0, 1): of the score head, or the peakedness of the corners
    tokens: Tensor  # [B, n, D] that the head read: the prediction tokens, or those of the search region
    blocks: tuple[Tensor, ...] = ()  # outputs of all blocks, if asked for: templates, search, prediction


class MixFormerStudent(Network):
    # Also those of a ViT or of an EATrack network that have no counterpart here.
    fresh_parts = ("head.", "prediction_", "template_positions", "search_positions", "norm.")

    def __init__(self, config: MixFormerConfig) -> None:
        super().__init__()
        self.config = config
        stem = ConvStem if config.stem == "conv" else PatchStem
        self.stem = stem(config.width, config.stride)
        for name, grid in (("template_table", config.template_grid), ("search_table", config.grid)):
            self.register_buffer(name, sine_table(grid, config.width), persistent=False)
        rates = torch.linspace(0, config.drop_path, config.blocks, device="cpu")
        self.blocks = transformer_blocks(
            config.blocks, config.width, config.heads, config.mlp_ratio, rates, MixedBlock
        )
        if config.head == "tokens":
            self.prediction_tokens = position_table(EDGES, config.width)
            self.prediction_positions = position_table(EDGES, config.width)
            self.head: nn.Module = TokenHead(config.width, config.bins)
        else:
            corner = CornerHead if config.head == "corner" else PyramidCornerHead
            self.head = corner(config.width, config.head_channels)

    def encode_template(self, templates: Tensor) -> tuple[Tensor]:
        """Normalised templates [B, T, 3, Hz, Wz] -> one state [B, blocks, 2, heads, T * g*g, D / heads].

        The slots see each other: a change of one needs all of them anew.
        """
        _, memories = self._remember(templates)
        return (torch.stack([torch.stack(memory, dim=1) for memory in memories], dim=1),)

    def search(self, search: Tensor, state: Tensor) -> MixFormerResult:
        """Normalised search regions [B, 3, Hx, Wx] and the state of their targets -> boxes and scores."""
        memories = [(block[:, 0], block[:, 1]) for block in state.unbind(1)]
        return self._read(self._attend(search, memories)[-1])

    def forward(self, templates: Tensor, search: Tensor, keep_blocks: bool = False) -> MixFormerResult:
        """As `search` after `encode_template`, which it is equal to."""
        seen, memories = self._remember(templates)
        outputs = self._attend(search, memories)
        joint = zip(seen, outputs, strict=True) if keep_blocks else ()
        return self._read(outputs[-1], tuple(torch.cat(pair, dim=1) for pair in joint))

    def outputs(self, search: Tensor, *states: Tensor) -> SearchOutputs:
        result = self.search(search, *states)
        total = result.tokens.float().sum(1)  # ONNX has sums and means in other forms since opset 18
        embedding = total / (total * total).sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return one_box(result.boxes, result.score, embedding)

    def block_names(self) -> list[str]:
        return [f"blocks.{i}" for i in range(len(self.blocks))]

    def _remember(self, templates: Tensor) -> tuple[list[Tensor], list[Memory]]:
        """Outputs [B, T * g*g, D] and memory of every block."""
        batch, slots = templates.shape[:2]
        tokens = self._tokens(templates.flatten(0, 1), self.template_table)
        tokens = tokens.reshape(batch, slots * tokens.shape[1], -1)
        outputs, memories = [], []
        for block in self.blocks:
            tokens, memory = block.remember(tokens)
            outputs.append(tokens)
            memories.append(memory)
        return outputs, memories

    def _attend(self, search: Tensor, memories: Iterable[Memory]) -> list[Tensor]:
        """Outputs of every block for the search region, the prediction tokens last."""
        tokens = self._tokens(search, self.search_table)
        if self.config.head == "tokens":
            prediction = self.prediction_tokens + self.prediction_positions
            tokens = torch.cat([tokens, prediction.expand(tokens.shape[0], -1, -1)], dim=1)
        outputs = []
        for block, memory in zip(self.blocks, memories, strict=True):
            tokens = block.attend(tokens, memory)
            outputs.append(tokens)
        return outputs

    def _read(self, tokens: Tensor, blocks: tuple[Tensor, ...] = ()) -> MixFormerResult:
        if self.config.head == "tokens":
            tokens = tokens[:, -EDGES:]
            logits, score = self.head(tokens), self.head.score_logits(tokens).sigmoid()
            return MixFormerResult(logits, expected_boxes(logits.softmax(2)), score, tokens, blocks)
        grid = self.config.grid
        corners = self.head(tokens.transpose(1, 2).reshape(-1, self.config.width, grid, grid))
        logits, boxes = marginal_logits(corners), corner_boxes(corners)
        return MixFormerResult(logits, boxes, peakedness(corners), tokens, blocks)

    def _tokens(self, images: Tensor, positions: Tensor) -> Tensor:
        return self.stem(images).flatten(2).transpose(1, 2) + positions


class MixedBlock(Block):
    """A pre-norm ViT block (timm) with asymmetric mixed attention (MixFormerV2, section 3.1).

    templates: softmax(q_z k_z^T / sqrt(d)) v_z; all others: softmax(q_x [k_z, k_x]^T / sqrt(d)) [v_z, v_x].
    """

    def remember(self, templates: Tensor) -> tuple[Tensor, Memory]:
        """The block for template tokens [B, N, D], which see each other alone; what others see of them."""
        queries, keys, values = self._heads(templates)
        return self._add(templates, queries, keys, values), (keys, values)

    def attend(self, tokens: Tensor, memory: Memory) -> Tensor:
        """The block for all other tokens [B, M, D], which see the templates and each other."""
        queries, keys, values = self._heads(tokens)
        keys, values = (torch.cat([old, new], dim=2) for old, new in zip(memory, (keys, values), strict=True))
        return self._add(tokens, queries, keys, values)

    def _heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [B, heads, N, D / heads]."""
        batch, count, _ = tokens.shape
        parts = self.attn.qkv(self.norm1(tokens)).reshape(
            batch, count, 3, self.attn.num_heads, self.attn.head_dim
        )
        return parts.permute(2, 0, 3, 1, 4).unbind(0)

    def _add(self, tokens: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self.attn.fused_attn:
            seen = F.scaled_dot_product_attention(queries, keys, values)
        else:
            seen = (queries * self.attn.scale @ keys.transpose(2, 3)).softmax(3) @ values
        tokens = tokens + self.drop_path1(self.attn.proj(seen.transpose(1, 2).flatten(2)))
        return tokens + self.drop_path2(self.mlp(self.norm2(tokens)))


class TokenHead(nn.Module):
    """Distributions of the edges and a score from the four prediction tokens (MixFormerV2, section 3.2).

    One MLP for the four edges, with a layer norm on its logits as in the released code; the score is read
    from every token and averaged.
    """

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.box = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, bins),
            nn.LayerNorm(bins),
        )
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 1))
        for parameter in self.score[-1].parameters():
            nn.init.zeros_(parameter)  # until it is trained, the score is 0.5: it never renews a template

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, 4, D] -> logits [B, 4, F]."""
        return self.box(tokens).float()

    def score_logits(self, tokens: Tensor) -> Tensor:
        """[B, 4, D] -> [B]."""
        return self.score(tokens).float().sum((1, 2)) / tokens.shape[1]


def sine_table(grid: int, width: int) -> Tensor:
    """Fixed positions [1, grid*grid, D], row-major: half of the channels for the column, half for the row.

    Each half has D/4 sines, then as many cosines, with the frequencies 10000^(-k / (D/4)).
    """
    quarter = width // 4
    rates = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(grid, dtype=torch.float64).unsqueeze(1) * rates
    steps = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns, rows = steps.repeat(grid, 1), steps.repeat_interleave(grid, dim=0)
    return torch.cat([columns, rows], dim=1).float().unsqueeze(0)


def scale_block(block: MixedBlock, original: MixedBlock, gain: float) -> None:
    """Make both residual branches of a block `gain` times those of the original; 0 makes it the identity."""
    with torch.no_grad():
        for layer in ("attn.proj", "mlp.fc2"):
            scaled, full = block.get_submodule(layer), original.get_submodule(layer)
            for parameter, value in zip(scaled.parameters(), full.parameters(), strict=True):
                parameter.copy_(gain * value)
