"""AsymTrack (AAAI 2025): box losses alone, as published, or also the edges of a teacher's box.

The paper trains without a teacher. As its head is a corner head, the teacher's term of MixFormerV2 fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torchvision.ops import box_convert

from ..data.sampler import Batch
from ..distillation import edge_loss
from ..losses import box_losses, generalized_iou_loss
from ..models.asymtrack import AsymTrack
from ..models.frozen import Frozen
from ..models.layers import normalise
from ..models.networks import sizes_of
from .teacher import branches_with_weight, check_network, check_same, load_teacher

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe

BRANCHES = ("edge",)
SAME = ("search_size", "template_size", "search_factor", "template_factor", "edge_bins", "half_cell")


@dataclass(frozen=True)
class Distillation:
    """Without a teacher there is none, as published."""

    teacher: str = ""  # student.pt of another AsymTrack's run


def build(student: AsymTrack, recipe: Recipe) -> AsymTrackMethod:
    """The method of a recipe; with a teacher it also gives "edge", unless that has the weight 0.

    Raises:
        FileNotFoundError: there is no such teacher.
        ValueError: the teacher does not fit the student, or "edge" has no weight.
    """
    file = recipe.distillation.teacher
    teacher = load_teacher(file) if file and branches_with_weight(BRANCHES, recipe.loss_weights) else None
    check_network("asymtrack", student, teacher or student)
    return AsymTrackMethod(student, teacher)


class AsymTrackMethod(nn.Module):
    """(batch, progress) -> "l1" and "giou" of the box, and "edge" if there is a teacher, unweighted."""

    def __init__(self, student: AsymTrack, teacher: AsymTrack | None) -> None:
        super().__init__()
        self.student, self.sizes = student, sizes_of(student.config)
        self.teacher = None
        if teacher is not None:
            check_same(student.config, teacher.config, *SAME)
            self.teacher = Frozen(teacher)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        images = normalise(batch.templates), normalise(batch.search)
        present = batch.present.float()
        result = self.student(*images)
        boxes = box_convert(result.boxes, "xyxy", "cxcywh")
        l1, giou = box_losses(boxes, batch.box, present, overlap_loss=generalized_iou_loss)
        losses = {"l1": l1, "giou": giou}
        if self.teacher is not None:
            losses["edge"] = edge_loss(result.logits, self.teacher(*images).logits, present)
        return losses
