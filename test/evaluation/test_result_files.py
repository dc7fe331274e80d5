"""Boxes in the files of other tools: every layout, every mistake in them, and nothing lost on the way."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_tracker_ros.evaluation.metrics import score
from distill_tracker_ros.evaluation.result_files import (
    LARGEST_FILE,
    ResultError,
    ResultFormat,
    read_results,
    write_results,
)

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "data" / "results"
FORMATS: list[ResultFormat] = ["otb", "got10k", "trackingnet"]


def some_boxes(count: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.hstack([rng.uniform(-20, 600, (count, 2)), rng.uniform(4, 200, (count, 2))])


def results() -> dict[str, np.ndarray]:
    return {"bird": some_boxes(30, 1), "car1_1": some_boxes(12, 2), "car1": some_boxes(1, 3)}


def write_text(folder: Path, text: str, name: str = "bird.txt") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


def write_zip(path: Path, texts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


# What is written comes back.


@pytest.mark.parametrize("where", ["out", "out.zip"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_comes_back_as_it_was(tmp_path: Path, format: ResultFormat, where: str):
    write_results(tmp_path / "new" / where, format, results())
    read = read_results(tmp_path / "new" / where, ["car1", "bird", "car1_1"])
    assert list(read) == ["car1", "bird", "car1_1"]
    for name, boxes in results().items():
        np.testing.assert_allclose(read[name], boxes, atol=0.5e-4 + 1e-9)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [where], "something was left behind"


def test_a_round_trip_changes_the_score_by_less_than_a_twentieth_of_a_point(tmp_path: Path):
    """V-11: the boxes lie close to the truth, where the overlap is near the thresholds."""
    truth = some_boxes(2000)
    boxes = truth + np.random.default_rng(5).normal(0, 6, truth.shape)
    boxes[:, 2:] = np.abs(boxes[:, 2:])
    write_results(tmp_path / "out", "otb", {"bird": boxes})
    before, after = score(boxes, truth), score(read_results(tmp_path / "out", ["bird"])["bird"], truth)
    assert 0.3 < before.success_auc < 0.95
    assert abs(after.success_auc - before.success_auc) < 0.0005
    assert abs(after.precision_20px - before.precision_20px) < 0.0005


def test_a_line_is_what_other_tools_read(tmp_path: Path):
    write_results(tmp_path / "otb", "otb", {"bird": np.array([[1, 2.5, 30, 40.00004], [0, 0, 0, 0]])})
    assert (tmp_path / "otb" / "bird.txt").read_text() == (
        "1.0000,2.5000,30.0000,40.0000\n0.0000,0.0000,0.0000,0.0000\n"
    )


def test_got10k_has_a_folder_a_sequence_with_seconds(tmp_path: Path):
    boxes = {"GOT-10k_Val_000001": some_boxes(2)}
    write_results(tmp_path / "out", "got10k", boxes, {"GOT-10k_Val_000001": np.array([20.0, 3.5])})
    folder = tmp_path / "out" / "GOT-10k_Val_000001"
    assert sorted(p.name for p in folder.iterdir()) == [
        "GOT-10k_Val_000001_001.txt",
        "GOT-10k_Val_000001_time.txt",
    ]
    assert (folder / "GOT-10k_Val_000001_time.txt").read_text() == "0.02000000\n0.00350000\n"


@pytest.mark.parametrize("format", ["otb", "trackingnet"])
def test_other_formats_have_no_place_for_times(tmp_path: Path, format: ResultFormat):
    write_results(tmp_path / "out", format, {"bird": some_boxes(2)}, {"bird": np.ones(2)})
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bird.txt"]


def test_equal_boxes_give_an_equal_zip(tmp_path: Path):
    backwards = dict(reversed(results().items()))
    write_results(tmp_path / "a.zip", "trackingnet", results())
    write_results(tmp_path / "b.zip", "trackingnet", backwards)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["bird.txt", "car1.txt", "car1_1.txt"]


# What others have written is found and read.


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8\n",
        "1\t2\t3\t4\n5\t6\t7\t8",
        "1 2 3 4\r\n5 6 7 8\r\n\r\n",
        "1;2;3;4\n5; 6; 7; 8\n",
        "\ufeff 1.0 , 2.0,\t3e0  4 \n5,6,7,8\n\n",
    ],
)
def test_separators(tmp_path: Path, text: str):
    read = read_results(write_text(tmp_path, text), ["bird"])["bird"]
    assert read.dtype == np.float64
    assert read.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_only_the_named_sequences_are_read(tmp_path: Path):
    for name in ("bird.txt", "bird_time.txt", "readme.txt", "deep/er/bird.txt"):
        write_text(tmp_path, "no box", name)
    write_text(tmp_path, "1,2,3,4", "car.txt")
    assert list(read_results(tmp_path, ["car"])) == ["car"]


def test_a_zip_may_have_a_folder_around_everything(tmp_path: Path):
    texts = {"siam/Bird/Bird_001.txt": "1,2,3,4", "siam/Bird/Bird_time.txt": "0.1", "siam/": ""}
    path = write_zip(tmp_path / "r.zip", texts)
    assert read_results(path, ["Bird"])["Bird"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("file", ["bird1.txt", "BIRD1.txt", "Bird1_001.txt", "bird1_001.txt"])
def test_a_name_may_differ_in_case_and_in_the_number_of_the_run(tmp_path: Path, file: str):
    write_text(tmp_path, "9,9,9,9", "bird1_1.txt")
    write_text(tmp_path, "1,2,3,4", file)
    assert read_results(tmp_path, ["Bird1"])["Bird1"].tolist() == [[1, 2, 3, 4]]


def test_the_exact_name_goes_first(tmp_path: Path):
    for name, x in {"Bird": 1, "bird": 2, "Bird_001": 3}.items():
        write_text(tmp_path, f"{x},0,1,1", f"{name}.txt")
    read = read_results(tmp_path, ["Bird", "bird"])
    assert (read["Bird"][0, 0], read["bird"][0, 0]) == (1, 2)


def test_two_files_for_one_sequence_are_refused(tmp_path: Path):
    write_text(tmp_path, "1,2,3,4", "first/bird.txt")
    write_text(tmp_path, "1,2,3,4", "second/bird.txt")
    with pytest.raises(ResultError, match=r"several files for bird: first/bird\.txt, second/bird\.txt"):
        read_results(tmp_path, ["bird"])
    write_text(tmp_path / "case", "1,2,3,4", "BIRD.txt")
    write_text(tmp_path / "case", "1,2,3,4", "bird.txt")
    with pytest.raises(ResultError, match=r"several files for Bird: BIRD\.txt, bird\.txt"):
        read_results(tmp_path / "case", ["Bird"])


@pytest.mark.parametrize("tracker", ["ARCF", "AutoTrack", "NanoTrackV3"])
def test_published_results_are_read_completely(tracker: str):
    folder = PUBLISHED / f"DTB70_{tracker}"
    if not folder.is_dir():
        pytest.skip(f"needs the published results in {folder}")
    lines = {file.stem: len(file.read_text().split()) for file in folder.glob("*.txt")}
    assert len(lines) == 70
    read = read_results(folder, lines)
    assert {name: len(boxes) for name, boxes in read.items()} == lines
    first = (folder / "Gull2.txt").read_text().splitlines()[0]
    assert read["Gull2"][0].tolist() == [float(v) for v in first.split(",")]


# What cannot be read says so.


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5", "1,2,,4", "x,y,w,h", "nan,nan,nan,nan", "1,2,inf,4", "1,2,-3,4", "", "1"]
)
def test_a_bad_line_is_named(tmp_path: Path, line: str):
    write_text(tmp_path, f"1,2,3,4\n{line}\n1,2,3,4\n")
    with pytest.raises(ResultError) as caught:
        read_results(tmp_path, ["bird"])
    text = str(caught.value)
    assert f"{tmp_path}: bird.txt line 2 is {line!r}: it must be 'x,y,w,h' of finite numbers" in text


def test_an_empty_file_is_refused(tmp_path: Path):
    with pytest.raises(ResultError, match=r"bird\.txt is empty: it needs one line 'x,y,w,h'"):
        read_results(write_text(tmp_path, "\n \n"), ["bird"])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "bird.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ResultError, match=r"bird\.txt cannot be read as text"):
        read_results(tmp_path, ["bird"])
    (tmp_path / "car.txt").mkdir()
    with pytest.raises(ResultError, match=r"car\.txt cannot be read as text"):
        read_results(tmp_path, ["car"])


def test_all_missing_sequences_are_named_at_once(tmp_path: Path):
    write_text(tmp_path, "1,2,3,4")
    with pytest.raises(ResultError, match=r"NAME\.txt or NAME_001\.txt\) for 2 of 3 sequences: car, boat$"):
        read_results(tmp_path, ["car", "bird", "boat"])


def test_a_path_that_is_nothing_is_refused(tmp_path: Path):
    (tmp_path / "results.mat").write_bytes(b"MATLAB 5.0")
    for path in (tmp_path / "results.mat", tmp_path / "none"):
        with pytest.raises(ResultError, match=f"{path} is neither a folder nor a readable zip file"):
            read_results(path, ["bird"])


# A zip from somewhere.


def test_names_that_lead_out_of_a_zip_are_only_names(tmp_path: Path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = write_zip(inside / "r.zip", {"../../bird.txt": "1,2,3,4", "/etc/car.txt": "5,6,7,8"})
    read = read_results(path, ["bird", "car"])
    assert (read["bird"].tolist(), read["car"].tolist()) == ([[1, 2, 3, 4]], [[5, 6, 7, 8]])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "r.zip", {"bird.txt": "1,2,3,4\n" * (LARGEST_FILE // 8 + 1)})
    assert path.stat().st_size < 2**20
    with pytest.raises(ResultError, match=r"bird\.txt has more than 64 MB"):
        read_results(path, ["bird"])


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "r.zip", {"bird.txt": "1,2,3,4\n" * 1000})
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 16)
    path.write_bytes(content)
    with pytest.raises(ResultError, match=r"bird\.txt cannot be read as text"):
        read_results(path, ["bird"])


def test_a_damaged_zip_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "r.zip", {"bird.txt": "".join(f"{n},2,3,4\n" for n in range(999))})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ResultError, match=r"bird\.txt cannot be read as text"):
        read_results(path, ["bird"])
    path.write_bytes(content[:200])
    with pytest.raises(ResultError, match="neither a folder nor a readable zip file"):
        read_results(path, ["bird"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_twice_in_a_zip_is_refused(tmp_path: Path):
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bird.txt", "1,2,3,4")
        archive.writestr("bird.txt", "5,6,7,8")
    with pytest.raises(ResultError, match="several files for bird"):
        read_results(path, ["bird"])


# What cannot be written says so, and leaves nothing.


@pytest.mark.parametrize(
    ("boxes", "step_ms", "text"),
    [
        ({"a/b": some_boxes(1)}, None, "'a/b' cannot be that of a file"),
        ({"..": some_boxes(1)}, None, "'..' cannot be that of a file"),
        ({"": some_boxes(1)}, None, "'' cannot be that of a file"),
        (
            {"bird": np.array([[1, 2, 3, 4], [1, 2, np.nan, 4]])},
            None,
            r"bird: box 1 is \[1.0, 2.0, nan, 4.0\]",
        ),
        ({"bird": np.array([[1, 2, -3.0, 4]])}, None, "bird: box 0 is"),
        ({"bird": np.ones((1, 5))}, None, "bird: box 0 is"),
        ({"bird": some_boxes(3)}, {"bird": np.ones(2)}, "bird has 2 times for 3 boxes"),
        ({"bird": some_boxes(3)}, {}, "bird has 0 times for 3 boxes"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, boxes: Any, step_ms: Any, text: str):
    with pytest.raises(ResultError, match=text):
        write_results(tmp_path / "out", "got10k", boxes, step_ms)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["out", "out.zip"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, where: str):
    write_results(tmp_path / where, "otb", {"bird": some_boxes(3)})
    with pytest.raises(ResultError, match=f"{where} exists: name another path, or remove it"):
        write_results(tmp_path / where, "otb", {"bird": some_boxes(4)})
    assert len(read_results(tmp_path / where, ["bird"])["bird"]) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="out cannot be written"):
        write_results(tmp_path / "file" / "out", "otb", {"bird": some_boxes(3)})


def test_a_zip_of_a_version_to_come_is_refused(tmp_path: Path) -> None:
    """Bug: a NotImplementedError came through."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "1,2,3,4\n")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 225
    path.write_bytes(content)
    with pytest.raises(
        ResultError, match=r"a\.zip is neither a folder nor a readable zip file: zip file version"
    ):
        read_results(path, ["a"])
