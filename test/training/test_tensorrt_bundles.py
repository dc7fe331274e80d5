"""The bundle of every method's network is one that TensorRT can compile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from random_bundles import NETWORKS

from distill_tracker_ros.runtime.tensorrt.builder import build_plan
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

GPUS = [(8, 6), (8, 9)]


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX (requirements/test.txt has it)")


@pytest.mark.parametrize("graph", ["template", "search"])
@pytest.mark.parametrize("method", NETWORKS)
def test_every_method_compiles(
    rtx: Any, random_bundle: Callable[[str], Path], method: str, graph: str
) -> None:
    content = (random_bundle(method) / f"{graph}.onnx").read_bytes()
    assert build_plan(rtx, content, 4, TensorRtOptions(), compute_capabilities=GPUS).plan
