"""The benchmarks run, and what they print are the node's own numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny_bundle import write_tiny_bundle

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


def load(name: str) -> ModuleType:
    """A script of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str) -> str:
    environment = os.environ | {
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100)
    }
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_is_in_the_list():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"run", "camera"}
    scripts -= {"training", "methods"}  # they need torch, which a robot does not have
    assert set(load("run").BENCHMARKS) == scripts


@pytest.mark.parametrize("name", ["run", "node_overhead", "node_memory"])
def test_help_starts_with_examples(name: str):
    assert run(name, "--help").startswith(f"Examples:\n  python3 benchmarks/{name}.py\n")


@pytest.mark.parametrize("images", [("10", "10"), ("0", "5"), ("9", "3")])
def test_memory_needs_two_numbers_in_order(images: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        load("node_memory").main(["--images", *images])
    assert "the second number must be larger" in capsys.readouterr().err


def test_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert load("node_overhead").main(["--model", "nothing"]) == 1
    error = capsys.readouterr().err
    assert "no model 'nothing'" in error
    assert error.count("\n") == 1


def test_the_memory_of_a_process_is_what_the_kernel_says():
    module = load("node_memory")
    before = module.resident_mb(os.getpid())
    block = bytearray(os.urandom(1)) * 50_000_000
    assert 45 < module.resident_mb(os.getpid()) - before < 60
    del block


@pytest.mark.ros
def test_overhead_is_measured(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    out = run("node_overhead", "--model", model, "--seconds", "3", "--json", str(tmp_path / "o.json"))
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["node_to_engine"] == pytest.approx(found["node_ms_median"] / found["engine_ms_median"])
    assert 0 < found["engine_ms_median"] < found["processing_ms_median"] < found["latency_ms_median"]
    assert found["latency_ms_median"] <= found["latency_ms_p95"]
    assert 10 < found["received"] < 110  # 3 s at 30 Hz, on a machine that may be busy
    assert abs(found["processed"] + found["dropped"] - found["received"]) <= 2
    assert "node_to_engine" in out


@pytest.mark.ros
def test_memory_is_measured(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    run("node_memory", "--model", model, "--images", "20", "60", "--json", str(tmp_path / "m.json"))
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["images"] == [20, 60]
    assert all(30 < size < 2000 for size in found["rss_mb"])
    assert found["ratio"] == pytest.approx(found["rss_mb"][1] / found["rss_mb"][0])


@pytest.mark.ros
def test_all_are_run_into_one_table(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    arguments = ["--only", "engine_options", "--quick", "--model", model, "--output", str(tmp_path)]
    out = run("run", *arguments, "--json", str(tmp_path / "all.json"))
    assert "== engine_options" in out
    assert out.count("engine_options") == 3  # the heading and two numbers
    assert set(json.loads((tmp_path / "all.json").read_text())) == {"engine_options"}
