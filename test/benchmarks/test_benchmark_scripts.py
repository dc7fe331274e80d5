"""The benchmarks run, and what they print are the node's own numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from synthetic import background
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.core import crop
from distill_tracker_ros.messages import open_image

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script finds those beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))


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
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"run", "macs", "writing"}
    scripts -= {"camera", "traffic", "feed", "crowd"}  # parts of others
    scripts -= {"soak", "load"}  # of the field, not of speed: see docs/field.md
    scripts -= {"training", "methods"}  # they need torch, which a robot does not have
    scripts -= {"gpu"}  # it needs one
    scripts -= {"operators"}  # it needs aiohttp and pymavlink
    assert set(load("run").BENCHMARKS) == scripts


@pytest.mark.parametrize(
    "name", ["run", "speed", "frame_path", "node_overhead", "node_memory", "soak", "load", "operators"]
)
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
def test_the_cost_of_operators_is_measured(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    for package in ("aiohttp", "pymavlink"):
        pytest.importorskip(package, reason=f"{package} is among the requirements of operators")
    arguments = ["--model", model, "--rounds", "2", "--seconds", "1", "--json", str(tmp_path / "o.json")]
    out = run("operators", *arguments)
    found = json.loads((tmp_path / "o.json").read_text())
    assert len(found["rounds"]) == 2
    for each in found["rounds"]:
        assert all(each[side]["processing_ms"] < each[side]["latency_ms"] for side in ("alone", "with"))
        assert each["operators"]["pictures_hz"] > 1 and 1 < each["operators"]["boxes_hz"] < 15
    ratios = [each["with"]["latency_ms"] / each["alone"]["latency_ms"] for each in found["rounds"]]
    assert found["summary"]["latency_ms"]["ratio"]["median"] == pytest.approx(np.mean(ratios))
    assert "with / alone" in out


@pytest.mark.ros
def test_all_are_run_into_one_table(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    arguments = ["--only", "engine_options", "--quick", "--model", model, "--output", str(tmp_path)]
    out = run("run", *arguments, "--json", str(tmp_path / "all.json"))
    assert "== engine_options" in out
    assert out.count("engine_options") == 3  # the heading and two numbers
    assert set(json.loads((tmp_path / "all.json").read_text())) == {"conditions", "engine_options"}
    assert (tmp_path / "all.md").read_text().count("| engine_options |") == 2


@pytest.mark.parametrize(
    ("inputs", "operator", "attributes", "macs"),
    [
        ([(1, 5, 7), (7, 3)], "MatMul", {}, 5 * 7 * 3),
        ([(1, 4, 5, 7), (1, 4, 7, 3)], "MatMul", {}, 4 * 5 * 7 * 3),
        ([(1, 7), (7, 3)], "Gemm", {}, 7 * 3),
        ([(1, 7), (3, 7)], "Gemm", {"transB": 1}, 7 * 3),
        ([(1, 8, 10, 12), (6, 8, 3, 3)], "Conv", {"pads": [1] * 4}, 6 * 10 * 12 * 8 * 9),
        ([(1, 8, 10, 12), (8, 1, 3, 3)], "Conv", {"group": 8, "strides": [2, 2]}, 8 * 4 * 5 * 9),
        ([(1, 7), (1, 7)], "Add", {}, 0),
    ],
)
def test_macs_are_those_of_the_formula(
    inputs: list[tuple[int, ...]], operator: str, attributes: dict[str, object], macs: int, tmp_path: Path
):
    sides = [
        helper.make_tensor_value_info(f"i{n}", TensorProto.FLOAT, ["B", *shape[1:]])
        for n, shape in enumerate(inputs)
    ]
    result = helper.make_tensor_value_info("o", TensorProto.FLOAT, ["B", *"xyz"[: len(inputs[0]) - 1]])
    node = helper.make_node(operator, [side.name for side in sides], ["o"], **attributes)
    weights = numpy_helper.from_array(np.zeros(inputs[1], np.float32), "i1")
    graph = helper.make_graph([node], "one", sides[:1], [result], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "one.onnx")
    assert load("macs").count(tmp_path / "one.onnx") == macs
    assert load("macs").precision(tmp_path / "one.onnx") == "float32"


def test_macs_of_a_shipped_model_are_those_that_training_counts():
    """By `python -m training describe training/recipes/eatrack_nano.yaml`, with two template slots."""
    folder = FOLDER.parent / "models" / "eatrack_nano"
    assert load("macs").count(folder / "search.onnx") == 140_664_064
    assert load("macs").count(folder / "template.onnx") == 2 * 11_476_992


def test_the_product_in_shares_of_rows_is_the_product():
    left, right = (np.random.default_rng(n).random((37, 37), np.float32) for n in range(2))
    speed = load("speed")
    np.testing.assert_allclose(np.concatenate(speed._by_numpy(left, right, 3)()), left @ right, rtol=1e-5)
    np.testing.assert_allclose(speed._by_onnxruntime(left, right, 2)()[0], left @ right, rtol=1e-5)


@pytest.fixture
def small_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small clip in place of the demo's, which takes its time."""
    clip = pytest.importorskip("distill_tracker_ros.demo.clip", reason="it shows scikit-image's photographs")

    def shot(index: int) -> clip.Shot:
        rgb, truth = small_frame(40 + 2 * index)
        return clip.Shot(np.ascontiguousarray(rgb[..., ::-1]), truth, 1.0)

    monkeypatch.setattr(clip, "shot", shot)


