"""Draw the closed loop: python3 -m examples.gimbal.plot docs/gimbal.png"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .control import Angles, Gains
from .simulation import Gimbal, Lens, Sample, Vector, fly, through

LENS = Lens()
EDGE_DEG = 33.0  # of the picture, to the right
SPEED_DEG_S = 20.0
STEP_DEG = 25.0


def main(path: str) -> None:
    """Write the picture."""
    figure, (moving, step) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for delay_s in (0.1, 0.2):
        _draw(moving, _flight(_round(SPEED_DEG_S), delay_s), f"{delay_s:g} s of delay")
    _draw(moving, _flight(_round(SPEED_DEG_S), 0.1, Gains(most_rad_s=0.0)), "without the loop", "--")
    moving.axhline(EDGE_DEG, color="grey", linewidth=1, linestyle=":")
    moving.annotate("edge of the picture", (5.9, EDGE_DEG - 3), ha="right", color="grey")
    moving.set(title=f"target at {SPEED_DEG_S:g} degrees/s", ylim=(-2, 45))
    for per_s in (1.0, 2.0, 4.0):
        _draw(step, _flight(_aside(STEP_DEG), 0.2, Gains(per_s=per_s)), f"per_s = {per_s:g}")
    step.set(title=f"target {STEP_DEG:g} degrees aside, 0.2 s of delay", ylim=(-8, 30))
    for axes in (moving, step):
        axes.set(xlabel="s", ylabel="degrees from the middle", xlim=(0, 6))
        axes.axhline(0, color="black", linewidth=0.5)
        axes.legend(loc="upper right" if axes is step else "center right")
    figure.savefig(path, dpi=110)


def _draw(axes: Axes, samples: list[Sample], label: str, style: str = "-") -> None:
    yaw_deg = [math.degrees(sample.error.yaw) for sample in samples]
    axes.plot([sample.time_s for sample in samples], yaw_deg, style, label=label)


def _flight(target: Callable[[float], Vector], delay_s: float, gains: Gains | None = None) -> list[Sample]:
    return fly(Gimbal(Angles(0.0, 0.0), delay_s), target, through(LENS), gains or Gains(), seconds=6)


def _round(deg_s: float) -> Callable[[float], Vector]:
    """To the right round the camera."""
    return lambda now_s: _level(deg_s * now_s)


def _aside(deg: float) -> Callable[[float], Vector]:
    return lambda now_s: _level(deg)


def _level(yaw_deg: float) -> Vector:
    yaw = math.radians(yaw_deg)
    return np.array([math.cos(yaw), -math.sin(yaw), 0.0])


if __name__ == "__main__":
    main(*sys.argv[1:])
