"""Scores of an evaluation in a bundle's manifest and model card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from synthetic import moving_square
from tiny_bundle import write_tiny_bundle

from distill_tracker_ros.cli import main as distill_tracker
from distill_tracker_ros.runtime.load import load_engine
from distill_tracker_ros.runtime.manifest import Calibrated, read_manifest, write_manifest
from training.__main__ import main


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """A real one, of the tiny bundle on a video of its own."""
    bundle = write_tiny_bundle(tmp_path / "tiny")
    folder = tmp_path / "sequences" / "square"
    folder.mkdir(parents=True)
    boxes = []
    for number, (rgb, box) in enumerate(moving_square(frames=5), 1):
        cv2.imwrite(str(folder / f"{number:04d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        boxes.append(",".join(f"{v:g}" for v in box))
    (folder / "groundtruth.txt").write_text("\n".join(boxes))
    result = tmp_path / "evaluation.json"
    command = ["evaluate", str(folder.parent), "--model", str(bundle), "--output", str(tmp_path / "out")]
    assert distill_tracker([*command, "--json", str(result)]) == 0
    return result


def test_scores_go_into_manifest_and_card(evaluation: Path, tmp_path: Path) -> None:
    content = json.loads(evaluation.read_text())
    content["model"] = "tiny"
    evaluation.write_text(json.dumps(content))
    notes = tmp_path / "notes.md"
    notes.write_text("Good at squares.")
    bundle = tmp_path / "tiny"
    assert main(["card", str(bundle), str(evaluation), "--notes", str(notes)]) == 0
    scores = read_manifest(bundle / "manifest.yaml").scores
    assert scores["success_auc"] == pytest.approx(content["success_auc"], abs=1e-4)
    card = (bundle / "README.md").read_text()
    assert "Good at squares." in card and "| square |" in card
    load_engine(bundle)  # still a valid bundle


def test_the_card_says_what_the_confidence_is_worth(evaluation: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny" / "manifest.yaml"
    manifest = read_manifest(file)
    content = json.loads(evaluation.read_text())
    content["model"] = "tiny"
    evaluation.write_text(json.dumps(content))
    assert main(["card", str(file.parent), str(evaluation)]) == 0
    assert "## Confidence" not in (file.parent / "README.md").read_text()
    write_manifest(file, replace(manifest, calibrated=Calibrated(0.21, 0.04, 3720, "5 tracks, 60 flights")))
    assert main(["card", str(file.parent), str(evaluation)]) == 0
    card = (file.parent / "README.md").read_text()
    assert "calibrated on 5 tracks, 60 flights (3720 frames)" in card
    assert "Expected calibration error 0.210 before, 0.040 after" in card


def test_scores_of_another_model_are_refused(
    evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(evaluation.read_text())
    content["model"] = "other"
    evaluation.write_text(json.dumps(content))
    assert main(["card", str(tmp_path / "tiny"), str(evaluation)]) == 1
    assert "is of the model 'other', not of 'tiny'" in capsys.readouterr().err


def test_something_else_than_an_evaluation_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert main(["card", str(tmp_path / "tiny"), str(tmp_path / "x.json")]) == 1
    assert "is not a result of `distill-tracker evaluate --json`" in capsys.readouterr().err
