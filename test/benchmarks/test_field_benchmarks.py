"""The soak and the load benchmark run, account for every image, and see what is not flat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from tiny_bundle import SPEC, write_tiny_bundle

FOLDER = Path(__file__).parents[2] / "benchmarks"
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script finds those beside it."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def soak() -> ModuleType:
    return import_module("soak")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"))


def start_soak(*arguments: str) -> subprocess.Popen:
    domain = os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100)
    command = [sys.executable, str(FOLDER / "soak.py"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=os.environ | {"ROS_DOMAIN_ID": domain}, **pipes)


# What is shown.


def test_a_car_is_where_its_box_says():
    traffic = import_module("traffic").Traffic((640, 480), 4)
    pixels, empty = (np.zeros((480, 640, 3), np.uint8) for _ in range(2))
    for number in (0, 77, 5000):
        traffic.paint(pixels, number, absent={2})
        traffic.paint(empty, number, absent=range(4))
        changed = (pixels != empty).any(axis=2)
        for car in range(4):
            x, y, w, h = traffic.box_xywh(car, number).astype(int)
            inside = changed[y : y + h, x : x + w]
            assert inside.mean() > 0.99 if car != 2 else not inside.any()
            changed[y : y + h, x : x + w] = False
        assert not changed.any()


@pytest.mark.parametrize("cars", [1, 2, 7, 16])
def test_no_car_leaves_the_picture(cars: int):
    traffic = import_module("traffic").Traffic((640, 480), cars)
    boxes = np.array([traffic.box_xywh(car, n) for car in range(cars) for n in range(250)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= (640, 480)).all()


# The soak's plan and verdict.


def test_an_hour_has_a_round_each_half_minute(soak: ModuleType):
    plan = soak.timetable(HOUR_S)
    often = {what: sum(name == what for _, name in plan) for _, what in plan}
    assert often["sample"] == 360 and often["leave"] == often["come_back"] == 60
    assert {often[what] for what in soak.ROUND} == {120}
    assert plan == sorted(plan) and plan[-1] == (HOUR_S, "sample")


def test_a_short_flight_has_all_that_a_long_one_has(soak: ModuleType):
    plan = soak.timetable(25.0)
    assert {what for _, what in plan} == {what for _, what in soak.timetable(HOUR_S)}
    assert plan[-1][0] <= 25.01
    for before, after in (("mark", "drop"), ("show", "hide"), ("leave", "come_back")):
        first, second = ([at for at, what in plan if what == name] for name in (before, after))
        assert len(first) == len(second) and all(a < b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("seconds", "warm_up"), [(HOUR_S, 360.0), (600.0, 120.0), (180.0, 60.0), (25.0, 25 / 3)]
)
def test_warm_up(soak: ModuleType, seconds: float, warm_up: float):
    assert soak.warm_up_s(seconds) == pytest.approx(warm_up)


def judged(soak: ModuleType, latency_growth: float = 0.0, **trends: float) -> dict[str, bool]:
    """Measure -> whether it is flat, of an hour in which some fields of the samples grow by so much."""
    rng = np.random.default_rng(0)
    usual = {"rss_mb": 300.0, "private_mb": 200.0, "segments_mb": 10.0, "files": 26, "threads": 23}
    usual |= {"latency_p50_ms": 12.0, "latency_p95_ms": 20.0}
    others = {field: 0 for field in soak.Sample.__dataclass_fields__ if field not in usual}
    samples = []
    for t_s in np.arange(10, HOUR_S + 1, 10):
        warm = 40 if t_s < 200 else 0  # what the first minutes do does not count
        values = {name: value + trends.get(name, 0.0) * t_s / HOUR_S for name, value in usual.items()}
        values["rss_mb"] += rng.normal(0, 2) - warm
        values["files"], values["threads"] = round(values["files"]), round(values["threads"])
        samples.append(soak.Sample(**others | values | {"t_s": float(t_s)}))
    at_s = np.arange(0, HOUR_S, 1 / 3)
    latency = rng.gamma(9, 12 / 9, len(at_s)) * (1 + latency_growth * at_s / HOUR_S)
    rows = soak.judge(samples, np.stack([at_s, latency], axis=1), HOUR_S)
    return {row["measure"]: row["flat"] for row in rows}


def test_a_steady_hour_is_flat(soak: ModuleType):
    assert all(judged(soak).values())


@pytest.mark.parametrize(
    ("growth", "measures"),
    [
        ({"rss_mb": 15.0, "private_mb": 15.0}, {"memory, RSS without segments, MB", "of it private, MB"}),
        ({"rss_mb": 20.0, "segments_mb": 20.0}, set()),  # a segment is filled
        ({"rss_mb": 70.0, "segments_mb": 70.0}, {"segments of the middleware, MB"}),
        ({"files": 6.0}, {"open file descriptors"}),
        ({"threads": -6.0}, {"threads"}),
        ({"latency_growth": 0.6}, {"latency, 50 %, ms", "latency, 95 %, ms"}),
    ],
)
def test_what_grows_is_not_flat(soak: ModuleType, growth: dict[str, float], measures: set[str]):
    assert {measure for measure, is_flat in judged(soak, **growth).items() if not is_flat} == measures


@pytest.mark.ros
def test_a_short_flight(model: str, tmp_path: Path):
    """The machinery; that descriptors stay, and threads but for the pool, is true even in half a minute."""
    import ros_needed  # noqa: F401

    from distill_tracker_ros.nodes.running import THREADS

    result, picture = tmp_path / "soak.json", tmp_path / "soak.png"
    process = start_soak("--minutes", "0.4", "--model", model, "--json", str(result), "--plot", str(picture))
    out, error = process.communicate(timeout=150)
    found = json.loads(result.read_text())
    assert process.returncode == (0 if found["flat"] else 1), error
    assert not found["ended_by"]
    rows = {row["measure"]: row for row in found["rows"]}
    assert rows.keys() == {
        "memory, RSS without segments, MB",
        "of it private, MB",
        "segments of the middleware, MB",
        "open file descriptors",
        "threads",
        "latency, 50 %, ms",
        "latency, 95 %, ms",
    }
    assert rows["open file descriptors"]["flat"], found["samples"]
    threads = rows["threads"]  # of the pool one begins only when all that are there are busy
    assert abs(threads["at_end"] - threads["after_warm_up"]) <= THREADS, found["samples"]
    assert all(row["after_warm_up"] > 0 and row["at_end"] > 0 and row["bound"] for row in rows.values())
    assert 25 <= len(found["samples"]) <= 30
    assert sum(sample["processed"] for sample in found["samples"]) > 100
    events = found["events"]
    assert events["marked late"] == events["dropped"] == events["parameter changed"] == 3, events
    assert events["left"] == events["lost"] == 2, events
    assert events["found again"] >= 1, events  # on a busy machine the second time comes after the end
    assert events["overlay pictures"] > 0 and "refused" not in str(events)
    assert "trend_per_hour" in out and "tiny" in found["conditions"]
    assert cv2.imread(str(picture)).shape[1] > 1000


@pytest.mark.ros
@pytest.mark.parametrize("end", ["interrupt", "death of the node"])
def test_a_flight_that_ends_early_is_judged(end: str, model: str, tmp_path: Path):
    import ros_needed  # noqa: F401

    process = start_soak("--minutes", "0.5", "--model", model, "--json", str(tmp_path / "soak.json"))
    assert process.stdout.readline() == "flying for 0.5 min\n"
    time.sleep(6)  # some samples
    if end == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        (node,) = psutil.Process(process.pid).children()
        node.kill()
    out, error = process.communicate(timeout=60)
    found = json.loads((tmp_path / "soak.json").read_text())
    assert 2 <= len(found["samples"]) < 20 and len(found["rows"]) == 7
    if end == "interrupt":
        assert "interrupted: this is what there is" in error and not found["ended_by"]
        assert process.returncode == (0 if found["flat"] else 1)
    else:
        assert "tracker_node ended with exit code -9" in found["ended_by"]
        assert process.returncode == 1 and "NOT flat: tracker_node ended" in out


# Load.


def test_the_sweep_goes_from_one_to_all():
    module = import_module("load")
    cases = [(c.cameras, c.targets, c.lost) for c in module.sweep(4, 16)]
    assert cases == [(1, 1, False), (1, 4, False), (2, 8, False), (4, 16, False), (4, 16, True)]
    assert [(c.cameras, c.targets, c.lost) for c in module.sweep(1, 1)] == [(1, 1, False), (1, 1, True)]
    assert module.Case(4, 14).shares == [4, 4, 3, 3]


def test_fewer_targets_than_cameras_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        import_module("load").main(["--cameras", "3", "--targets", "2"])
    assert "every camera has one at least (--cameras 3)" in capsys.readouterr().err


@pytest.mark.ros
def test_an_overload_drops_images_and_makes_none_old(tmp_path: Path):
    import ros_needed  # noqa: F401

    from distill_tracker_ros.processes import own_graph

    module = import_module("load")
    slow = write_tiny_bundle(tmp_path / "slow", replace(SPEC, search_size=640))  # longer than 1/60 s a frame
    with own_graph(tmp_path / "log"):
        row: dict[str, Any] = module.measure(
            module.Case(2, 4), slow, "onnxruntime", rate_hz=60.0, seconds=8.0, log=tmp_path / "log"
        )
    assert row["dropped"] > 0 and row["processed_hz"] < row["sent_hz"] and row["dropped_percent"] > 10, row
    in_flight = row["received"] - row["processed"] - row["dropped"] - row["rejected"]
    assert abs(in_flight) <= 2 * row["cameras"], row  # at both ends up to two images are on their way
    assert row["latency_ms_most_at_end"] < 1000, row
    assert row["latency_growth_median"] < 3 and row["latency_growth_p95"] < 3, row
    assert row["tracking_at_end"] + row["uncertain_at_end"] + row["lost_at_end"] == 4
    assert row["processed_hz_least"] > 0 and 0 < row["least_to_most"] <= 1
