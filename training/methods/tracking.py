"""The tracking losses alone: what every method adds its distillation to, and how teachers are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..data.sampler import Batch
from ..losses import tracking_losses
from ..models.eatrack import EATrackStudent
from ..models.layers import normalise
from ..models.networks import sizes_of

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe


BRANCHES = ()


@dataclass(frozen=True)
class Distillation:
    """There is none."""

    teacher: str = ""

    def __post_init__(self) -> None:
        if self.teacher:
            raise ValueError(f"teacher = {self.teacher!r}: the method 'tracking' has no teacher")


def build(student: EATrackStudent, recipe: Recipe) -> Tracking:
    """The method of a recipe."""
    return Tracking(student, recipe.box_cells)


class Tracking(nn.Module):
    """(batch, progress) -> the losses of OSTrack, by name and unweighted."""

    def __init__(self, student: EATrackStudent, box_cells: str) -> None:
        super().__init__()
        self.student = student
        self.sizes = sizes_of(student.config)
        self.box_cells = box_cells

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        result = self.student(normalise(batch.templates), normalise(batch.search))
        return tracking_losses(result.maps, batch.box, batch.present, self.box_cells)
