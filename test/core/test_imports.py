"""What the core and the runtimes may load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("core.session", "rclpy torch onnxruntime tensorrt yaml"),
        ("runtime.load", "rclpy torch onnxruntime tensorrt"),
    ],
)
def test_a_fresh_interpreter_loads_nothing_more(module: str, forbidden: str) -> None:
    program = (
        f"import sys, distill_tracker_ros.{module}\n"
        f"print(sorted(set({forbidden.split()}) & set(sys.modules)), 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split("\n")[0] == "[] True", done.stdout + done.stderr
