"""The first weights of a network: random, of a checkpoint of ours, or of an image classifier of timm."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import timm
from timm.models import load_state_dict
from torch import Tensor, nn

from .checkpoint import SHOWN, differing, load_student
from .models.eatrack import EATrackStudent
from .models.layers import matching_block, resize_position_table

HEAD_WIDTH = 64  # channels of an attention head, the same in all of timm's ViT and DeiT


@dataclass(frozen=True)
class Start:
    """Where the first weights come from; both empty = from scratch."""

    checkpoint: str = ""  # student.pt of a run of ours: a teacher, a deeper or a shallower network
    timm: str = ""  # a ViT or DeiT of timm: a model's name (its weights are downloaded) or a weight file

    def __post_init__(self) -> None:
        if self.checkpoint and self.timm:
            raise ValueError(
                f"start has both checkpoint = {self.checkpoint!r} and timm = {self.timm!r}; give one of them"
            )


class StartReport(NamedTuple):
    """What was not copied."""

    source: str  # a file or a model's name; empty = from scratch
    fresh: tuple[str, ...] = ()  # tensors that keep their random weights
    idle: tuple[int, ...] = ()  # blocks, from 1, that start as the identity

    def __str__(self) -> str:
        if not self.source:
            return "starts from scratch"
        parts = [f"starts from {self.source}"]
        if self.fresh:
            parts.append(f"{len(self.fresh)} tensors are fresh ({self.fresh[0]} ... {self.fresh[-1]})")
        if self.idle:
            parts.append(f"blocks {', '.join(map(str, self.idle))} start as the identity")
        return "; ".join(parts)


class Source(NamedTuple):
    """Weights to start from, by block (from 0; None outside the blocks) and name in our networks."""

    name: str
    tensors: dict[tuple[int | None, str], Tensor]
    heads: int  # of attention


def initialise(network: EATrackStudent, start: Start) -> StartReport:
    """Copy the first weights into `network`, in place.

    Everything is copied but a head of other channels; position tables are resized to the network's grids.
    From a deeper network, block l of S comes from block ceil(T l / S) (EATrack; of a classifier, from block
    l). From a shallower one it is the other way round, and the blocks in between start as the identity, so
    that the network grows without forgetting.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the weights cannot be had, or are those of another architecture.
    """
    if start.checkpoint:
        return _fill(network, _checkpoint(start.checkpoint))
    if start.timm:
        return _fill(network, _classifier(start.timm, network.config.blocks))
    return StartReport("")


def block_origins(blocks: int, source_blocks: int) -> dict[int, int]:
    """The blocks of a network that start from a block of the source, and from which; both count from 1."""
    if blocks <= source_blocks:
        return {block: matching_block(block, blocks, source_blocks) for block in range(1, blocks + 1)}
    return {matching_block(block, source_blocks, blocks): block for block in range(1, source_blocks + 1)}


def _checkpoint(file: str) -> Source:
    network, _ = load_student(Path(file))
    config = network.config
    tensors = {_key(name, config.stage1_blocks): tensor for name, tensor in network.state_dict().items()}
    return Source(file, tensors, config.heads)


def _classifier(name: str, blocks: int) -> Source:
    """The first `blocks` blocks of a ViT or DeiT of timm, without its class tokens and classifiers."""
    state = _timm_weights(name)
    if not {"pos_embed", "norm.weight"} <= set(state):
        raise ValueError(f"{name} is no ViT or DeiT of timm: it has no pos_embed and norm.weight")
    prefix = sum(state.pop(key).shape[1] for key in ("cls_token", "dist_token") if key in state)
    tables = state.pop("pos_embed")[:, prefix:]
    tensors: dict[tuple[int | None, str], Tensor] = {
        (None, "template_positions"): tables,
        (None, "search_positions"): tables,
    }
    for key, tensor in state.items():
        block, rest = _key(key.replace("patch_embed.", "stem."))
        if rest.startswith(("head.", "head_dist.")) or (block is not None and block >= blocks):
            continue
        tensors[block, rest] = tensor
    return Source(name, tensors, state["norm.weight"].shape[0] // HEAD_WIDTH)


def _timm_weights(name: str) -> dict[str, Tensor]:
    if Path(name).is_file():
        try:
            return dict(load_state_dict(name))
        except (RuntimeError, EOFError, pickle.UnpicklingError, AttributeError) as error:
            raise ValueError(f"{name} is no file of weights: {error}") from error
    if not timm.is_model(name):
        raise ValueError(f"start: timm = {name!r} is neither a file nor a model of timm")
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights of timm's {name!r} cannot be fetched ({error}); give a file of them instead"
        ) from error


def _key(name: str, stage1_blocks: int = 0) -> tuple[int | None, str]:
    """The block over both stages, from 0, and the name in it; None and the name outside the blocks."""
    part, _, rest = name.partition(".")
    if part not in ("blocks", "stage1", "stage2"):
        return None, name
    index, _, rest = rest.partition(".")
    return int(index) + (stage1_blocks if part == "stage2" else 0), rest


def _name(block: int | None, rest: str, stage1_blocks: int) -> str:
    """The inverse of `_key`."""
    if block is None:
        return rest
    return f"stage1.{block}.{rest}" if block < stage1_blocks else f"stage2.{block - stage1_blocks}.{rest}"


def _fill(network: EATrackStudent, source: Source) -> StartReport:
    config, state = network.config, network.state_dict()
    depth = len({block for block, _ in source.tensors if block is not None})
    origins = block_origins(config.blocks, depth)
    idle = [block for block in range(1, config.blocks + 1) if block not in origins]
    idle_parts = tuple(_name(block - 1, "", config.stage1_blocks) for block in idle)
    offered = _rearranged(source.tensors, origins, network)
    needed = {name: tensor for name, tensor in state.items() if not name.startswith(idle_parts)}
    lines = differing(offered, needed)
    fresh = [name for name in state if name.startswith("head.")]
    if not any(line.startswith("head.") for line in lines):
        fresh = []
    if lines := [line for line in lines if not line.startswith("head.")]:
        raise ValueError(
            f"{source.name} is of another architecture; {len(lines)} tensors differ, the first of which are:"
            + "".join(f"\n  {line}" for line in lines[:SHOWN])
        )
    if source.heads != config.heads:
        raise ValueError(
            f"{source.name} has {source.heads} attention heads, the network {config.heads}: its weights mean "
            "something else"
        )
    network.load_state_dict({n: t for n, t in offered.items() if n not in fresh}, strict=False)
    for part in idle_parts:
        _make_identity(network.get_submodule(part.rstrip(".")))
    return StartReport(source.name, tuple(fresh), tuple(idle))


def _rearranged(
    tensors: dict[tuple[int | None, str], Tensor], origins: dict[int, int], network: EATrackStudent
) -> dict[str, Tensor]:
    """The source's tensors under the names of the network; position tables on its grids."""
    config = network.config
    grids = {"template_positions": config.template_grid, "search_positions": config.grid}
    places: dict[int | None, int | None] = {there - 1: here - 1 for here, there in origins.items()}
    places[None] = None
    return {
        _name(places[block], rest, config.stage1_blocks): (
            resize_position_table(tensor, grids[rest]) if rest in grids else tensor
        )
        for (block, rest), tensor in tensors.items()
        if block in places
    }


def _make_identity(block: nn.Module) -> None:
    """Silence both residual branches of a transformer block; they can still learn."""
    for layer in ("attn.proj", "mlp.fc2"):
        for parameter in block.get_submodule(layer).parameters():
            nn.init.zeros_(parameter)