def small_frame(x: int) -> tuple[np.ndarray, np.ndarray]:
    picture = background(240, 180)
    picture[60:90, x : x + 30] = (200, 30, 30)
    return picture, np.array([x, 60.0, 30.0, 30.0])


@pytest.mark.usefixtures("small_clip")
def test_speed_writes_json_table_and_plot(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    speed = load("speed")
    monkeypatch.setattr(speed, "PEAK_SIDE", 64)
    few = ["--rounds", "3", "--frames", "4", "--batches", "2", "4", "--threads", "1"]
    assert speed.main(["--model", model, *few, "--json", str(tmp_path / "s.json")]) == 0
    found = json.loads((tmp_path / "s.json").read_text())
    by_name = {row["tracker"]: row for row in found["trackers"]}
    assert set(by_name) == {"tiny", "KCF", "CSRT", "MIL"}
    assert by_name["CSRT"]["speed_to_csrt"] == 1
    ours = by_name["tiny"]
    ratio = by_name["CSRT"]["frame_ms"]["median"] / ours["frame_ms"]["median"]
    assert ours["speed_to_csrt"] == pytest.approx(ratio)
    assert 0 < ours["beyond_engine_ms"]["median"] < ours["frame_ms"]["median"]
    (engine,), (targets,), (peak,) = found["engines"], found["targets"], found["peak"]
    assert engine["search_ms"]["q1"] <= engine["search_ms"]["median"] <= engine["search_ms"]["q3"]
    assert engine["share_of_peak"] == pytest.approx(engine["gflops"] / peak["gflops"])
    assert set(targets["call_ms"]) == {"1", "2", "4"}
    table = (tmp_path / "s.md").read_text()
    assert table.count("| tiny |") == 3 and "GFLOP/s with 1 thread(s)" in table
    assert cv2.imread(str(tmp_path / "s.png")).std() > 10


@pytest.mark.usefixtures("small_clip")
def test_speed_names_networks_that_are_not_there(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    arguments = ["--model", model, "--nanotrack", "a.onnx,b.onnx", "--frames", "1", "--threads", "1"]
    assert load("speed").main([*arguments, "--json", str(tmp_path / "s.json")]) == 1
    assert "there is no file a.onnx" in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.usefixtures("small_clip")
def test_frame_path_measures_every_step(model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    module = load("frame_path")
    few = [flag for encoding in ("bgr8", "nv12", "jpeg") for flag in ("--encoding", encoding)]
    arguments = ["--model", model, "--size", "640x480", "--rounds", "3", *few]
    assert module.main([*arguments, "--json", str(tmp_path / "f.json")]) == 0
    found = json.loads((tmp_path / "f.json").read_text())
    rows = found["measurements"]
    assert [(row["encoding"], row["case"]) for row in rows] == [
        (encoding, case) for encoding in ("bgr8", "nv12", "jpeg") for case in module.CASES
    ]
    for row in rows:
        assert set(row["steps_ms"]) == set(module.STEPS)
        assert all(step["median"] > 0 for step in row["steps_ms"].values())
        assert row["all_ms"]["median"] >= max(step["median"] for step in row["steps_ms"].values())
        assert row["usual_ms"]["median"] > 0 and row["usual_to_all"] > 0


@pytest.mark.ros
@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "bayer_rggb8", "yuv422", "yuv422_yuy2", "nv12", "jpeg"])
def test_what_the_frame_path_is_measured_on_is_the_picture(encoding: str):
    import ros_needed  # noqa: F401

    module = load("frame_path")
    coarse = np.random.default_rng(0).integers(60, 196, (6, 8, 3), np.uint8)
    bgr = cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC)
    msg = module.message(encoding, bgr, 95)
    _, picture = module.usual_picture(msg)
    whole = open_image(msg).cut(0, 0, 128, 96)
    for rgb in (whole, picture()):
        # The YUV of cameras has a limited range, this one the full: more contrast, not another picture.
        assert np.corrcoef(rgb.ravel(), bgr[..., ::-1].ravel())[0, 1] > 0.97
    region = module.Region(-10, 20, 70)
    ours, usual = (
        f(32).astype(float)
        for f in (
            lambda size: crop.cut(open_image(msg), region, size),
            lambda size: module.usual_crop(picture(), region, size),
        )
    )
    assert np.abs(ours - usual).mean() < 3


@pytest.mark.parametrize("size", ["1280", "1280x", "0x720", "1281x720", "axb"])
def test_a_size_that_is_none_is_named(size: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        load("frame_path").main(["--size", size])
    assert repr(size) in capsys.readouterr().err
