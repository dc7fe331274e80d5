"""How the learning rate runs over a training: pure functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("linear", "cosine", "step")


def learning_rate_factor(
    step: int, steps: int, schedule: str = "linear", warmup_steps: int = 0, decay_from: float = 0.8
) -> float:
    """The share of the full learning rate at a step, after a linear warm-up.

    Args:
        step: 0 to steps - 1.
        schedule: linear (a plateau, from `decay_from` on down to zero), cosine (half a period, from one to
            zero) or step (a tenth from `decay_from` on).
        decay_from: progress, 0 to 1.
    """
    progress = step / steps
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    if schedule == "cosine":
        return warm * (1 + math.cos(math.pi * progress)) / 2
    if progress <= decay_from:
        return warm
    return warm * (0.1 if schedule == "step" else (1 - progress) / (1 - decay_from))
