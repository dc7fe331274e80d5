"""Students of several runs, scored on the same videos, and what can be said of their differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from numpy.typing import ArrayLike
from tqdm import tqdm

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.evaluation.benchmarks import find_sequences
from distill_tracker_ros.evaluation.statistics import paired

from .checkpoint import STUDENT_FILE, load_student
from .recipe import Recipe
from .spec import model_spec
from .torch_engine import TorchEngine
from .train import load_footage
from .validate import Video, success_auc, validation_videos

SCORES_FILE = "scores.json"

Videos = Mapping[str, Sequence[Video]]  # by set
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]  # tracker -> set of videos -> video -> success AUC


def videos_of(recipe: Recipe, data: Path, sequences: Path | None) -> Videos:
    """The held-out videos of a recipe and, if there is a folder of them, real sequences."""
    videos = {"held-out": validation_videos(recipe, *load_footage(recipe, data))}
    if sequences:
        videos["sequences"] = [Video.of_sequence(sequence) for sequence in find_sequences(sequences)]
    return videos


def score_all(
    runs: Sequence[Path], videos: Videos, trackers: Mapping[str, TrackerConfig]
) -> list[Scores] | None:
    """Score the students of runs; what is scored already is not scored again.

    Several processes share the work.

    Args:
        runs: folders.
        trackers: by name, each is tried with every student.

    Returns:
        One a run, of the main process; None in the others.
    """
    processes = PartialState()
    own = runs[processes.process_index :: processes.num_processes]
    for run in tqdm(own, desc="scoring", unit="student", disable=not processes.is_main_process):
        _scored(run, videos, trackers)
    processes.wait_for_everyone()
    if not processes.is_main_process:
        return None
    return [_scored(run, videos, trackers) for run in runs]


def _scored(run: Path, videos: Videos, trackers: Mapping[str, TrackerConfig]) -> Scores:
    student, about = load_student(run / STUDENT_FILE)
    path = run / SCORES_FILE
    scored = {
        "steps": about["steps"],
        "trackers": list(trackers),
        "videos": {name: [video.name for video in each] for name, each in videos.items()},
    }
    if path.is_file() and (known := json.loads(path.read_text()))["scored"] == scored:
        found: Scores = known["scores"]
        return found
    engine = TorchEngine(student, model_spec(student.config, run.name))
    scores = {
        tracker: {
            name: {video.name: success_auc(engine, video, config) for video in each}
            for name, each in videos.items()
        }
        for tracker, config in trackers.items()
    }
    path.write_text(json.dumps({"scored": scored, "scores": scores}, indent=1))
    return scores


def difference(ours: ArrayLike, theirs: ArrayLike) -> dict[str, Any]:
    """Of scores on the same videos: mean, 95 % interval and verdict."""
    found = paired(ours, theirs)
    return {
        "mean": found.mean,
        "interval": found.interval,
        "videos": found.sequences,
        "verdict": found.verdict,
    }


def signed(found: Mapping[str, Any]) -> str:
    """A difference in a table."""
    low, high = found["interval"]
    return f"{found['mean']:+.3f} ({low:+.3f} to {high:+.3f})"


def table_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
