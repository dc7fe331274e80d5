"""The benchmark of training runs, on a taught student too, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "training.py"


def test_the_benchmark_measures_a_taught_student_on_its_own(tmp_path: Path) -> None:
    recipe, found = tmp_path / "recipe.yaml", tmp_path / "found.json"
    student = "{search_size: 64, template_size: 32, stem: conv, width: 48, head_channels: 16}"
    weights = "{focal: 1.0, l1: 5.0, giou: 2.0, feature: 1.0, prediction: 1.0}"
    recipe.write_text(f"name: taught\nmethod: eatrack\nstudent: {student}\nloss_weights: {weights}\n")
    limits = ("--device", "cpu", "--batch", "4", "--seconds", "0.2")
    command = [sys.executable, str(SCRIPT), "--recipe", str(recipe), *limits, "--json", str(found)]
    subprocess.run(command, check=True, timeout=200)
    numbers = json.loads(found.read_text())
    assert numbers["recipe"] == "taught" and numbers["batch_size"] == 4
    assert numbers["pipeline_samples_per_s"] > 0 and 0 < numbers["share_of_matrix_throughput"] < 1
