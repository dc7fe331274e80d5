"""EATrack (CVPR 2026): tracking losses, and a frozen teacher followed inside the target's box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data.sampler import Batch
from ..distillation import cell_mask, coverage_mask, feature_loss, prediction_loss
from ..losses import tracking_losses
from ..models.eatrack import EATrackConfig, EATrackStudent, SearchResult
from ..models.frozen import Frozen
from ..models.layers import matching_block, normalise
from ..models.networks import sizes_of
from .teacher import SAME_TOKENS, check_same, teacher_and_branches

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe

BRANCHES = ("feature", "prediction")


@dataclass(frozen=True)
class Distillation:
    """The teacher, and the switches of both branches."""

    teacher: str = ""  # student.pt of the teacher's run
    pairs: str = "proportional"  # student block l with teacher block ceil(T l / S), or "last": end to end
    template_tokens: bool = False  # compare the tokens of the templates too
    background: float = 0.0  # weight of what the box does not cover, 0 to 1
    reduction: str = "mean"  # over the masked elements, or "seed-sum": the paper's plain sum
    domain: str = "two-class"  # of the score distributions: also "masked-softmax", "full-softmax"
    temperature: float = 2.0
    direction: str = "student-teacher"  # KL(student || teacher), or "teacher-student"
    temperature_squared: bool = False  # multiply the prediction loss by temperature^2

    def __post_init__(self) -> None:
        accepted = {
            "pairs": ("proportional", "last"),
            "reduction": ("mean", "seed-sum"),
            "domain": ("two-class", "masked-softmax", "full-softmax"),
            "direction": ("student-teacher", "teacher-student"),
        }
        for name, values in accepted.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is unknown; accepted are {', '.join(values)}"
                )
        if not 0 <= self.background <= 1:
            raise ValueError(f"background = {self.background} must lie between 0 and 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature} must be positive")


def build(student: EATrackStudent, recipe: Recipe) -> EATrack:
    """The method of a recipe; a branch whose weight is 0 is left out.

    Raises:
        FileNotFoundError: there is no teacher.
        ValueError: the teacher does not fit the student, or a branch has no weight.
    """
    teacher, branches = teacher_and_branches("eatrack", student, recipe, BRANCHES)
    return EATrack(student, teacher, recipe.distillation, recipe.box_cells, branches)


class EATrack(nn.Module):
    """(batch, progress) -> the losses of OSTrack, "feature" and "prediction", unweighted.

    The teacher sees the same crops, runs once a batch, and is frozen. A teacher of another width is met
    through one linear projection a pair of blocks, trained with the student and not part of it.
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
        check_same(student.config, teacher.config, *SAME_TOKENS)
        self.student, self.teacher = student, Frozen(teacher)
        self.sizes = sizes_of(student.config)
        self.distillation, self.box_cells, self.branches = distillation, box_cells, branches
        pairs = block_pairs(student.config, teacher.config, distillation.pairs)
        # As indices into the outputs of both stages 2.
        self._pairs = [
            (s - 1 - student.config.stage1_blocks, t - 1 - teacher.config.stage1_blocks) for s, t in pairs
        ]
        widths = student.config.width, teacher.config.width
        projected = "feature" in branches and widths[0] != widths[1]
        self.projections = nn.ModuleList(nn.Linear(*widths) if projected else nn.Identity() for _ in pairs)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        images = normalise(batch.templates), normalise(batch.search)
        result = self.student(*images, keep_blocks="feature" in self.branches)
        losses = tracking_losses(result.maps, batch.box, batch.present, self.box_cells)
        if self.branches:
            taught = self.teacher(*images, keep_blocks="feature" in self.branches)
        if "feature" in self.branches:
            losses["feature"] = self._feature(result, taught, batch)
        if "prediction" in self.branches:
            losses["prediction"] = self._prediction(result, taught, batch)
        return losses

    def _feature(self, result: SearchResult, taught: SearchResult, batch: Batch) -> Tensor:
        config, background = self.student.config, self.distillation.background
        mask = coverage_mask(batch.box, config.grid, background).flatten(1)
        first = config.template_slots * config.template_grid**2  # the search tokens come last
        if self.distillation.template_tokens:
            boxes = batch.template_boxes.flatten(0, 1)
            template_mask = coverage_mask(boxes, config.template_grid, background).reshape(-1, first)
            mask, first = torch.cat([template_mask, mask], dim=1), 0
        own = [
            projection(result.blocks[i][:, first:])
            for projection, (i, _) in zip(self.projections, self._pairs, strict=True)
        ]
        others = [taught.blocks[j][:, first:] for _, j in self._pairs]
        return feature_loss(own, others, mask * batch.present.view(-1, 1), self.distillation.reduction)

    def _prediction(self, result: SearchResult, taught: SearchResult, batch: Batch) -> Tensor:
        d = self.distillation
        mask = cell_mask(batch.box, self.student.config.grid) * batch.present.view(-1, 1, 1)
        own, other = result.maps.score_logits, taught.maps.score_logits
        loss = prediction_loss(own, other, mask, d.domain, d.temperature, d.direction)
        return loss * d.temperature**2 if d.temperature_squared else loss


def block_pairs(student: EATrackConfig, teacher: EATrackConfig, kind: str) -> list[tuple[int, int]]:
    """(student block, teacher block), from 1 over both stages, for every block of the student's stage 2.

    "proportional" pairs equal relative depths, "last" counts both from the end.

    Raises:
        ValueError: a teacher's block lies before its stage 2.
    """
    first, blocks, others = student.stage1_blocks + 1, student.blocks, teacher.blocks
    pairs = [
        (block, others - blocks + block if kind == "last" else matching_block(block, blocks, others))
        for block in range(first, blocks + 1)
    ]
    if pairs[0][1] <= teacher.stage1_blocks:
        raise ValueError(
            f"pairs = {kind!r} compares block {pairs[0][0]} of the student with block {pairs[0][1]} of the "
            f"teacher, whose joint blocks are {teacher.stage1_blocks + 1} to {others}"
        )
    return pairs
