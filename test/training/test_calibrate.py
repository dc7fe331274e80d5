"""Calibrating a bundle: the manifest gets what was fitted, thresholds decide as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import moving_square, write_square
from tiny_bundle import SPEC, write_tiny_bundle

from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.core.config import BestInIntervalConfig, NoUpdate
from distill_tracker_ros.evaluation.replay import SessionTracker, replay
from distill_tracker_ros.evaluation.sequences import open_sequence
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import FILE_NAME, read_manifest
from training.__main__ import main
from training.calibrate import (
    REDETECT_THRESHOLD,
    TRACKING_THRESHOLD,
    calibrate,
    calibrated,
    uncalibrated,
)
from training.validate import Video

FITTED = Calibration(3.9, 0.4, 3.5)


def video(name: str, seed: int = 0, wrong: bool = False) -> Video:
    """The tiny bundle's square; it changes its colour, so that scores differ. A wrong truth is beside it."""
    pairs = list(moving_square(frames=30, colour=lambda n: (225 - 3 * n, 40, 45 + n * (seed + 1)), seed=seed))
    truth = np.array([box for _, box in pairs])
    truth[15:] += 40.0 * wrong
    return Video(name, [rgb for rgb, _ in pairs], truth, 30.0)


VIDEOS = {"tracks": [video("a"), video("b", 1)], "flights": [video("c", 2), video("d", 3, wrong=True)]}


def test_a_bundle_is_calibrated(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    said = calibrate(bundle, VIDEOS)
    manifest = read_manifest(bundle / FILE_NAME)
    calibration = manifest.spec.calibration
    assert calibration != Calibration()
    assert manifest.spec.lost_threshold == pytest.approx(calibration(SPEC.lost_threshold), rel=1e-5)
    assert manifest.spec.redetect_threshold == max(REDETECT_THRESHOLD, manifest.spec.lost_threshold)
    found = manifest.calibrated
    assert found is not None and (found.frames, found.data) == (4 * 29, "2 tracks, 2 flights")
    assert all(text in said for text in ("2 tracks (58 frames)", "2 flights (58 frames)", "all (116 frames)"))
    assert f"{found.error_before:.3f} before, {found.error_after:.3f} after" in said.splitlines()[-1]


def test_calibrating_again_begins_with_the_scores(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    calibrate(bundle, VIDEOS)
    first = (bundle / FILE_NAME).read_bytes()
    calibrate(bundle, VIDEOS)
    assert (bundle / FILE_NAME).read_bytes() == first


def test_a_calibrated_bundle_tracks_as_before(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    write_square(tmp_path / "square", 40, out_of_view=range(15, 25))
    sequence = open_sequence(tmp_path / "square")

    def tracked():
        return replay(SessionTracker(load_engine(bundle)), sequence)

    before = tracked()
    calibrate(bundle, VIDEOS)
    after, calibration = tracked(), read_manifest(bundle / FILE_NAME).spec.calibration
    np.testing.assert_array_equal(after.states, before.states)
    np.testing.assert_array_equal(after.boxes_xywh, before.boxes_xywh)
    assert after.confidence[1:].tolist() == [calibration(score) for score in before.confidence[1:]]


@pytest.mark.parametrize("update", [SPEC.update, BestInIntervalConfig(threshold=0.4), NoUpdate()])
def test_thresholds_go_there_and_back(update) -> None:
    spec = replace(SPEC, update=update, lost_threshold=0.3)
    there = calibrated(spec, FITTED)
    assert there.lost_threshold == pytest.approx(FITTED(0.3), rel=1e-5)
    assert there.redetect_threshold == REDETECT_THRESHOLD
    assert there.tracking_threshold == TRACKING_THRESHOLD
    assert uncalibrated(there) == spec


def test_videos_without_a_wrong_box_are_refused(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    before = (bundle / FILE_NAME).read_bytes()
    still = list(moving_square(frames=10))
    right = Video("right", [rgb for rgb, _ in still], np.array([box for _, box in still]), 30.0)
    with pytest.raises(ValueError, match="of 9 boxes 9 are right"):
        calibrate(bundle, {"tracks": [right]})
    assert (bundle / FILE_NAME).read_bytes() == before


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No data set, no flights, but a folder of sequences."""
    bundle = write_tiny_bundle(tmp_path / "tiny")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: none\n")
    write_square(tmp_path / "data" / "still", 2)
    (tmp_path / "data" / "still").rename(tmp_path / "still")
    (tmp_path / "data" / "own").mkdir()
    (tmp_path / "data" / "own" / "annotations.csv").write_text(
        f"image,x,y,w,h,label,track\n{tmp_path / 'still' / '1.png'},10,10,20,20,square,\n"
    )
    command = ["calibrate", str(bundle), "--recipe", str(recipe), "--data", str(tmp_path / "data")]
    assert main([*command, "--flights", "0"]) == 1
    assert "none holds out no tracks: give --flights or --sequences" in capsys.readouterr().err
    write_square(tmp_path / "sequences" / "square", 30)
    assert main([*command, "--flights", "0", "--sequences", str(tmp_path / "sequences")]) == 1
    assert "of 29 boxes 29 are right" in capsys.readouterr().err
