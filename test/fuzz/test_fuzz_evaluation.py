"""Annotations, folders of benchmarks, results of other tools, runs that are read for a report."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import applied, changed_tree, changes, mutated, odd_numbers, odd_texts

from distill_tracker_ros.evaluation.annotations import (
    SequenceError,
    read_corners,
    read_numbers,
    read_regions,
    read_truth,
)
from distill_tracker_ros.evaluation.benchmarks import FORMATS
from distill_tracker_ros.evaluation.result_files import ResultError, read_results
from distill_tracker_ros.evaluation.runs import RunError, RunFolder, Times, TrackedSequence
from distill_tracker_ros.evaluation.sequences import open_sequences

READERS = (read_truth, read_regions, read_corners, read_numbers)
LINES = (
    b"1,2,3,4\n5\t6\t7\t8\nnan,nan,nan,nan\n",
    b"1 2 3 4 5 6 7 8\n1\nm1,2,30,20,5,6,100,7\n",
    b'0 1 2 30 40 1 0 0 0 "car"\n',
    b"\xef\xbb\xbf1;2;3;4\r\n",
    b"m0,0,4000,4000,5,100,3\n",
)


def texts_of_boxes() -> st.SearchStrategy[bytes]:
    number = odd_numbers().map(lambda n: str(n)[:400])
    line = st.lists(number, min_size=1, max_size=9).map(",".join)
    masks = st.lists(odd_numbers().map(lambda n: str(n)[:30]), max_size=9).map(lambda n: "m" + ",".join(n))
    rows = st.lists(line | masks | odd_texts(), max_size=4)
    return rows.map(lambda made: "\n".join(made).encode("utf-8", "replace")) | mutated(LINES)


def test_annotations(fuzz: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"

    def read(case: tuple[Callable[[Path], Any], bytes]) -> None:
        reader, content = case
        path.write_bytes(content)
        found = reader(path)
        assert found.dtype == np.float64 and not np.isinf(found).any() or reader is read_numbers
        assert reader is read_numbers or found.shape[1:] == (4,)

    cases = st.tuples(st.sampled_from(READERS), texts_of_boxes())
    fuzz("annotations", "annotation files", cases, read, SequenceError, share=0.11)


BOX, JPEG = b"1,2,3,4\n", cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
INFO = b"[METAINFO]\nanno_fps: 10Hz\nobject_class: x\n"
LAYOUTS: tuple[dict[str, bytes], ...] = (
    {"img/0001.jpg": JPEG, "img/0002.jpg": JPEG, "groundtruth_rect.txt": 2 * BOX, "attrs.txt": b"IV, BC"},
    {"anno/UAV123/a.txt": BOX, "data_seq/UAV123/a/000001.jpg": JPEG, "anno/UAV123/att/a.txt": b"1,0"},
    {
        "car/car-1/img/00000001.jpg": JPEG,
        "car/car-1/groundtruth.txt": BOX,
        "car/car-1/full_occlusion.txt": b"0",
        "car/car-1/out_of_view.txt": b"0",
        "testing_set.txt": b"car-1",
    },
    {
        "val/list.txt": b"a",
        "val/a/00000001.jpg": JPEG,
        "val/a/groundtruth.txt": BOX,
        "val/a/meta_info.ini": INFO,
        "val/a/absence.label": b"0",
        "val/a/cover.label": b"8",
    },
    {"TEST/anno/a.txt": BOX, "TEST/frames/a/0.jpg": JPEG},
    {"a/30/a/00001.jpg": JPEG, "a/30/a.txt": b'0 1 2 3 4 1 0 0 0 "x"'},
    {
        "list.txt": b"a",
        "a/color/00000001.jpg": JPEG,
        "a/groundtruth.txt": BOX,
        "a/sequence": b"fps=30",
        "a/anchor.value": b"1",
        "a/camera.tag": b"1",
    },
    {"anno/a_gt.txt": BOX, "sequences/a/img000001.jpg": JPEG, "anno/att/a_att.txt": b"1,0,0,0,0,0,0,0,0"},
    {"annotations/a.txt": BOX, "sequences/a/img0000001.jpg": JPEG, "attributes/a_attr.txt": b"1"},
    {"a/0001.jpg": JPEG, "a/groundtruth.txt": BOX},
    {"a.txt": BOX},
)


@pytest.mark.filterwarnings("ignore:.*(attributes|lies outside)")
def test_folders_of_benchmarks(fuzz: Callable[..., None], tmp_path: Path) -> None:
    usual = st.sampled_from((BOX, 2 * BOX, b"a\n", b"0\n", b"1,0,1\n", b"fps=30\n", b""))
    infos = st.sampled_from((INFO, b"[METAINFO]\nanno_fps: .", b"[x"))
    odd = st.sampled_from((b"fps=1.2.3\n", b"../../etc\n", b"/etc\n", b"a\0b\n", b"nan\n", b"-1\ninf\n"))
    contents = usual | texts_of_boxes() | infos | odd
    root = tmp_path / "root"

    @st.composite
    def trees(draw: Any) -> tuple[str, dict[str, bytes]]:
        tree: dict[str, bytes] = {}
        for layout in draw(st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=2)):
            tree |= layout
        for name in draw(st.lists(st.sampled_from(sorted(tree)), max_size=2)):
            tree[name] = draw(mutated([JPEG]) if name.endswith(".jpg") else contents)
        if draw(st.integers(0, 4)) == 0:
            del tree[draw(st.sampled_from(sorted(tree)))]
        if draw(st.integers(0, 9)) == 0:
            name = draw(odd_texts()).replace("/", "").replace("\0", "").strip(".")[:50]
            if name and name.isprintable():
                tree[f"{name}.jpg"] = JPEG
        return draw(st.just("auto") | st.sampled_from([f for f in FORMATS if f != "video"])), tree

    def read(case: tuple[str, dict[str, bytes]]) -> None:
        format, tree = case
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for name, content in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        for sequence in open_sequences(root, format):
            assert len(sequence.visible) == len(sequence.frames)
            sequence.frames.view(0)

    fuzz("benchmarks", "folders of benchmarks", trees(), read, SequenceError, share=0.008)


def test_result_files(fuzz: Callable[..., None], tmp_path: Path) -> None:
    """Of other trackers, in folders and zip files, some of them bombs."""
    path, folder = tmp_path / "a.zip", tmp_path / "results"
    folder.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "1,2,3,4\n" * 3)
        archive.writestr("b/b_001.txt", "1,2,3,4\n" * 3)
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(100_000_000))
    bomb = path.read_bytes()
    marks = [whole.find(mark) for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6")]
    zips = mutated([whole], [at + k for at in marks for k in range(30)]) | st.sampled_from(
        [whole] * 99 + [bomb]
    )
    cases = st.tuples(st.booleans(), st.just(True), zips) | st.tuples(
        st.booleans(), st.just(False), texts_of_boxes()
    )

    def read(case: tuple[bool, bool, bytes]) -> None:
        several, is_zip, content = case
        (path if is_zip else folder / "a.txt").write_bytes(content)
        found = read_results(path if is_zip else folder, ["a", "b"] if several and is_zip else ["a"])
        assert all(np.isfinite(boxes).all() and boxes.shape[1:] == (4,) for boxes in found.values())

    fuzz("results", "results of other tools", cases, read, ResultError, share=0.03, most_mb=300.0)


def test_runs(fuzz: Callable[..., None], tmp_path: Path) -> None:
    """What a report reads: JSON and CSV."""
    ones = np.ones(3)
    tracked = TrackedSequence(
        "a", np.ones((3, 4)), ones > 0, np.ones((3, 4)), ones, ones.astype(np.int8), ones.astype(np.int64),
        Times(ones, ones, ones), attributes=("fast",), frame_size=(64, 48),
    )  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    folder.begin({"label": "tiny", "model": {"name": "tiny"}})
    folder.write(tracked)
    files = {path: path.read_bytes() for path in sorted(folder.path.rglob("*")) if path.is_file()}
    trees = {path: json.loads(text) for path, text in files.items() if path.suffix == ".json"}
    deep = st.sampled_from(
        (b"[" * 100_000, b'{"a":' * 50_000, b'{"rate_hz": 1' + b"0" * 5000 + b"}", b'{"a": NaN}')
    )

    @st.composite
    def broken(draw: Any) -> tuple[Path, bytes]:
        path = draw(st.sampled_from(sorted(files)))
        if path in trees and draw(st.integers(0, 2)):
            tree = draw(changed_tree(trees[path]))
            return path, json.dumps(tree, default=str).encode("utf-8", "replace")
        return path, draw(deep) if draw(st.integers(0, 9)) == 0 else applied(files[path], draw(changes()))

    def read(case: tuple[Path, bytes]) -> None:
        path, content = case
        path.write_bytes(content)
        try:
            run = folder.read()
            assert isinstance(run.label, str) and all(len(each) >= 0 for each in run.sequences)
        finally:
            path.write_bytes(files[path])

    fuzz("runs", "runs that are read for a report", broken(), read, RunError, share=0.045)
