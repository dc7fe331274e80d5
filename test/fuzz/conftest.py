"""How many cases the fuzzing has, and where its figures go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import pytest
from fuzzing import fuzz as run_fuzz

SHORT = 3_000  # cases of all targets in the normal run
FIGURES = Path(__file__).parents[2] / "build" / "field" / "inputs"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-cases", type=int, help=f"hostile inputs in all (default {SHORT}); writes figures to {FIGURES}"
    )


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`fuzzing.fuzz` with the number of cases that was asked for."""
    wanted = request.config.getoption("--fuzz-cases")
    cv2.setNumThreads(1)
    return partial(run_fuzz, total=wanted or SHORT, figures=FIGURES if wanted else None)
