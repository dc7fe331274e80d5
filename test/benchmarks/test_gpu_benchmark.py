"""The benchmark of GPUs, as far as a machine without one can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import Gpu, plan, tensorrt
from test_benchmark_scripts import load, run
from tiny_bundle import SPEC, write_tiny_bundle

from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.tensorrt import cuda
from distill_tracker_ros.runtime.tensorrt.engine import TensorRtEngine
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions

gpu = load("gpu")


def test_help_starts_with_examples() -> None:
    assert run("gpu", "--help").startswith("Examples:\n  python3 benchmarks/gpu.py\n")


def test_without_a_gpu_it_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cuda, "_runtime", lambda: Gpu(driver=0))
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.startswith("gpu: no NVIDIA driver: ")


def test_what_cannot_run_is_named_and_the_rest_is_measured(tmp_path: Path) -> None:
    def missing() -> None:
        raise ValueError("TensorRT-RTX does not\nrun here")

    bundle = write_tiny_bundle(tmp_path / "tiny")
    engines, why = gpu.opened({"a": lambda: load_engine(bundle), "b": missing})
    assert list(engines) == ["a"]
    assert why == {"b": "TensorRT-RTX does not run here"}


def test_engines_are_measured_with_their_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Gpu()
    monkeypatch.setattr(cuda, "_runtime", lambda: fake)
    bundle = write_tiny_bundle(tmp_path / "tiny")
    plans = [plan((bundle / f"{name}.onnx").read_bytes()) for name in ("template", "search")]
    fast = TensorRtEngine((plans[0], plans[1]), SPEC, TensorRtOptions(max_targets=4), tensorrt(fake))
    found = gpu.measure({"fake": fast, "onnx": load_engine(bundle)}, [1, 3], rounds=2, calls=3)
    assert [(m.engine, m.batch) for m in found] == [("fake", 1), ("onnx", 1), ("fake", 3), ("onnx", 3)]
    assert all(0 < m.low_ms <= m.median_ms <= m.high_ms for m in found)
    assert found[1].copies is None
    for measured, batch in ((found[0], 1), (found[2], 3)):
        assert measured.copies["uploads"] == 1
        assert measured.copies["uploaded_bytes"] == batch * 64 * 64 * 3
        assert measured.copies["device_copies"] == 0
    fast.close()


def test_the_tables_hold_medians_ratios_copies_and_what_is_missing() -> None:
    copies = dict.fromkeys(cuda.Counts._fields, 0.0) | {"uploads": 1.0, "uploaded_bytes": 196608.0}
    found = [
        gpu.Measurement("TensorRT float16", 1, 0.5, 0.4, 0.75, copies),
        gpu.Measurement("PyTorch eager float32", 1, 2.0, 1.5, 3.0),
        gpu.Measurement("TensorRT float16", 4, 1.0, 0.9, 1.25, copies),
        gpu.Measurement("PyTorch eager float32", 4, 2.5, 2.25, 3.0),
    ]
    text = gpu.markdown("a model on a GPU", found, {"ONNX Runtime, CUDA": "not available"})
    assert text.startswith("# a model on a GPU\n\n")
    lines = text.splitlines()
    assert "| engine | batch 1 | batch 4 |" in lines
    assert "| TensorRT float16 | 0.500 (0.400 to 0.750) | 1.000 (0.900 to 1.250) |" in lines
    assert "Times as fast as PyTorch eager float32:" in lines
    assert "| TensorRT float16 | 4.00 | 2.50 |" in lines
    assert "| TensorRT float16 | 4 | 1 | 196608 | 0 | 0 | 0 | 0 |" in lines
    assert lines[-1] == "- ONNX Runtime, CUDA: not available"


@pytest.mark.training
def test_a_student_in_pytorch_gives_what_it_gives_in_training(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from training.checkpoint import save_student
    from training.recipe import RECIPES, read_recipe
    from training.spec import model_spec
    from training.torch_engine import TorchEngine

    config = read_recipe(RECIPES / "eatrack_nano.yaml").student
    network, spec = config.build(), model_spec(config, "small")
    file = save_student(tmp_path, network, config, {})
    expected = gpu._search(TorchEngine(network.deployed(), spec), 2)()
    for precision, tolerance in (("float32", 1e-5), ("float16", 0.02)):
        found = gpu._search(gpu.PyTorch(file, spec, precision, compiled=False, device="cpu"), 2)()
        assert found.score_map.dtype == np.float32
        np.testing.assert_allclose(found.score_map, expected.score_map, atol=tolerance)
    with pytest.raises(ValueError, match=r"is not the student of tiny: its template_size is 64, that of the"):
        gpu.PyTorch(file, SPEC, "float32", compiled=False, device="cpu")
