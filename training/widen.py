"""A wider network that starts as exactly what a narrower, trained one is.

The residual stream is written by the stem, the position tables and both branches of every block, and it
is read through layer norms alone, which ignore its mean over the channels. So every writer is centred,
and the channels that are new are written as zeros: the stream has mean 0 over the old channels and over
all of them. Its variance over D' channels is D/D' of that over D; the writers are scaled by sqrt(D'/D)
to keep it (the epsilon of the norms then means the same too), and the gains take the scale back.

What reads the new channels is random, as are new heads, hidden units and channels of convolutions; only
what these give to the old network is zero. So all that is new has a gradient, and learns.
"""

from __future__ import annotations

import re
from dataclasses import replace

from torch import Tensor

from .models.eatrack import EATrackConfig, EATrackStudent

STREAM_WRITERS = re.compile(r"(template|search)_positions|stage\d\.\d+\.(attn\.proj|mlp\.fc2)\..*")
GAINS = re.compile(r"(stage\d\.\d+\.norm[12]|norm)\.weight")  # of the norms that read the stream
# Convolutions that read the channels of other convolutions.
INNER = re.compile(r"(stem\.\d+|head\.\w+\.[1-9]\d*)\.weight")


def widened(source: EATrackStudent, config: EATrackConfig) -> EATrackStudent:
    """A network with the depth and the crops of `source`, and width, heads, MLP and head of `config`.

    It gives what `source` gives, up to the rounding of its type; token channels beyond those of `source`
    are 0. The weights that start at random are drawn from torch's generator.

    Raises:
        ValueError: a part of `config` is narrower than that of `source`, or its attention heads have another
            number of channels.
    """
    old = source.config
    new = replace(
        old,
        width=config.width,
        heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        head_channels=config.head_channels,
    )
    _check(old, new)
    network = EATrackStudent(new)
    state = network.state_dict()
    *_, (last_of_stem, _) = network.stem.named_children()
    for name, tensor in source.state_dict().items():
        if STREAM_WRITERS.fullmatch(name) or name.startswith(f"stem.{last_of_stem}."):
            state[name].zero_()
            tensor = _centred(tensor, -1 if name.endswith("_positions") else 0) * _scale(old, new)
        elif GAINS.fullmatch(name):
            tensor = tensor / _scale(old, new)
        elif INNER.fullmatch(name) and tensor.dim() > 1:
            state[name][: tensor.shape[0], tensor.shape[1] :] = 0
        parts = 3 if ".qkv." in name else 1  # queries, keys and values grow each for itself
        for part, grown in zip(_parts(tensor, parts), _parts(state[name], parts), strict=True):
            grown[tuple(slice(size) for size in part.shape)] = part
    network.load_state_dict(state)
    return network.train(source.training)


def _check(old: EATrackConfig, new: EATrackConfig) -> None:
    if old.width // old.heads != new.width // new.heads:
        raise ValueError(
            f"attention heads of {old.width // old.heads} channels cannot become heads of "
            f"{new.width // new.heads} ({old.width} / {old.heads} to {new.width} / {new.heads})"
        )
    for part, narrow, wide in (
        ("width", old.width, new.width),
        ("hidden width of the MLP", int(old.width * old.mlp_ratio), int(new.width * new.mlp_ratio)),
        ("head_channels", old.head_channels, new.head_channels),
    ):
        if wide < narrow:
            raise ValueError(f"a network widens but does not narrow: {part} = {narrow} to {wide}")


def _scale(old: EATrackConfig, new: EATrackConfig) -> float:
    return (new.width / old.width) ** 0.5


def _centred(tensor: Tensor, channels: int) -> Tensor:
    """float64, with mean 0 over the axis of the channels."""
    tensor = tensor.double()
    return tensor - tensor.mean(channels, keepdim=True)


def _parts(tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    return tensor.chunk(count) if tensor.dim() else (tensor,)
