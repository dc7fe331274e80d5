"""MixFormerV2 (NeurIPS 2023): a student learns its teacher's distributions of the box, then loses blocks.

Its stages are recipes, one after the other, of this one method. Dense to sparse: the teacher has a corner
head, the student prediction tokens. Deep to shallow: some of the student's blocks fade away; then the network
without them learns on. A narrower MLP likewise. At last the score head alone. Without a teacher the losses of
tracking remain: so is the corner teacher trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from ..cross_resolution import resize_images
from ..data.sampler import Batch
from ..distillation import edge_loss, feature_loss
from ..losses import box_losses, complete_iou_loss
from ..models.frozen import Frozen
from ..models.layers import matching_block, normalise
from ..models.mixformer import MixFormerConfig, MixFormerStudent, scale_block
from ..models.networks import sizes_of
from .teacher import SAME_TOKENS, branches_with_weight, check_network, check_same, load_teacher

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe

BRANCHES = ("edge", "feature")


@dataclass(frozen=True)
class Distillation:
    """The teacher, and what the stage is about."""

    teacher: str = ""  # student.pt of the teacher's run; empty = the losses of tracking alone
    matched_blocks: int = 4  # pairs of blocks whose tokens are compared, evenly over both networks
    kept_blocks: int = 0  # of the student, evenly over it: the others fade away; 0 = all stay
    faded_at: float = 0.889  # progress at which the others are gone: epoch 40 of 45
    score_only: bool = False  # train the score head, and nothing else

    def __post_init__(self) -> None:
        if self.matched_blocks < 1:
            raise ValueError(f"matched_blocks = {self.matched_blocks} must be at least 1")
        if self.kept_blocks < 0:
            raise ValueError(f"kept_blocks = {self.kept_blocks} must be at least 0")
        if not 0 < self.faded_at <= 1:
            raise ValueError(f"faded_at = {self.faded_at} must lie above 0 and at most at 1")
        if self.kept_blocks and not self.teacher:
            raise ValueError(f"kept_blocks = {self.kept_blocks} needs a teacher: the whole network")
        if self.score_only and (self.teacher or self.kept_blocks):
            raise ValueError("score_only has no teacher and no kept_blocks: all but the score head is fixed")


def build(student: MixFormerStudent, recipe: Recipe) -> MixFormer | ScoreHead:
    """The method of a recipe; a branch whose weight is 0 is left out.

    Raises:
        FileNotFoundError: there is no such teacher.
        ValueError: the teacher does not fit the student, or a branch has no weight.
    """
    distillation = recipe.distillation
    teacher = load_teacher(distillation.teacher) if distillation.teacher else None
    check_network("mixformer", student, teacher or student)
    if distillation.score_only:
        return ScoreHead(student)
    branches = branches_with_weight(BRANCHES, recipe.loss_weights) if teacher else ()
    return MixFormer(student, teacher, distillation, branches)


class MixFormer(nn.Module):
    """(batch, progress) -> "l1" and "ciou" of the box, "edge" and "feature", unweighted.

    A teacher of another resolution sees the same region. The score head stands aside.
    """

    def __init__(
        self,
        student: MixFormerStudent,
        teacher: MixFormerStudent | None,
        distillation: Distillation,
        branches: Sequence[str] = BRANCHES,
    ) -> None:
        super().__init__()
        self.student, self.sizes, self.branches = student, sizes_of(student.config), tuple(branches)
        self.distillation = distillation
        if student.config.head == "tokens":
            student.head.score.requires_grad_(False)
        self._fading: list[int] = []
        if teacher is None:
            return
        _check(student.config, teacher.config, distillation, self.branches)
        self.teacher = Frozen(teacher)
        sides = ("search_size", "template_size")
        self.sizes = self.sizes._replace(
            **{name: max(getattr(n.config, name) for n in (student, teacher)) for name in sides}
        )
        depths = student.config.blocks, teacher.config.blocks
        self._pairs = block_pairs(*depths, distillation.matched_blocks)
        if distillation.kept_blocks:
            self._fading = fading_blocks(student.config.blocks, distillation.kept_blocks)
        for index in self._fading:
            student.blocks[index].load_state_dict(teacher.blocks[index].state_dict())
            student.blocks[index].requires_grad_(False)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        for index in self._fading:
            gain = fading(progress, self.distillation.faded_at)
            scale_block(self.student.blocks[index], self.teacher.network.blocks[index], gain)
        images = normalise(batch.templates), normalise(batch.search)
        present, features = batch.present.float(), "feature" in self.branches
        result = self.student(*_fitted(images, self.student.config), keep_blocks=features)
        boxes = box_convert(result.boxes, "xyxy", "cxcywh")
        l1, ciou = box_losses(boxes, batch.box, present, overlap_loss=complete_iou_loss)
        losses = {"l1": l1, "ciou": ciou}
        if self.branches:
            taught = self.teacher(*_fitted(images, self.teacher.network.config), keep_blocks=features)
        if "edge" in self.branches:
            losses["edge"] = edge_loss(result.logits, taught.logits, present)
        if features:
            own = [result.blocks[i] for i, _ in self._pairs]
            others = [taught.blocks[j] for _, j in self._pairs]
            losses["feature"] = feature_loss(own, others, torch.ones_like(own[0][..., 0]))
        return losses


class ScoreHead(nn.Module):
    """(batch, progress) -> "score", the cross-entropy of the score head; nothing else trains or moves.

    Samples without a target (`absent` of the data) are its negatives.
    """

    def __init__(self, student: MixFormerStudent) -> None:
        super().__init__()
        if student.config.head != "tokens":
            raise ValueError(f"head = {student.config.head!r} has no score head to train; 'tokens' has one")
        self.student, self.sizes = student.requires_grad_(False), sizes_of(student.config)
        student.head.score.requires_grad_(True)

    def train(self, mode: bool = True) -> ScoreHead:
        """The student stays in eval mode: its statistics must not move, nor its blocks drop out."""
        super().train(mode)
        self.student.eval()
        return self

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        with torch.no_grad():
            tokens = self.student(normalise(batch.templates), normalise(batch.search)).tokens
        logits = self.student.head.score_logits(tokens)
        return {"score": F.binary_cross_entropy_with_logits(logits, batch.present.float())}


def fading(progress: float, end: float) -> float:
    """gamma of progressive depth pruning: 0.5 (1 + cos(pi progress / end)) up to `end`, then 0."""
    return 0.5 * (1 + math.cos(math.pi * min(progress / end, 1)))


def fading_blocks(blocks: int, kept: int) -> list[int]:
    """The blocks, from 0, that go where `kept` of them stay, evenly spread and the last among them."""
    staying = {matching_block(block, kept, blocks) for block in range(1, kept + 1)}
    return [block - 1 for block in range(1, blocks + 1) if block not in staying]


def block_pairs(student_blocks: int, teacher_blocks: int, count: int) -> list[tuple[int, int]]:
    """(student block, teacher block), from 0: so many pairs, evenly spread over both up to the last."""
    return [
        (matching_block(k, count, student_blocks) - 1, matching_block(k, count, teacher_blocks) - 1)
        for k in range(1, count + 1)
    ]


def _fitted(images: tuple[Tensor, Tensor], config: MixFormerConfig) -> tuple[Tensor, Tensor]:
    """Templates and search regions in the resolution of a network."""
    templates, search = images
    return resize_images(templates, config.template_size), resize_images(search, config.search_size)


def _check(
    student: MixFormerConfig, teacher: MixFormerConfig, distillation: Distillation, branches: Sequence[str]
) -> None:
    check_same(student, teacher, "search_factor", "template_factor", "template_slots")
    if "edge" in branches:
        check_same(student, teacher, "edge_bins")
    if "feature" in branches:
        check_same(student, teacher, "head", "width", *SAME_TOKENS)
        fewest = min(student.blocks, teacher.blocks)
        if distillation.matched_blocks > fewest:
            raise ValueError(
                f"matched_blocks = {distillation.matched_blocks}, but a network has only {fewest} blocks"
            )
    if distillation.kept_blocks:
        check_same(student, teacher, "blocks", "width", "heads", "mlp_ratio")
        if distillation.kept_blocks >= student.blocks:
            raise ValueError(
                f"kept_blocks = {distillation.kept_blocks} must be fewer than the student's {student.blocks}"
            )
