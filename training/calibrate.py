"""Make the confidence of model bundles a probability, by the scores that they give held-out videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.core.config import NoUpdate
from distill_tracker_ros.core.engine import Engine, ModelSpec
from distill_tracker_ros.evaluation.benchmarks import find_sequences
from distill_tracker_ros.evaluation.calibration import Labelled, fit, held_out, reliability
from distill_tracker_ros.runtime.load import find_model, verified
from distill_tracker_ros.runtime.manifest import FILE_NAME, Calibrated, write_manifest
from distill_tracker_ros.runtime.onnx_engine import OnnxEngine

from .recipe import Recipe
from .train import load_footage
from .validate import Video, flights, held_out_tracks, tracks_of

# Of a scanned place, twice. On 11 made videos in which the target goes away (of no benchmark) eatrack_nano
# found it again after 9 of 11 returns, and after 6 with halfway from the lost threshold to 1 of its scores.
REDETECT_THRESHOLD = 0.8
# To be believed, a box must be right more likely than not. On 22 made videos in which the target goes away it
# halves what is claimed of targets that are not there, and the box moves as before.
TRACKING_THRESHOLD = 0.5

Videos = Mapping[str, Sequence[Video]]  # by set


def videos_of(recipe: Recipe, data: Path, count: int, sequences: Path | None) -> Videos:
    """The recipe's held-out tracks, so many synthetic flights and, if there is a folder of them, sequences.

    Raises:
        ValueError: there are none.
    """
    footage, images = load_footage(recipe, data)
    videos = {
        "held-out tracks": held_out_tracks(footage, images, recipe.data.held_out),
        "synthetic flights": flights(footage, images, count, recipe.seed),
        "sequences": [Video.of_sequence(each) for each in find_sequences(sequences)] if sequences else [],
    }
    if not any(videos.values()):
        raise ValueError(f"{recipe.name} holds out no tracks: give --flights or --sequences to calibrate on")
    return {name: each for name, each in videos.items() if each}


def calibrate(bundle: str | Path, videos: Videos) -> str:
    """Fit the calibration of a bundle and write it, with the thresholds on its scale, into the manifest.

    A set of videos weighs as much as another, and so does a video of a set. Thresholds decide as before, but
    that of re-detection becomes REDETECT_THRESHOLD.

    Args:
        bundle: see `find_model`. A calibration that it has is replaced.
        videos: that its weights were not trained on.

    Returns:
        What was found, a line for each set and one for all.

    Raises:
        BundleError: it cannot be used.
        ValueError: the videos do not tell right from wrong boxes.
    """
    folder, manifest = verified(find_model(bundle))
    plain = uncalibrated(manifest.spec)
    engine = OnnxEngine(folder, replace(manifest, spec=plain))
    names = [name for name, each in videos.items() for _ in each]
    listed = [(video, 1 / len(each)) for each in videos.values() for video in each]
    progress = tqdm(listed, f"calibrate {plain.name}", unit="video", disable=None)
    labelled = [_labelled(engine, video, weight) for video, weight in progress]
    engine.close()
    spec = calibrated(plain, fit(labelled))
    confidences = held_out(labelled)

    def errors(chosen: Sequence[int]) -> tuple[float, float, int]:
        """Calibration errors before and after, and frames, of some of the videos."""
        overlaps = np.concatenate([labelled[i].overlaps for i in chosen])
        before, after = (
            reliability(np.concatenate([of_videos[i] for i in chosen]), overlaps)
            for of_videos in ([each.scores for each in labelled], confidences)
        )
        assert before and after  # scores are in 0..1
        return before.expected_error, after.expected_error, overlaps.size

    sets = {name: [i for i, of in enumerate(names) if of == name] for name in videos}
    before, after, frames = errors(range(len(labelled)))
    about = ", ".join(f"{len(chosen)} {name}" for name, chosen in sets.items())
    found = Calibrated(round(before, 4), round(after, 4), frames, about)
    write_manifest(folder / FILE_NAME, replace(manifest, spec=spec, calibrated=found))
    lines = [_line(f"{len(chosen)} {name}", *errors(chosen)) for name, chosen in sets.items()]
    return "\n".join(
        [f"{folder / FILE_NAME}: {spec.calibration}", *lines, _line("all", before, after, frames)]
    )


def calibrated(spec: ModelSpec, calibration: Calibration) -> ModelSpec:
    """A spec without calibration, with this one; boxes move as before, and are believed by probabilities."""
    spec = _through(spec, lambda score: float(f"{calibration(score):.6g}"))
    return replace(
        spec,
        calibration=calibration,
        tracking_threshold=max(TRACKING_THRESHOLD, spec.lost_threshold),
        redetect_threshold=max(REDETECT_THRESHOLD, spec.lost_threshold),
    )


def uncalibrated(spec: ModelSpec) -> ModelSpec:
    """The spec without its calibration; its thresholds decide as before, but for re-detection."""
    if spec.calibration == Calibration():
        return spec
    plain = _through(spec, lambda probability: round(spec.calibration.raw(probability), 4))
    return replace(plain, calibration=Calibration(), tracking_threshold=0.0, redetect_threshold=0.0)


def _through(spec: ModelSpec, convert: Callable[[float], float]) -> ModelSpec:
    """The spec with the thresholds of losing the target and of the update rule converted."""
    update = spec.update
    if not isinstance(update, NoUpdate):
        update = replace(update, threshold=convert(update.threshold))
    return replace(spec, update=update, lost_threshold=convert(spec.lost_threshold))


def _labelled(engine: Engine, video: Video, weight: float) -> Labelled:
    """One pass over a video; the frames that count are those with a target, but for the first."""
    tracks = tracks_of(engine, video)
    counted = np.append(False, np.isfinite(video.truth_xywh[1:]).all(axis=1))
    overlaps = iou(np.array([track.box_xywh for track in tracks]), video.truth_xywh)
    return Labelled(np.array([track.confidence for track in tracks])[counted], overlaps[counted], weight)


def _line(name: str, before: float, after: float, frames: int) -> str:
    return f"  {name} ({frames} frames): expected calibration error {before:.3f} before, {after:.3f} after"
