"""What a run writes down: means of its losses and of its pace, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from .parallel import mean_over_processes, smallest_over_processes

FILE_NAME = "log.csv"  # rows of step, name, value
_NEVER = torch.iinfo(torch.int64).max


class NotFinite(FloatingPointError):
    """The first term that was not finite, and its step (from 0)."""

    def __init__(self, name: str, step: int) -> None:
        super().__init__(f"{name} is not finite at step {step}")
        self.name, self.step = name, step


class Meter:
    """Means of named numbers over steps and processes.

    Sums stay on the device, as to look at a number is to wait for the device: `read` does so, and is
    called now and then.
    """

    def __init__(self, samples: int) -> None:
        """
        Args:
            samples: of a step, of all processes.
        """
        self._samples = samples
        self._count = 0
        self.restart()

    def restart(self) -> None:
        """Start the clock of the pace anew: what was done since the last `read` was no training."""
        self._since = time.monotonic()

    def add(self, step: int, values: Mapping[str, Tensor]) -> None:
        """The scalars of one step; of those that are not finite at the same step, the first is blamed."""
        row = torch.stack([value.detach().float() for value in values.values()])
        if not self._count:
            self._names = tuple(values)
            self._sums = torch.zeros_like(row)
            self._first_wrong = torch.full_like(row, _NEVER, dtype=torch.int64)
        self._sums += row
        wrong = self._first_wrong.masked_fill(~row.isfinite(), step)
        self._first_wrong = torch.minimum(self._first_wrong, wrong)
        self._count += 1

    def read(self) -> dict[str, float]:
        """The means since the last call, and samples_per_s.

        Raises:
            NotFinite: one of the numbers was not, in any process.
        """
        steps = smallest_over_processes(self._first_wrong).tolist()
        if (first := min(steps)) != _NEVER:
            raise NotFinite(self._names[steps.index(first)], first)
        means = mean_over_processes(self._sums / self._count).tolist()
        pace = self._count * self._samples / (time.monotonic() - self._since)
        self._count = 0
        self.restart()
        return {**dict(zip(self._names, means, strict=True)), "samples_per_s": pace}


class Log:
    """log.csv and TensorBoard in a folder. Numbers of steps after `step`, of a run cut short, are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILE_NAME
        self._board = SummaryWriter(str(folder), purge_step=step + 1)
        if self._path.is_file():
            with self._path.open(newline="") as file:
                kept = [row for row in csv.reader(file) if len(row) == 3 and int(row[0]) <= step]
            with self._path.open("w", newline="") as file:
                csv.writer(file).writerows(kept)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """`step` counts the steps done."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows((step, name, f"{value:.6g}") for name, value in values.items())

    def close(self) -> None:
        self._board.close()
