"""CompressTracker's training as pure functions: which stages are replaced when, and what the student follows.

The teacher's blocks are divided into as many stages as the student has blocks. In training every stage of
the forward pass is either the student's block or the teacher's blocks that it will replace.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .data.draws import Draws
from .models.layers import matching_block


def divide(blocks: int, teacher_blocks: int) -> list[range]:
    """The teacher's blocks, from 0, that each block of the student replaces.

    Student block i of n ends where block ceil(T i / n) of the teacher does, the block that it starts from.

    Raises:
        ValueError: the student has more blocks than the teacher.
    """
    if blocks > teacher_blocks:
        raise ValueError(
            f"the student has {blocks} blocks, the teacher {teacher_blocks}: each replaces at least one"
        )
    ends = [matching_block(block, blocks, teacher_blocks) for block in range(blocks + 1)]
    return [range(first, end) for first, end in zip(ends, ends[1:], strict=False)]


def replacement_probability(
    progress: float, initial: float = 0.5, hold_first: float = 0.1, hold_last: float = 0.1
) -> float:
    """p of a stage: `initial` at first, then rising in proportion, and 1 at last (progressive replacement).

    Args:
        progress: of the training, 0 to 1.
        initial: p_init.
        hold_first, hold_last: shares of the training with `initial` and with 1: alpha_1 and alpha_2.
    """
    if progress >= 1 - hold_last:
        return 1.0
    risen = (progress - hold_first) / (1 - hold_first - hold_last)
    return initial + (1 - initial) * max(risen, 0.0)


def replaced_stages(seed: int, step: int, stages: int, probability: float) -> tuple[bool, ...]:
    """One draw a stage: whether the student's block stands in for the teacher's.

    If none does, one stage is chosen. A function of its arguments alone, so that all processes and a resumed
    run take the same path.
    """
    draws = Draws(seed, torch.tensor([step]))
    replaced = (draws.uniform("replaced stages", stages)[0] < probability).tolist()
    if not any(replaced):
        replaced[int(draws.uniform("forced stage", 1) * stages)] = True
    return tuple(replaced)


def mimicking_loss(own: Sequence[Tensor], taught: Sequence[Tensor], template_tokens: int) -> Tensor:
    """Stage-wise feature mimicking: (1 / n) sum_i (MSE of the templates + MSE of the search region) / 2.

    Args:
        own, taught: n pairs of joint sequences [B, N, D] after each stage, templates first.
        template_tokens: how many of the N.
    """
    terms = []
    for x, y in zip(own, taught, strict=True):
        error = (x.float() - y.float()).square()
        terms.append((error[:, :template_tokens].mean() + error[:, template_tokens:].mean()) / 2)
    return torch.stack(terms).mean()
