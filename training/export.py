"""Student -> model bundle: two ONNX graphs, a manifest and a model card, checked against PyTorch."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, Graph, Manifest, write_manifest
from distill_tracker_ros.runtime.precision import to_float16
from distill_tracker_ros.runtime.rewrite import rewritten

from .checkpoint import load_student
from .models.layers import normalise
from .models.network import Network, SearchOutputs, States
from .spec import model_spec
from .torch_engine import TorchEngine
from .train import use_plain_attention

OPSET = 17  # the floor is TensorRT 8.6
PARITY_SEED = 1
UNTAUGHT = "tracking"  # no method of its own: the bundle names the network
PARITY_LIMITS = {  # boxes are relative to the search side
    "float32": {"states": 1e-4, "score_map": 1e-4, "box_map": 1e-4},
    "float16": {"score_map": 1e-2, "box_map": 2e-3},
}


class TemplateGraph(nn.Module):
    """templates uint8 [B, T, Hz, Wz, 3] -> state_0 .. state_n."""

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.student = student

    def forward(self, templates: Tensor) -> States:
        return self.student.encode_template(normalise(templates))


class SearchGraph(nn.Module):
    """search uint8 [B, Hx, Wx, 3], states -> score_map, box_map, embedding."""

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.student = student

    def forward(self, search: Tensor, states: States) -> SearchOutputs:
        return self.student.outputs(normalise(search), *states)


def export_bundle(
    student_file: Path,
    name: str,
    output: Path,
    window_weight: float = 1.0,
    lost_threshold: float | None = None,
    precision: str = "float32",
    data: Sequence[str] = (),
) -> Path:
    """Write the graphs and the manifest of a student into `output`, and compare ONNX Runtime with PyTorch.

    Args:
        student_file: as written by training.
        name: the model's name.
        output: folder of the bundle; made if missing.
        window_weight, lost_threshold: numbers of the manifest; see spec.model_spec.
        precision: of weights, activations and states: float32 or float16.
        data: names and licences of the training data, for the provenance.

    Raises:
        FileNotFoundError: there is no such student.
        ValueError: the graphs do not give what PyTorch gives.
    """
    trained, about = load_student(student_file)
    student = trained.deployed()
    use_plain_attention(student)
    method = about.get("method", UNTAUGHT)
    word = "" if method == UNTAUGHT else method
    spec = model_spec(student.config, name, word, window_weight, lost_threshold, precision)
    output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    templates = _pixels(rng, 2, spec.template_slots, spec.template_size, spec.template_size, 3)
    search = _pixels(rng, 2, spec.search_size, spec.search_size, 3)
    with torch.no_grad():
        states = student.encode_template(normalise(templates))
    names = [state.name for state in spec.states]
    _to_onnx(TemplateGraph(student), (templates,), ["templates"], names, output / "template.onnx")
    inputs, outputs = ["search", *names], list(SearchOutputs._fields)
    _to_onnx(SearchGraph(student), (search, states), inputs, outputs, output / "search.onnx")
    for file in (output / "template.onnx", output / "search.onnx"):
        graph = rewritten(onnx.load(file))
        onnx.save(to_float16(graph, names) if precision == "float16" else graph, file)
    manifest = Manifest(
        spec=spec,
        template=Graph.of_file(output / "template.onnx"),
        search=Graph.of_file(output / "search.onnx"),
        opset=OPSET,
        provenance={**about, "training_commit": _commit(), "data": list(data)},
    )
    write_manifest(output / FILE_NAME, manifest)
    parity = measure_parity(student, output)
    if any(parity[key] > limit for key, limit in PARITY_LIMITS[precision].items()):
        raise ValueError(
            f"{output}: the exported graphs differ from PyTorch by {parity}: do not use this bundle"
        )
    write_manifest(output / FILE_NAME, replace(manifest, parity=parity))
    return output


def measure_parity(student: Network, bundle: Path) -> dict[str, float]:
    """Largest absolute differences of a bundle in ONNX Runtime from the student in PyTorch (float32).

    The inputs are not those the graphs were traced with, nor is the batch size.
    """
    engine = load_engine(bundle)
    expected_engine = TorchEngine(student, engine.spec)
    spec, rng = engine.spec, np.random.default_rng(PARITY_SEED)
    templates = _pixels(rng, 3, spec.template_slots, spec.template_size, spec.template_size, 3).numpy()
    search = _pixels(rng, 3, spec.search_size, spec.search_size, 3).numpy()
    expected_state, state = expected_engine.encode_template(templates), engine.encode_template(templates)
    expected, found = expected_engine.search(search, [expected_state]), engine.search(search, [state])
    engine.close()

    def difference(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
        return float(f"{np.abs(a - b).max():.3g}")

    largest = max(map(difference, expected_state, state))
    outputs = {key: difference(getattr(expected, key), getattr(found, key)) for key in SearchOutputs._fields}
    return {"seed": PARITY_SEED, "states": largest, **outputs}


def _to_onnx(
    module: nn.Module, example: tuple[Any, ...], inputs: list[str], outputs: list[str], path: Path
) -> None:
    """Export with a dynamic batch axis, everything else static."""
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = tree_map(lambda _: {0: batch}, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the name of the batch axis
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(path)
    # The exporter converts down from opset 18 and keeps 18 when it cannot.
    if graph.opset_import[0].version != OPSET:
        raise ValueError(
            f"{path} could not be exported at opset {OPSET}: an operator of the network needs a newer one"
        )
    onnx.checker.check_model(graph, full_check=True)


def _pixels(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))


def _commit() -> str:
    """The commit of the training code, or "unknown" outside a checkout."""
    answer: subprocess.CompletedProcess[Any] = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return answer.stdout.strip() or "unknown"
