"""LoReTrack (2024): a student of low resolution follows the same network at a higher one.

Both see the same crop, which has the teacher's size; the student's is made of it on the device. Search tokens
of the student are brought to the teacher's grid and compared twice: queries, keys and values of the last
block ("qkv"), and the features that the head reads, where the teacher's are strong and elsewhere ("disc").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..cross_resolution import (
    channel_divergence,
    discriminative_loss,
    energy_mask,
    qkv_loss,
    resize_images,
    squared_distance,
)
from ..data.sampler import Batch
from ..losses import tracking_losses
from ..models.eatrack import EATrackConfig, EATrackStudent
from ..models.frozen import Frozen
from ..models.layers import normalise
from ..models.networks import sizes_of
from .teacher import check_same, teacher_and_branches

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe

BRANCHES = ("qkv", "disc")


@dataclass(frozen=True)
class Distillation:
    """The teacher, and the switches of both branches."""

    teacher: str = ""  # student.pt of the teacher's run
    distance: str = (
        "channel-divergence"  # of the released code, or "mse": the paper's text, about 2 D as large
    )
    temperature: float = 4.0  # of the divergence
    energy: str = "min-max"  # of a position, scaled per image before it meets the threshold, or "literal"
    threshold: float = 0.2  # theta
    inside: float = 0.6  # alpha, weight of the positions with energy
    outside: float = 0.4  # beta, weight of the others

    def __post_init__(self) -> None:
        for name, accepted in (
            ("distance", ("channel-divergence", "mse")),
            ("energy", ("min-max", "literal")),
        ):
            if getattr(self, name) not in accepted:
                known = ", ".join(accepted)
                raise ValueError(f"{name} = {getattr(self, name)!r} is unknown; accepted are {known}")
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature} must be positive")
        for name in ("threshold", "inside", "outside"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0")


def build(student: EATrackStudent, recipe: Recipe) -> LoReTrack:
    """The method of a recipe; a branch whose weight is 0 is left out.

    Raises:
        FileNotFoundError: there is no teacher.
        ValueError: the teacher does not fit the student, or a branch has no weight.
    """
    teacher, branches = teacher_and_branches("eatrack", student, recipe, BRANCHES)
    return LoReTrack(student, teacher, recipe.distillation, recipe.box_cells, branches)


class LoReTrack(nn.Module):
    """(batch, progress) -> the losses of OSTrack, "qkv" and "disc", unweighted, and "kept".

    "kept" is the share of positions whose energy reaches the threshold. It has no gradient and is there to be
    read: its weight is 0.
    """

    def __init__(
        self,
        student: EATrackStudent,
        teacher: EATrackStudent,
        distillation: Distillation,
        box_cells: str,
        branches: Sequence[str] = BRANCHES,
    ) -> None:
        super().__init__()
        _check(student.config, teacher.config)
        self.student, self.teacher = student, Frozen(teacher)
        self.sizes = sizes_of(teacher.config)
        self.distillation, self.box_cells, self.branches = distillation, box_cells, branches
        divergence = partial(channel_divergence, temperature=distillation.temperature)
        self._distance = squared_distance if distillation.distance == "mse" else divergence

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        config = self.student.config
        templates, search = normalise(batch.templates), normalise(batch.search)
        with last_qkv(self.student) as own_qkv:
            result = self.student(
                resize_images(templates, config.template_size), resize_images(search, config.search_size)
            )
        losses = tracking_losses(result.maps, batch.box, batch.present, self.box_cells)
        if not self.branches:
            return losses
        with last_qkv(self.teacher.network) as qkv:
            taught = self.teacher(templates, search)
        if "qkv" in self.branches:
            pair = search_qkv(own_qkv[0], result.tokens), search_qkv(qkv[0], taught.tokens)
            losses["qkv"] = qkv_loss(*pair, self._distance)
        if "disc" in self.branches:
            d = self.distillation
            mask = energy_mask(taught.tokens, d.threshold, d.energy)
            losses["disc"] = discriminative_loss(
                result.tokens, taught.tokens, mask, self._distance, d.inside, d.outside
            )
            losses["kept"] = mask.mean()
        return losses


@contextmanager
def last_qkv(network: EATrackStudent) -> Iterator[list[Tensor]]:
    """What the qkv projection of the last block gives inside the block of code: [B, N, 3 D] a pass."""
    passes: list[Tensor] = []
    layer = network.stage2[-1].attn.qkv
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: passes.append(output))
    try:
        yield passes
    finally:
        handle.remove()


def search_qkv(projected: Tensor, search_tokens: Tensor) -> tuple[Tensor, ...]:
    """[B, N, 3 D] -> Q, K and V of the search tokens, which come last: [B, G*G, D] each, head by head."""
    return projected[:, -search_tokens.shape[1] :].chunk(3, dim=2)


def _check(student: EATrackConfig, teacher: EATrackConfig) -> None:
    check_same(student, teacher, "search_factor", "template_factor", "template_slots", "width")
    for name in ("search_size", "template_size"):
        own, other = getattr(student, name), getattr(teacher, name)
        if own > other:
            raise ValueError(
                f"the student has {name} = {own}, the teacher {other}: it is made of the teacher's"
            )
