"""CompressTracker (ICCV 2025): a student of few blocks replaces its teacher stage by stage.

The blocks of the frozen teacher are divided into as many stages as the student has blocks. The forward pass
of a training step goes, stage by stage, either through the student's block or through the teacher's blocks,
which pass gradients on; the student's take more and more of the stages, at last all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data.sampler import Batch
from ..losses import box_losses, boxes_at_peak, tracking_losses
from ..models.eatrack import EATrackStudent, SearchResult
from ..models.frozen import Frozen
from ..models.layers import normalise
from ..models.networks import sizes_of
from ..replacement import divide, mimicking_loss, replaced_stages, replacement_probability
from .teacher import SAME_TOKENS, check_same, teacher_and_branches

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe

BRANCHES = ("prediction", "feature")
SKIPS_PARAMETERS = True  # the stages that are the teacher's in a step


@dataclass(frozen=True)
class Distillation:
    """The teacher, and the progress of the replacement."""

    teacher: str = ""  # student.pt of the teacher's run
    initial: float = 0.5  # probability that a stage is replaced, at first; 1 = no teacher's block in the path
    hold_first: float = 0.1  # share of the steps with the initial probability
    hold_last: float = 0.1  # share of the steps with probability 1

    def __post_init__(self) -> None:
        for name in ("initial", "hold_first", "hold_last"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)} must lie between 0 and 1")
        if self.hold_first + self.hold_last >= 1:
            raise ValueError(
                f"hold_first = {self.hold_first} and hold_last = {self.hold_last} must leave a share between"
            )


def build(student: EATrackStudent, recipe: Recipe) -> CompressTracker:
    """The method of a recipe; a branch whose weight is 0 is left out.

    Raises:
        FileNotFoundError: there is no teacher.
        ValueError: the teacher does not fit the student, or a branch has no weight.
    """
    teacher, branches = teacher_and_branches("eatrack", student, recipe, BRANCHES)
    return CompressTracker(
        student, teacher, recipe.distillation, recipe.box_cells, recipe.seed, recipe.steps, branches
    )


class CompressTracker(nn.Module):
    """(batch, progress) -> the losses of OSTrack, "prediction" and "feature", unweighted.

    A teacher of another width is met through linear projections wherever the path goes from the student to
    the teacher or back. The student's own path has none, so that it is left as it is when the last stage is
    replaced, and exported.
    """

    def __init__(
        self,
        student: EATrackStudent,
        teacher: EATrackStudent,
        distillation: Distillation,
        box_cells: str,
        seed: int,
        steps: int,
        branches: Sequence[str] = BRANCHES,
    ) -> None:
        super().__init__()
        check_same(student.config, teacher.config, *SAME_TOKENS)
        self.student, self.teacher = student, Frozen(teacher)
        self.sizes = sizes_of(student.config)
        self.distillation, self.box_cells, self.branches = distillation, box_cells, branches
        self.seed, self.steps = seed, steps
        self.stages = divide(student.config.blocks, teacher.config.blocks)
        own, other = student.config.width, teacher.config.width
        # The path may go to the teacher before the first stage and after each, and come back after each.
        self.to_teacher = _projections(own, other, len(self.stages) + 1)
        self.to_student = _projections(other, own, len(self.stages))

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        images = normalise(batch.templates), normalise(batch.search)
        result, own = self.mixed(*images, self.draw(progress))
        losses = tracking_losses(result.maps, batch.box, batch.present, self.box_cells)
        if self.branches:
            taught, others = self.taught(*images)
        if "prediction" in self.branches:
            peaks = boxes_at_peak(result.maps), boxes_at_peak(taught.maps)
            l1, giou = box_losses(*peaks, batch.present.float(), cut=False)
            losses["prediction"] = 5 * l1 + 2 * giou
        if "feature" in self.branches:
            losses["feature"] = mimicking_loss(own, others, own[0].shape[1] - self.student.config.grid**2)
        return losses

    def draw(self, progress: float) -> tuple[bool, ...]:
        """Which stages are the student's in the step at this progress; the same in all processes."""
        d = self.distillation
        probability = replacement_probability(progress, d.initial, d.hold_first, d.hold_last)
        return replaced_stages(self.seed, round(progress * self.steps), len(self.stages), probability)

    def mixed(
        self, templates: Tensor, search: Tensor, replaced: Sequence[bool]
    ) -> tuple[SearchResult, list[Tensor]]:
        """The path through the student's stages where `replaced` and through the teacher's elsewhere.

        Returns:
            Its result by the student's norm and head, and [B, N, D] after each stage, in the teacher's width.
        """
        joint, of_student = self.student.embed(templates, search), True
        outputs = []
        for i, (own, blocks) in enumerate(zip(replaced, self.stages, strict=True)):
            if of_student and not own:
                joint = self.to_teacher[i](joint)
            elif own and not of_student:
                joint = self.to_student[i - 1](joint)
            joint = self.student.run_block(i, joint) if own else _run(self.teacher.network, blocks, joint)
            outputs.append(self.to_teacher[i + 1](joint) if own else joint)
            of_student = own
        return self.student.read(joint if of_student else self.to_student[-1](joint)), outputs

    @torch.no_grad()
    def taught(self, templates: Tensor, search: Tensor) -> tuple[SearchResult, list[Tensor]]:
        """The teacher's result, and what it gives after each stage."""
        teacher = self.teacher.network
        joint, outputs = teacher.embed(templates, search), []
        for blocks in self.stages:
            joint = _run(teacher, blocks, joint)
            outputs.append(joint)
        return teacher.read(joint), outputs


def _run(network: EATrackStudent, blocks: Iterable[int], joint: Tensor) -> Tensor:
    for block in blocks:
        joint = network.run_block(block, joint)
    return joint


def _projections(before: int, after: int, count: int) -> nn.ModuleList:
    """Of the path between networks of these widths; there are none where the widths agree."""
    return nn.ModuleList(
        nn.Identity() if before == after else identity_projection(before, after) for _ in range(count)
    )


def identity_projection(before: int, after: int) -> nn.Linear:
    """A linear layer that at first passes the channels on, as many as both sides have."""
    layer = nn.Linear(before, after)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
