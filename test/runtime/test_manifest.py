"""manifest.yaml: what is written reads back equal (X-6), and every mistake is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from distill_tracker_ros.core.calibration import Calibration
from distill_tracker_ros.core.config import BestInIntervalConfig, NoUpdate, StoreConfig
from distill_tracker_ros.core.engine import ModelSpec, TensorSpec
from distill_tracker_ros.runtime.manifest import (
    BundleError,
    Calibrated,
    Graph,
    Manifest,
    read_manifest,
    signature,
    write_manifest,
)

BEST = BestInIntervalConfig(interval_frames=50, threshold=0.6, decay=0.99)
STORE = StoreConfig(threshold=0.1 + 0.2, min_gap_frames=7, capacity=3, gate=-0.25)
SPEC = ModelSpec(
    name="EATrack tiny",
    method="eatrack",
    template_slots=2,
    template_size=64,
    template_factor=2.0,
    search_size=128,
    search_factor=4.0,
    grid=8,
    window_weight=0.49,
    states=(TensorSpec("state_0", (32, 128), "float32"), TensorSpec("state_1", (4,), "float16")),
    embedding_size=128,
    update=STORE,
    confidence_kind="probability",
    lost_threshold=1 / 3,
)
CALIBRATED = replace(SPEC, calibration=Calibration(3.9, 0.0, 1 / 3), redetect_threshold=0.1 + 0.7)
CALIBRATION = {"low": 2, "high": 0, "offset": -1.5}
MEASURED = {"error_before": 0.2, "error_after": 0.1, "frames": 100, "data": "flights"}
MANIFEST = Manifest(
    SPEC,
    Graph("template.onnx", "0" * 64),  # only digits: YAML must not take it for a number
    Graph("search.onnx", "12e4" * 16),
    17,
    provenance={
        "commit": "0123456",
        "seed": 7,
        "day": "2026-01-01",
        "data": ["a", "b"],
        "note": "naïve: yes",
    },
    scores={"set": {"auc": 0.612, "frames": 1200}, "none": None},
    parity={"score_map": 1.5e-7, "box_map": 0.0},
)


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        Manifest(replace(SPEC, update=NoUpdate()), MANIFEST.template, MANIFEST.search),
        replace(MANIFEST, spec=replace(SPEC, grid=1, window_weight=0.0, confidence_kind="peakedness")),
        replace(MANIFEST, spec=replace(SPEC, embedding_size=0, update=BEST)),
        replace(MANIFEST, spec=CALIBRATED, calibrated=Calibrated(0.21, 0.04, 3720, "5 tracks")),
        replace(MANIFEST, spec=CALIBRATED),  # with other graphs than those that it was measured with
        replace(MANIFEST, calibrated=Calibrated(0.02, 0.02, 9, "it was right as it was")),
    ],
)
def test_a_manifest_reads_back_equal(tmp_path: Path, manifest: Manifest) -> None:
    """X-6."""
    file = tmp_path / "manifest.yaml"
    write_manifest(file, manifest)
    assert read_manifest(file) == manifest
    first = file.read_bytes()
    write_manifest(file, read_manifest(file))
    assert file.read_bytes() == first


def test_numpy_numbers_and_tuples_become_plain(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    provenance = {"seed": np.int64(7), "ratio": np.float32(0.5), "sizes": (64, 128)}
    write_manifest(file, replace(MANIFEST, provenance=provenance, parity={"box_map": np.float64(1e-6)}))  # type: ignore[dict-item]
    found = read_manifest(file)
    assert found.provenance == {"seed": 7, "ratio": 0.5, "sizes": [64, 128]}
    assert found.parity == {"box_map": 1e-6}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (replace(MANIFEST, spec=replace(SPEC, grid=0)), r"output\.grid = 0: accepted is a whole number"),
        (replace(MANIFEST, parity={"box_map": float("nan")}), r"parity\.box_map = nan: .*finite number"),
        (replace(MANIFEST, scores={"a": {1, 2}}), r"cannot hold \{1, 2\} of type set"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, manifest: Manifest, reason: str) -> None:
    file = tmp_path / "manifest.yaml"
    with pytest.raises(BundleError, match=reason):
        write_manifest(file, manifest)
    assert not file.exists()


def test_provenance_scores_and_parity_may_be_absent(tmp_path: Path) -> None:
    file = edited(tmp_path, lambda c: [c.pop(key) for key in ("provenance", "scores", "parity")])
    found = read_manifest(file)
    assert (found.provenance, found.scores, found.parity) == ({}, {}, {})
    assert found.spec == SPEC


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A manifest written, changed as plain YAML, and written again."""
    file = folder / "manifest.yaml"
    write_manifest(file, MANIFEST)
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))
    return file


