"""The first weights of a network: random, of a checkpoint of ours, or of an image classifier of timm."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import timm
from timm.models import load_state_dict
from torch import Tensor, nn

from .checkpoint import SHOWN, differing, load_student
from .models.eatrack import EATrackConfig, EATrackStudent
from .models.layers import matching_block, resize_position_table
from .models.network import Network, NetworkConfig
from .widen import widened

HEAD_WIDTH = 64  # channels of an attention head, the same in all of timm's ViT and DeiT


@dataclass(frozen=True)
class Start:
    """Where the first weights come from; both empty = from scratch."""

    checkpoint: str = ""  # student.pt of a run of ours: a teacher, a deeper or a shallower network
    timm: str = ""  # an image classifier: a timm model's name (its weights are downloaded) or a weight file

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
    heads: int | None  # of attention


def initialise(network: Network, start: Start) -> StartReport:
    """Copy the first weights into `network`, in place.

    Everything is copied but the parts that may start fresh, a head of other channels for instance. Position
    tables are resized to the network's grids; of a wider hidden layer of an MLP the first units are taken.
    From a deeper network, block l of S comes from block ceil(T l / S) (EATrack; of a classifier, from block
    l). From a shallower one it is the other way round, and the blocks in between start as the identity, so
    that the network grows without forgetting. So it does from a narrower one (see training.widen).

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: the weights cannot be had, or are those of another architecture.
    """
    if start.checkpoint:
        return _fill(network, _checkpoint(start.checkpoint, network.config))
    if start.timm:
        return _fill(network, _classifier(start.timm, network))
    return StartReport("")


def block_origins(blocks: int, source_blocks: int) -> dict[int, int]:
    """The blocks of a network that start from a block of the source, and from which; both count from 1."""
    if blocks <= source_blocks:
        return {block: matching_block(block, blocks, source_blocks) for block in range(1, blocks + 1)}
    return {matching_block(block, source_blocks, blocks): block for block in range(1, source_blocks + 1)}


def _checkpoint(file: str, config: NetworkConfig) -> Source:
    """The weights of a student.pt, widened if those of `config` are wider."""
    network, _ = load_student(Path(file))
    if (
        isinstance(network, EATrackStudent)
        and isinstance(config, EATrackConfig)
        and _is_wider(config, network.config)
    ):
        network = widened(network, config)
    blocks = network.block_names()
    tensors = {_key(name, blocks): tensor for name, tensor in network.state_dict().items()}
    return Source(file, tensors, getattr(network.config, "heads", None))


def _is_wider(config: EATrackConfig, other: EATrackConfig) -> bool:
    return config.width > other.width or config.head_channels > other.head_channels


def _classifier(name: str, network: Network) -> Source:
    """An image classifier of the network's own kind, or else a ViT or DeiT."""
    state = _timm_weights(name)
    own = network.classifier_weights(state)
    if own is None:
        return _vit(name, state, len(network.block_names()))
    tensors = {(None, key): tensor for key, tensor in own.items()}
    return Source(name, tensors, getattr(network.config, "heads", None))


def _vit(name: str, state: dict[str, Tensor], blocks: int) -> Source:
    """The first `blocks` blocks of a ViT or DeiT of timm, without its class tokens and classifiers."""
    if not {"pos_embed", "norm.weight"} <= set(state):
        raise ValueError(f"{name} is no ViT or DeiT of timm: it has no pos_embed and norm.weight")
    prefix = sum(state.pop(key).shape[1] for key in ("cls_token", "dist_token") if key in state)
    tables = state.pop("pos_embed")[:, prefix:]
    tensors: dict[tuple[int | None, str], Tensor] = {
        (None, "template_positions"): tables,
        (None, "search_positions"): tables,
    }
    taken = [f"blocks.{i}" for i in range(blocks)]
    for key, tensor in state.items():
        block, rest = _key(key.replace("patch_embed.", "stem."), taken)
        if not rest.startswith(("head.", "head_dist.", "blocks.")):
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


def _key(name: str, blocks: Sequence[str]) -> tuple[int | None, str]:
    """The block, from 0, and the name in it; None and the name outside the blocks."""
    for index, block in enumerate(blocks):
        if name.startswith(block + "."):
            return index, name[len(block) + 1 :]
    return None, name


def _fill(network: Network, source: Source) -> StartReport:
    state, blocks = network.state_dict(), network.block_names()
    depth = len({block for block, _ in source.tensors if block is not None})
    origins = block_origins(len(blocks), depth) if blocks else {}
    idle = [block for block in range(1, len(blocks) + 1) if block not in origins]
    idle_parts = tuple(f"{blocks[block - 1]}." for block in idle)
    offered = _fitted(_renamed(source.tensors, origins, blocks), state)
    needed = {name: tensor for name, tensor in state.items() if not name.startswith(idle_parts)}
    lines = differing(offered, needed)
    fresh_parts = tuple(part for part in network.fresh_parts if any(line.startswith(part) for line in lines))
    fresh = [name for name in state if name.startswith(fresh_parts)]
    if lines := [line for line in lines if not line.startswith(fresh_parts)]:
        raise ValueError(
            f"{source.name} is of another architecture; {len(lines)} tensors differ, the first of which are:"
            + "".join(f"\n  {line}" for line in lines[:SHOWN])
        )
    heads = getattr(network.config, "heads", None)
    if source.heads != heads:
        raise ValueError(
            f"{source.name} has {source.heads} attention heads, the network {heads}: its weights mean "
            "something else"
        )
    network.load_state_dict({n: t for n, t in offered.items() if n not in fresh and n in state}, strict=False)
    for block in idle:
        _make_identity(network.get_submodule(blocks[block - 1]))
    return StartReport(source.name, tuple(fresh), tuple(idle))


def _renamed(
    tensors: Mapping[tuple[int | None, str], Tensor], origins: Mapping[int, int], blocks: Sequence[str]
) -> dict[str, Tensor]:
    """The source's tensors under the names of the network whose blocks these are."""
    prefixes: dict[int | None, str] = {there - 1: f"{blocks[here - 1]}." for here, there in origins.items()}
    prefixes[None] = ""
    return {prefixes[block] + rest: tensor for (block, rest), tensor in tensors.items() if block in prefixes}


def _fitted(tensors: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Position tables on the grids of the network, the first units of a wider hidden layer."""

    def fitted(name: str, tensor: Tensor) -> Tensor:
        if name not in needed or tensor.shape == needed[name].shape:
            return tensor
        sizes = needed[name].shape
        if name.endswith("_positions"):
            return resize_position_table(tensor, round(sizes[1] ** 0.5))
        if name.endswith(("mlp.fc1.weight", "mlp.fc1.bias")) and sizes[1:] == tensor.shape[1:]:
            return tensor[: sizes[0]]
        if name.endswith("mlp.fc2.weight") and sizes[:1] == tensor.shape[:1]:
            return tensor[:, : sizes[1]]
        return tensor

    return {name: fitted(name, tensor) for name, tensor in tensors.items()}


def _make_identity(block: nn.Module) -> None:
    """Silence both residual branches of a transformer block; they can still learn."""
    for layer in ("attn.proj", "mlp.fc2"):
        for parameter in block.get_submodule(layer).parameters():
            nn.init.zeros_(parameter)
