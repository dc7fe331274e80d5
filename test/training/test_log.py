"""What a run writes down: right means, the first number that was not finite, and no step twice."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.log import Log, Meter, NotFinite

NAN, INFINITE = float("nan"), float("inf")


def numbers(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}


def test_means_are_over_the_steps_since_the_last_reading() -> None:
    meter = Meter(samples=4)
    meter.add(0, numbers(focal=1.0, l1=0.5))
    meter.add(1, numbers(focal=2.0, l1=0.0))
    means = meter.read()
    assert means["focal"] == 1.5 and means["l1"] == 0.25
    assert means["samples_per_s"] > 0
    meter.add(2, numbers(focal=7.0, l1=1.0))
    assert meter.read()["focal"] == 7.0


def test_the_clock_can_leave_a_pause_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("training.log.time.monotonic", lambda: now)
    meter = Meter(samples=4)
    now = 150.0  # a validation
    meter.restart()
    for step in range(3):
        now += 2.0
        meter.add(step, numbers(focal=1.0))
    assert meter.read()["samples_per_s"] == pytest.approx(2.0)


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_the_first_number_that_is_not_finite_is_blamed(value: float) -> None:
    """The earliest step counts; within a step the order of the names, losses before their sum."""
    meter = Meter(samples=1)
    meter.add(5, numbers(focal=1.0, l1=1.0, total=2.0))
    meter.add(6, numbers(focal=1.0, l1=value, total=value))
    meter.add(7, numbers(focal=NAN, l1=NAN, total=NAN))
    with pytest.raises(NotFinite, match="l1 is not finite at step 6") as error:
        meter.read()
    assert (error.value.name, error.value.step) == ("l1", 6)


def test_a_log_goes_on_where_its_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of steps that a resumed run does again are dropped, and a row that was cut short."""
    now = 1_000_000_000.0  # TensorBoard orders its files by the second of their start, as text
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time.time", lambda: now)
    log = Log(tmp_path, 0)
    for step in (10, 20, 30):
        log.write(step, {"focal": step / 10, "samples_per_s": 1234.5678})
    log.close()
    path = tmp_path / "log.csv"
    path.write_text(path.read_text() + "30,l")
    now += 1
    log = Log(tmp_path, 20)
    assert path.read_text().split() == [
        "10,focal,1",
        "10,samples_per_s,1234.57",
        "20,focal,2",
        "20,samples_per_s,1234.57",
    ]
    log.write(30, {"focal": math.pi})
    log.close()
    assert path.read_text().split()[-1] == "30,focal,3.14159"
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in board.Scalars("focal")] == [
        (10, 1.0),
        (20, 2.0),
        (30, pytest.approx(math.pi)),
    ]
