"""What the benchmarks write: conditions, quartiles, tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike


def conditions() -> dict[str, Any]:
    """The machine and the libraries that a measurement depends on."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": _version("onnxruntime"),
    }


def spread(samples: ArrayLike) -> dict[str, float]:
    """Median and quartiles."""
    q1, median, q3 = np.percentile(np.asarray(samples, np.float64), [25, 50, 75])
    return {"median": float(median), "q1": float(q1), "q3": float(q3)}


def shown(found: dict[str, float]) -> str:
    """A spread as text."""
    return f"{_short(found['median'])} ({_short(found['q1'])} to {_short(found['q3'])})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_conditions(found: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())


def _short(value: float) -> str:
    """Three digits, all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _processor() -> str:
    """Its name; on ARM the kernel tells none, so the kind alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
