"""Boxes, regions and numbers in the text files of benchmarks, and what is said of bad lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill_tracker_ros.evaluation.annotations import (
    SequenceError,
    read_corners,
    read_lines,
    read_numbers,
    read_regions,
    read_truth,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "groundtruth.txt"


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def mask_line(mask: np.ndarray, x: int, y: int) -> str:
    """The line of a mask whose first pixel lies at x, y, by counting its pixels one by one."""
    runs, value = [0], 0
    for pixel in mask.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return f"m{x},{y},{mask.shape[1]},{mask.shape[0]}," + ",".join(map(str, runs))


@pytest.mark.parametrize("separator", [",", "\t", " ", ";", ", ", "  ", " ; "])
def test_truth_in_every_separation(path: Path, separator: str):
    lines = [["1", "2.5", "3", "4"], ["NaN"] * 4, ["nan"] * 4, ["-5", "6e0", "7", "8"]]
    truth = read_truth(written(path, *(separator.join(line) for line in lines), "", ""))
    np.testing.assert_array_equal(truth[[0, 3]], [[1, 2.5, 3, 4], [-5, 6, 7, 8]])
    assert np.isnan(truth[1:3]).all()


@pytest.mark.parametrize(
    "content", [b"1,2,3,4\r\n5,6,7,8\r\n", b"\xef\xbb\xbf1,2,3,4\n5,6,7,8", b"1,2,3,4\r5,6,7,8\r"]
)
def test_line_ends_and_byte_order_marks_do_not_matter(path: Path, content: bytes):
    path.write_bytes(content)
    np.testing.assert_array_equal(read_truth(path), [[1, 2, 3, 4], [5, 6, 7, 8]])


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5", "1,2,three,4", "", "1,nan,3,4", "inf,1,2,3", "1;;2;3;4", "1,2,3,4,"]
)
def test_a_bad_line_of_the_truth_is_named(path: Path, line: str):
    with pytest.raises(SequenceError) as error:
        read_truth(written(path, "1,2,3,4", line, "5,6,7,8"))
    assert str(error.value) == f"{path} line 2 is {line!r}: it must be x,y,w,h (or four nan)"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x01"])
def test_a_file_without_a_line_is_refused(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(SequenceError, match="is empty|cannot be read as text"):
        read_truth(path)


def test_a_file_that_is_not_there_is_named(path: Path):
    with pytest.raises(SequenceError, match=r"groundtruth\.txt cannot be read as text"):
        read_truth(path)


@pytest.mark.parametrize(
    "line, box",
    [
        ("1,2,3,4", [1, 2, 3, 4]),
        ("10,20,30,20,30,50,10,50", [10, 20, 20, 30]),
        ("0,10,10,0,20,10,10,20", [0, 0, 20, 20]),  # on its tip
        ("5.5,1,2,9,8,4", [2, 1, 6, 8]),
        ("m0,0,3,2,1,2,1,2", [1, 0, 2, 2]),
        ("m 10,20,4,3,5,2", [11, 21, 2, 1]),
        ("m10,20,4,3,0,1", [10, 20, 1, 1]),
        ("m10,20,4,3,11,1", [13, 22, 1, 1]),
        ("m10,20,4,3,3,2", [10, 20, 4, 2]),  # from the end of one row to the start of the next
        ("m10,20,4,3,5,0,1,1", [12, 21, 1, 1]),  # a long run cut in two by an empty one
    ],
)
def test_regions_become_tight_boxes(path: Path, line: str, box: list[float]):
    np.testing.assert_array_equal(read_regions(written(path, line)), [box])


def test_a_mask_is_the_box_of_its_pixels(path: Path):
    rng = np.random.default_rng(3)
    masks = [
        (rng.random((7, 9)) < share).astype(int) for share in (0.02, 0.05, 0.1, 0.3, 0.9) for _ in range(20)
    ]
    masks = [mask for mask in masks if mask.any()]
    boxes = read_regions(written(path, *(mask_line(mask, 4, 6) for mask in masks)))
    for mask, box in zip(masks, boxes, strict=True):
        rows, columns = np.nonzero(mask)
        left, top = columns.min() + 4, rows.min() + 6
        assert box.tolist() == [left, top, np.ptp(columns) + 1, np.ptp(rows) + 1]


@pytest.mark.parametrize("line", ["0", "1", "nan,nan,nan,nan", "1,2,nan,4,5,6", "m0,0,0,0,0", "m3,4,5,6,30"])
def test_a_region_may_say_that_the_target_is_not_to_be_seen(path: Path, line: str):
    assert np.isnan(read_regions(written(path, line))).all()


@pytest.mark.parametrize(
    "line",
    [
        "1,2",
        "1,2,3",
        "1,2,3,4,5",
        "x",
        "",
        "inf,1,2,3",
        "m1,2,3",
        "m0,0,2,2,1,9",
        "m0,0,2,2,1,-1",
        "m0,0,2,2,x",
    ],
)
def test_a_bad_region_is_named(path: Path, line: str):
    with pytest.raises(SequenceError, match="line 2 is .*: it must be a rectangle"):
        read_regions(written(path, "1,2,3,4", line, "1,2,3,4"))


def test_a_bad_mask_does_not_fill_the_screen(path: Path):
    with pytest.raises(SequenceError) as error:
        read_regions(written(path, "m0,0,2,2," + ",".join(["1"] * 5000)))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("line", [f"m0,0,{10**30},4,1,2", f"m0,0,4,4,{2**63},5", "0,0,-1e308,0,1e308,5"])
def test_numbers_that_no_picture_has_are_refused(path: Path, line: str):
    """Bug: they raised an OverflowError, or gave infinite boxes."""
    with pytest.raises(SequenceError, match="line 1 is .*: it must be a rectangle"):
        read_regions(written(path, line))
    with pytest.raises(SequenceError, match="line 1 is .*: it must be track xmin"):
        read_corners(written(path, "0 -1e308 0 1e308 5"))


def test_a_file_of_any_size_is_not_read(path: Path):
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(SequenceError, match="cannot be read as text: it has more than 268435456 bytes"):
        read_truth(path)


def test_corners_of_need_for_speed(path: Path):
    boxes = read_corners(
        written(path, '0 10 20 40 60 1 0 0 0 "ball"', '0 11.5 21 41 61 2 0 1 0 "a red ball"')
    )
    np.testing.assert_array_equal(boxes, [[10, 20, 30, 40], [11.5, 21, 29.5, 40]])


@pytest.mark.parametrize("line", ["1,2,3,4", "0 1 2 3", '0 1 2 "5" 4', "0 nan 1 2 3"])
def test_bad_corners_are_named(path: Path, line: str):
    with pytest.raises(SequenceError, match="line 1 is .* it must be track xmin ymin xmax ymax"):
        read_corners(written(path, line))


@pytest.mark.parametrize("content", ["0,1,0,1\n", "0\n1\n0\n1\n", "0 1\r\n0 1\r\n", "0,1,0,1,\n"])
def test_numbers_in_one_line_or_several(path: Path, content: str):
    path.write_text(content)
    assert read_numbers(path).tolist() == [0, 1, 0, 1]


def test_what_is_no_number_is_named(path: Path):
    with pytest.raises(SequenceError, match=r"groundtruth\.txt must hold numbers: .*'yes'"):
        read_numbers(written(path, "0,yes"))


def test_lines_in_the_middle_stay(path: Path):
    assert read_lines(written(path, "a", "", "b", "", "")) == ["a", "", "b"]
