"""distill-tracker build-engine: what it builds, what it lists, and what it says where it cannot build."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.cli import main
from distill_tracker_ros.runtime.tensorrt import compat, cuda, plans
from distill_tracker_ros.runtime.tensorrt import load as tensorrt_load
from distill_tracker_ros.runtime.tensorrt.builder import Built
from distill_tracker_ros.runtime.tensorrt.cuda import CudaError, Device
from distill_tracker_ros.runtime.tensorrt.options import TensorRtOptions
from distill_tracker_ros.runtime.tensorrt.plans import Plans

DEVICE = Device("Orin NX", (8, 7), 8, 15_000, True, 12060, 12060)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX (requirements/test.txt has it)")


def test_the_options_reach_the_build(
    monkeypatch: pytest.MonkeyPatch, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[TensorRtOptions] = []
    closed: list[bool] = []

    def open_bundle(folder: Path, manifest: Any, options: TensorRtOptions, say: Any, progress: Any) -> Any:
        given.append(options)
        progress("Timing", 0.5)
        return SimpleNamespace(close=lambda: closed.append(True)), "tensorrt 10.3.0, Orin NX"

    monkeypatch.setattr(tensorrt_load, "open_bundle", open_bundle)
    arguments = ["--precision", "float16", "--max-targets", "3", "--cache", str(tmp_path), "--device", "1"]
    assert main(["build-engine", model, *arguments, "--optimisation-level", "5"]) == 0
    assert given == [
        TensorRtOptions(
            precision="float16", max_targets=3, cache_folder=str(tmp_path), device=1, optimisation_level=5
        )
    ]
    assert closed == [True]
    assert capsys.readouterr().out == "tiny is ready: tensorrt 10.3.0, Orin NX\n"


def test_an_interrupt_is_told(
    monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_bundle(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorrt_load, "open_bundle", open_bundle)
    assert main(["build-engine", model]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_without_tensorrt_it_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in compat.MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["build-engine", model]) == 1
    said = capsys.readouterr().err
    assert said.startswith("distill-tracker: no TensorRT works in this Python")
    assert said.count("\n") == 1


def test_without_a_gpu_it_says_so(
    rtx: Any, monkeypatch: pytest.MonkeyPatch, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def device(index: int) -> Device:
        raise CudaError("no NVIDIA driver: this machine has none")

    monkeypatch.setattr(cuda, "device", device)
    assert main(["build-engine", model]) == 1
    assert capsys.readouterr().err == "distill-tracker: no NVIDIA driver: this machine has none\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-targets", "0"], "TensorRtOptions.max_targets = 0 is out of range: accepted is 1 to 64"),
        (["--ahead-of-time", "8.6"], "say where the plans go: --output DIR"),
        (["--ahead-of-time", "8.7", "--output", "out"], "accepted are 7.5, 8.0, 8.6"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    rtx: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["build-engine", model, *arguments]) == 1
    assert said in capsys.readouterr().err


def test_an_argument_that_is_no_compute_capability(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build-engine", "--ahead-of-time", "ampere"])
    assert "'ampere' is no compute capability: give it as 8.6" in capsys.readouterr().err


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-engine", "no_such_model"]) == 1
    assert "no model 'no_such_model'" in capsys.readouterr().err


def test_real_plans_for_gpus_that_are_not_here(
    rtx: Any, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--ahead-of-time", "8.6", "8.9", "--output", str(output), "--max-targets", "2"]
    assert main(["build-engine", model, *arguments]) == 0
    names = sorted(file.name for file in output.glob("*.plan"))
    assert [name.rpartition("-")[0] for name in names] == ["tiny-search", "tiny-template"]
    said = capsys.readouterr().out
    assert all(name in said for name in names)
    about = json.loads((output / names[0]).with_suffix(".json").read_text())
    assert about["key"]["device"] == [[8, 6], [8, 9]]
    assert about["key"]["max_batch"] == 2
    assert main(["build-engine", "--list", "--cache", str(output)]) == 0
    assert "8.6 8.9" in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_an_error(
    rtx: Any, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    output = str(tmp_path / "file" / "out")
    assert main(["build-engine", model, "--ahead-of-time", "8.6", "--output", output]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_list_says_what_each_plan_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trt = ModuleType("tensorrt")
    trt.__version__ = "10.3.0"  # type: ignore[attr-defined]
    options = TensorRtOptions(precision="float16")
    key = plans.key("tiny-search", b"graph", 4, options, trt, DEVICE)
    kept = Plans(tmp_path, 100)
    kept.store(key, Built(bytes(2_500_000), b""), {})
    sidecar = kept.folder / f"{key.stem}.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"built": 1e9}))
    assert main(["build-engine", "--list", "--cache", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split("  ")
    cells = [cell.strip() for cell in row if cell.strip()]
    assert cells[:6] == [key.stem, "float16", "4", "Orin NX", "tensorrt 10.3.0", "2.5"]
    assert cells[6].endswith(" d")
    assert cells[7].endswith((" s", " min"))


def test_an_empty_list_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build-engine", "--list", "--cache", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"no plans in {tmp_path / 'none'}\n"
