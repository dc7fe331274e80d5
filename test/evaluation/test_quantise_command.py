"""`distill-tracker quantise`: calibration views from sequences, and what is said."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from linear_bundle import write_fragile_bundle, write_linear_bundle
from synthetic import write_square

from distill_tracker_ros.cli import main
from distill_tracker_ros.commands.quantise import views_of
from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.evaluation.sequences import open_sequences
from distill_tracker_ros.runtime.load import verified
from distill_tracker_ros.runtime.manifest import FILE_NAME, Calibrated, read_manifest, write_manifest

FRAMES = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`marked/` with `first/` and `second/` (truth from the third frame on), and `empty/` (no box)."""
    folder = tmp_path_factory.mktemp("data")
    for name, hidden in (("marked/first", 0), ("marked/second", 2), ("empty", FRAMES)):
        write_square(folder / name, FRAMES, unknown=range(hidden))
    return folder


def test_a_model_is_quantised(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, output = write_linear_bundle(tmp_path / "tiny"), tmp_path / "new" / "tiny_int8"
    arguments = [str(bundle), str(data / "marked"), str(data / "empty"), "--crops", "10"]
    assert main(["quantise", *arguments, "--output", str(output)]) == 0
    assert f"{output}: boxes differ by " in capsys.readouterr().out
    manifest = verified(output)[1]
    assert manifest.spec.name == "tiny_int8"
    assert manifest.provenance["calibration"] == "at most 10 crops of 2 sequences (marked, empty)"


def test_a_calibration_is_said_to_be_that_of_the_original(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, output = write_linear_bundle(tmp_path / "tiny"), tmp_path / "int8"
    manifest = read_manifest(bundle / FILE_NAME)
    spec = replace(manifest.spec, calibration=Calibration(2.0, 0.5, 1.0))
    measured = Calibrated(0.2, 0.04, 100, "flights")
    write_manifest(bundle / FILE_NAME, replace(manifest, spec=spec, calibrated=measured))
    arguments = ["quantise", str(bundle), str(data / "marked"), "--output", str(output), "--crops", "10"]
    assert main(arguments) == 0
    assert "its confidence is calibrated as that of tiny: " in capsys.readouterr().out
    written = verified(output)[1]
    assert (written.spec.calibration, written.calibrated) == (spec.calibration, None)


def test_a_refused_model_is_written_by_force(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, output = write_fragile_bundle(tmp_path / "tiny"), tmp_path / "int8"
    arguments = ["quantise", str(bundle), str(data / "marked"), "--output", str(output), "--crops", "10"]
    assert main(arguments) == 1
    assert "tiny_int8 does not give what the original gives: boxes differ by" in capsys.readouterr().err
    assert not output.exists()
    assert main([*arguments, "--force"]) == 0
    assert "does NOT pass" in capsys.readouterr().out
    assert verified(output)[1].spec.name == "tiny_int8"


def test_sequences_without_boxes_calibrate_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_linear_bundle(tmp_path / "tiny")
    assert main(["quantise", str(bundle), str(data / "empty"), "--output", str(tmp_path / "int8")]) == 1
    assert "no sequence has two true boxes, which calibration needs" in capsys.readouterr().err


def test_without_onnx_the_user_is_told_what_to_install(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_linear_bundle(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["quantise", str(bundle), str(data / "marked"), "--output", str(tmp_path / "int8")]) == 1
    assert "pip install onnx" in capsys.readouterr().err


def test_views_come_from_all_sequences_and_lie_near_the_target(data: Path) -> None:
    marked = list(open_sequences(data / "marked"))
    views = list(views_of(marked, 15))
    assert len(views) == 15
    truths = np.concatenate([each.truth_xywh[each.visible] for each in marked])  # type: ignore[index]
    for view in views:
        assert (np.abs(truths - view.template_xywh).max(axis=1) < 1e-9).any()
        assert view.template is not view.search
        centres = truths[:, :2] + truths[:, 2:] / 2
        offsets = np.abs(centres - (view.around_xywh[:2] + view.around_xywh[2:] / 2)).max(axis=1)
        assert offsets.min() <= 0.5 * np.sqrt(truths[:, 2:].prod(axis=1)).max()


def test_a_short_sequence_gives_what_it_has(data: Path) -> None:
    marked = list(open_sequences(data / "marked"))
    assert len(list(views_of(marked, 1000))) == sum(int(each.visible.sum()) - 1 for each in marked)
