"""What the main process of a run leaves in its folder: the recipe, a log, checkpoints, validated students."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from . import checkpoint
from .log import Log
from .recipe import write_recipe
from .validate import Video, validate

if TYPE_CHECKING:
    from .train import Run

SCORE = "validation_success_auc"


class Records:
    def __init__(self, run: Run, videos: Sequence[Video]) -> None:
        """
        Args:
            run: at the step from which it goes on.
            videos: to validate on; may be none.
        """
        run.output.mkdir(parents=True, exist_ok=True)
        write_recipe(run.recipe, run.output / "recipe.yaml")
        self._run, self._videos = run, videos
        self._log = Log(run.output, run.step)
        self._clock = time.monotonic() - run.seconds

    def write(self, means: Mapping[str, float], saves: bool, validates: bool) -> None:
        """Log, save and validate what the loop has come to.

        A checkpoint comes before a validation, which takes its time; the one that ends the recipe comes
        after it, as nothing is left to do then.
        """
        run = self._run
        run.seconds = time.monotonic() - self._clock
        self._log.write(run.step, {**means, "learning_rate": run.learning_rate})
        last = run.step == run.recipe.steps
        if saves and not last:
            self._save()
        if validates:
            self._validate()
        if last:
            self._save()

    def close(self) -> None:
        self._log.close()

    def _save(self) -> None:
        checkpoint.save(self._run.output / checkpoint.RESUME_FILE, self._run.state())

    def _validate(self) -> None:
        run, recipe = self._run, self._run.recipe
        about = {
            "recipe": recipe.name,
            "method": recipe.method,
            "steps": run.step,
            "samples": run.step * recipe.optimiser.batch_size,
            "duration_s": round(run.seconds),
            "hardware": run.hardware,
            "seed": recipe.seed,
        }
        if recipe.start.checkpoint or recipe.start.timm:
            about["start"] = recipe.start.checkpoint or recipe.start.timm
        if recipe.distillation.teacher:
            about["teacher"] = recipe.distillation.teacher
        average = run.average.module
        if self._videos:
            score = validate(average, self._videos)
            about[SCORE] = round(score, 4)
            self._log.write(run.step, {SCORE: score})
            best = run.output / checkpoint.BEST_FILE
            if not best.is_file() or score > checkpoint.load(best)["about"][SCORE]:
                checkpoint.save_student(run.output, average, recipe.student, about, checkpoint.BEST_FILE)
        checkpoint.save_student(run.output, average, recipe.student, about)