def put(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def best(**changes: object) -> dict[str, object]:
    """The rule "best_in_interval" with its numbers, and changes of these."""
    return {"rule": "best_in_interval", "interval_frames": 25, "threshold": 0.5, "decay": 1.0, **changes}


def calibration(**changes: object) -> Callable[[dict[str, Any]], None]:
    """A valid calibration with changes."""
    return put("confidence", "calibration", value={**CALIBRATION, **changes})


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # Unknown keys, everywhere.
        (put("colour", value=1), "unknown key colour: accepted are format, name, .*, parity"),
        (put("template", "sise", value=1), r"unknown key template\.sise: accepted are slots, size, factor"),
        (put("states", 1, "unit", value=1), r"unknown key states\[1\]\.unit: accepted are name, shape, dt"),
        (put("update", "beta", value=1), r"unknown key update\.beta: accepted are rule, threshold, min_gap"),
        (put("graphs", "search", "md5", value=1), r"unknown key graphs\.search\.md5: accepted are file, sha"),
        (put("update", "rule", value="none"), r"unknown key update\.\w+: accepted are rule$"),
        # Missing keys.
        (drop("name"), "name is missing: accepted is a text"),
        (drop("format"), "format is missing: accepted is a whole number from 1 to 1"),
        (drop("search", "factor"), r"search\.factor is missing: accepted is a number from 1 to 16"),
        (drop("update", "gate"), r"update\.gate is missing: accepted is a number from -1 to 1"),
        (drop("graphs", "template"), r"graphs\.template is missing"),
        # Versions.
        (put("format", value=2), "format = 2: this release reads format 1"),
        (put("format", value="1"), "format = '1': this release reads format 1"),
        (put("format", value=True), "format = True: accepted is a whole number"),
        (put("opset", value=11), "opset = 11: accepted is a whole number from 17 to"),
        # Wrong types.
        (put("name", value=7), "name = 7: accepted is a text"),
        (put("name", value=""), "name = '': accepted is a text that is not empty"),
        (put("search", value=[128]), r"search = \[128\]: accepted is a mapping"),
        (put("search", "size", value=128.0), r"search\.size = 128\.0: accepted is a whole number"),
        (put("search", "size", value=True), r"search\.size = True: accepted is a whole number"),
        (put("search", "factor", value="4"), r"search\.factor = '4': accepted is a number"),
        (put("states", value={}), r"states = \{\}: accepted is a list of mappings"),
        (put("states", value=[]), r"states = \[\]: accepted is a list of mappings, at least one"),
        (put("states", 0, value=3), r"states\[0\] = 3: accepted is a mapping"),
        (put("provenance", value="me"), "provenance = 'me': accepted is a mapping"),
        (put("parity", "score_map", value=float("inf")), r"parity\.score_map = inf: accepted is a finite"),
        (put("parity", "score_map", value="low"), r"parity\.score_map = 'low': accepted is a number"),
        # Values.
        (put("search", "factor", value=0.5), r"search\.factor = 0\.5: accepted is a finite number from 1"),
        (put("search", "factor", value=float("nan")), r"search\.factor = nan: accepted is a finite number"),
        (put("output", "window_weight", value=1.5), r"output\.window_weight = 1\.5: .*from 0 to 1"),
        (put("output", "embedding", value=-1), r"output\.embedding = -1: accepted is a whole number from 0"),
        (put("states", 0, "shape", value=[0, 3]), r"states\[0\]\.shape = \[0, 3\]: .*positive whole numbers"),
        (put("states", 0, "shape", value=["B", 3]), r"states\[0\]\.shape = \['B', 3\]"),
        (put("states", 0, "dtype", value="int8"), r"states\[0\]\.dtype = 'int8': accepted is float32 or f"),
        (put("states", 1, "name", value="state_0"), r"states\[1\]\.name = 'state_0': accepted is state_1"),
        (put("update", "rule", value="ema"), r"update\.rule = 'ema': accepted is none or target_store or b"),
        (put("update", "capacity", value=0), r"update\.capacity = 0: accepted is a whole number from 1"),
        (put("template", "slots", value=1), r"rule = 'target_store': it needs template\.slots >= 2 \(here 1"),
        (put("output", "embedding", value=0), r"rule = 'target_store': .*output\.embedding >= 1 \(here 0"),
        (put("update", value={"rule": "best_in_interval"}), r"update\.interval_frames is missing: acc"),
        (put("update", value=best(decay=2)), r"update\.decay = 2: accepted is a finite number from 0"),
        (put("update", value=best(interval_frames=0)), r"update\.interval_frames = 0: accepted is a whole"),
        (put("update", value=best(gate=0)), r"unknown key update\.gate: accepted are rule, interval_fr"),
        (put("confidence", "kind", value="logit"), r"confidence\.kind = 'logit': accepted is prob"),
        (put("confidence", "lost", value=0.3), r"unknown key confidence\.lost: accepted are kind, lost_thr"),
        (put("confidence", "redetect_threshold", value=1.5), r"redetect_threshold = 1\.5: .*from 0 to 1"),
        (put("confidence", "calibration", value=2.0), r"confidence\.calibration = 2\.0: accepted is a map"),
        (calibration(slope=1), r"unknown key confidence\.calibration\.slope: accepted are low, high, offset"),
        (calibration(low=None), r"calibration\.low = None: accepted is a number from 0 to 100"),
        (calibration(low=-0.1), r"calibration\.low = -0\.1: accepted is a finite number from 0 to 100"),
        (calibration(low=0), r"calibration\.high = 0\.0: low or high must be above 0"),
        (calibration(offset=float("nan")), r"calibration\.offset = nan: accepted is a finite number"),
        (calibration(frames=7), r"calibration\.error_before is missing"),
        (calibration(**{**MEASURED, "error_after": 1.1}), r"calibration\.error_after = 1\.1: .*from 0 to 1"),
        (calibration(**{**MEASURED, "frames": 0}), r"calibration\.frames = 0: accepted is a whole number"),
        (calibration(**{**MEASURED, "data": ""}), r"calibration\.data = '': accepted is a text"),
        (put("graphs", "search", "file", value="../x.onnx"), r"search\.file = .*up to 100 characters"),
        (put("graphs", "search", "file", value=".."), r"search\.file = '\.\.': .*without '/'"),
        (put("graphs", "search", "file", value="a\0b"), r"search\.file = 'a\\x00b': .*without '/'"),
        (put("name", value="../../evil"), r"name = '\.\./\.\./evil': .*without '/'"),  # plans are named so
        (put("format", value=10**400), r"format = 10{76}\.\.\.: this release reads format 1"),
        (put("template", "factor", value=10**400), r"template\.factor = 10{76}\.\.\.: accepted is a "),
        (put("parity", "box_px", value=float("inf")), r"parity\.box_px = inf: accepted is a finite"),
        (put("for\nmat", value=1), r"unknown key 'for\\nmat': accepted are"),
        (put("x" * 1000, value=1), r"unknown key 'x{76}\.\.\.: accepted are"),
        (put("graphs", "search", "sha256", value="AB"), r"search\.sha256 = 'AB': accepted are 64 lower-case"),
    ],
)  # fmt: skip
def test_every_mistake_is_named_with_what_is_accepted(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    file = edited(tmp_path, change)
    with pytest.raises(BundleError, match=reason) as caught:
        read_manifest(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


def test_a_rule_needs_a_slot_to_refresh(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["update"], content["template"]["slots"] = best(), 1

    with pytest.raises(BundleError, match=r"'best_in_interval': it needs template\.slots >= 2 \(here 1\)"):
        read_manifest(edited(tmp_path, change))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds None: accepted is a mapping"),
        (b"- 1\n- 2\n", r"holds \[1, 2\]: accepted is a mapping"),
        (b"a: [1\nb: 2\n", "cannot be read: .*line 2"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"!!python/object/apply:os.getcwd []\n", "cannot be read: could not determine a constructor"),
        # What the YAML library raises besides its own errors.
        (b"format: 2000-13-45\n", "cannot be read: month must be in 1..12"),
        (b"format: !!int ''\n", "cannot be read: string index out of range"),
        (b"format: !!timestamp soon\n", "cannot be read: "),
        (b"format: " + b"9" * 5000 + b"\n", "cannot be read: Exceeds the limit"),
        # A few bytes that stand for gigabytes, or for an hour of work.
        (b"a: &a [1]\nb: [*a, *a]\n", "cannot be read: it has aliases"),
        (b"a: " + b"[" * 10_000, "cannot be read: it is nested deeper than 50"),
        (b"a: " + b"x" * 1_000_000, "cannot be read: it has more than 64000 bytes"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_bytes(content)
    with pytest.raises(BundleError, match=reason) as caught:
        read_manifest(file)
    assert "\n" not in str(caught.value)


def test_a_number_that_python_does_not_write_is_named(tmp_path: Path) -> None:
    """In base 16 it is read, however long it is."""
    file = tmp_path / "manifest.yaml"
    file.write_text(f"format: 0x{'f' * 9000}\n")
    with pytest.raises(BundleError, match="format = a number of thousands of digits: this release"):
        read_manifest(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.yaml cannot be read: .*No such file"):
        read_manifest(tmp_path / "manifest.yaml")


def test_the_signature_follows_from_the_description() -> None:
    tensors = signature(SPEC)
    assert tensors.template_inputs == (TensorSpec("templates", (2, 64, 64, 3), "uint8"),)
    assert tensors.template_outputs == SPEC.states
    assert tensors.search_inputs == (TensorSpec("search", (128, 128, 3), "uint8"), *SPEC.states)
    assert [(t.name, t.shape) for t in tensors.search_outputs] == [
        ("score_map", (8, 8)),
        ("box_map", (4, 8, 8)),
        ("embedding", (128,)),
    ]
    assert len(signature(replace(SPEC, embedding_size=0)).search_outputs) == 2


def test_a_manifest_is_replaced_whole(tmp_path: Path) -> None:
    """A node that loads the bundle meanwhile reads the old one or the new one; nothing is left beside it."""
    file = tmp_path / "manifest.yaml"
    write_manifest(file, MANIFEST)
    with file.open() as old:
        write_manifest(file, replace(MANIFEST, spec=CALIBRATED))
        assert "calibration" not in old.read()
    assert read_manifest(file).spec == CALIBRATED
    assert list(tmp_path.iterdir()) == [file]
