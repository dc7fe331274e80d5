"""Reading folders of images, videos and ground truth, and what is said when they are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from distill_tracker_ros.evaluation.sequences import (
    ImageFrames,
    SequenceError,
    VideoFrames,
    open_sequence,
    open_sequences,
    read_truth,
)
from distill_tracker_ros.video import VideoError, VideoWriter


def grey(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write_images(folder: Path, names: list[str]) -> Path:
    """The n-th image has the grey level 10 n."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), grey(10 * number))
    return folder


def write_video(path: Path, frames: int = 6) -> Path:
    """The n-th frame has the grey level 40 n."""
    with VideoWriter(path, 25.0) as video:
        for number in range(frames):
            video.write(grey(40 * number))
    return path


def level(rgb: np.ndarray) -> int:
    return round(float(rgb.mean()))


def test_images_come_in_the_order_of_their_numbers(tmp_path: Path):
    names = [f"img{n}.png" for n in range(1, 13)]
    sequence = open_sequence(write_images(tmp_path / "boat", names))
    assert sequence.name == "boat"
    assert sequence.truth_xywh is None
    assert sequence.rate_hz is None
    assert [level(frame) for frame in sequence.frames] == [10 * n for n in range(12)]


def test_frames_are_rgb_and_only_read_when_asked_for(tmp_path: Path):
    red = grey(0)
    red[..., 2] = 200
    cv2.imwrite(str(tmp_path / "1.png"), red)
    (tmp_path / "2.png").write_bytes(b"no image")
    frames = open_sequence(tmp_path).frames
    assert frames[0][0, 0].tolist() == [200, 0, 0]
    with pytest.raises(SequenceError, match=r"2\.png is not a readable image"):
        frames[1]


def test_frames_index_like_a_list(tmp_path: Path):
    frames = open_sequence(write_images(tmp_path, [f"{n}.png" for n in range(5)])).frames
    assert len(frames) == 5
    assert level(frames[-1]) == 40
    part = frames[2:]
    assert [level(f) for f in part] == [20, 30, 40]
    assert level(part[-1]) == 40
    assert level(part[1:][0]) == 30
    with pytest.raises(IndexError):
        frames[5]
    with pytest.raises(IndexError):
        part[3]


def test_a_folder_without_images_is_refused(tmp_path: Path):
    (tmp_path / "notes.md").write_text("nothing to see")
    with pytest.raises(SequenceError, match="holds no image"):
        open_sequence(tmp_path)


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", "  "])
def test_truth_in_every_separation(tmp_path: Path, separator: str):
    path = tmp_path / "groundtruth.txt"
    lines = [["1", "2.5", "3", "4"], ["NaN"] * 4, ["nan"] * 4, ["-5", "6e0", "7", "8"]]
    path.write_text("\n".join(separator.join(line) for line in lines) + "\n\n")
    truth = read_truth(path)
    np.testing.assert_array_equal(truth[[0, 3]], [[1, 2.5, 3, 4], [-5, 6, 7, 8]])
    assert np.isnan(truth[1:3]).all()


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5", "1,2,three,4", "", "1,nan,3,4", "inf,1,2,3", "1;2;3;4", "1,2,3,4,"]
)
def test_a_bad_line_of_the_truth_is_named(tmp_path: Path, line: str):
    path = tmp_path / "groundtruth.txt"
    path.write_text(f"1,2,3,4\n{line}\n5,6,7,8\n")
    with pytest.raises(SequenceError) as error:
        read_truth(path)
    assert str(error.value) == f"{path} line 2 is {line!r}: it must be x,y,w,h (or four nan)"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x01"])
def test_truth_without_a_line_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "groundtruth.txt"
    path.write_bytes(content)
    with pytest.raises(SequenceError, match="is empty|cannot be read as text"):
        read_truth(path)


@pytest.mark.parametrize("lines", [2, 4])
def test_truth_and_frames_must_agree_in_number(tmp_path: Path, lines: int):
    write_images(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "groundtruth.txt").write_text("1,2,3,4\n" * lines)
    with pytest.raises(SequenceError, match=f"has {lines} lines for the 3 frames"):
        open_sequence(tmp_path)


def test_a_missing_truth_file_is_named(tmp_path: Path):
    write_images(tmp_path, ["1.png"])
    with pytest.raises(SequenceError, match=r"elsewhere\.txt cannot be read"):
        open_sequence(tmp_path, tmp_path / "elsewhere.txt")


def test_a_video_is_read_frame_by_frame(tmp_path: Path):
    sequence = open_sequence(write_video(tmp_path / "flight.mp4"))
    assert sequence.name == "flight"
    assert sequence.rate_hz == 25.0
    assert len(sequence.frames) == 6
    levels = [level(frame) for frame in sequence.frames]
    np.testing.assert_allclose(levels, [40 * n for n in range(6)], atol=3)


def test_a_video_goes_back_and_forth_exactly(tmp_path: Path):
    frames = open_sequence(write_video(tmp_path / "flight.mp4")).frames
    for index in (5, 0, 3, 3, 1, 4):
        assert abs(level(frames[index]) - 40 * index) <= 3
    with pytest.raises(IndexError):
        frames[6]


def test_a_truncated_video_ends_where_its_frames_end(tmp_path: Path):
    """A recording that was cut off announces more frames than can be read."""
    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for number in range(20):
        writer.write(np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = VideoFrames(path)
    read = list(frames)
    assert 0 < len(read) < 20
    assert all(frame.shape == (48, 64, 3) for frame in read)


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "flight.mp4"
    path.write_bytes(content)
    with pytest.raises(SequenceError, match=r"flight\.mp4 is (not a video|a video without)"):
        open_sequence(path)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(SequenceError, match="does not exist: give a video file or a folder of images"):
        open_sequence(tmp_path / "nowhere")


def test_from_the_first_box_on(tmp_path: Path):
    write_images(tmp_path, [f"{n}.png" for n in range(4)])
    (tmp_path / "groundtruth.txt").write_text("nan,nan,nan,nan\n0,0,0,0\n5,6,7,8\n9,9,9,9\n")
    part = open_sequence(tmp_path).from_first_box()
    assert [level(frame) for frame in part.frames] == [20, 30]
    assert part.truth_xywh.tolist() == [[5, 6, 7, 8], [9, 9, 9, 9]]


def test_without_any_box_there_is_no_start(tmp_path: Path):
    write_images(tmp_path, ["1.png"])
    with pytest.raises(SequenceError, match="has no true box to start from"):
        open_sequence(tmp_path).from_first_box()
    (tmp_path / "groundtruth.txt").write_text("nan nan nan nan\n")
    with pytest.raises(SequenceError, match="has no true box to start from"):
        open_sequence(tmp_path).from_first_box()


def test_a_folder_of_sequences(tmp_path: Path):
    for name in ("car", "boat"):
        write_images(tmp_path / name, ["1.png"])
        (tmp_path / name / "groundtruth.txt").write_text("1,2,3,4\n")
    write_images(tmp_path / "not_annotated", ["1.png"])
    assert [s.name for s in open_sequences(tmp_path)] == ["boat", "car"]
    assert [s.name for s in open_sequences(tmp_path / "car")] == ["car"]
    with pytest.raises(SequenceError, match="holds no sequence"):
        open_sequences(tmp_path / "not_annotated")
    with pytest.raises(SequenceError, match="is not a folder"):
        open_sequences(tmp_path / "car" / "1.png")


def test_a_video_that_cannot_be_written_is_named(tmp_path: Path):
    with (
        pytest.raises(VideoError, match=r"v\.mp4 cannot be written"),
        VideoWriter(tmp_path / "no" / "v.mp4", 30) as video,
    ):
        video.write(grey(0))


def test_a_video_keeps_the_size_of_its_first_frame(tmp_path: Path):
    path = tmp_path / "v.mp4"
    with VideoWriter(path, 30) as video:
        video.write(grey(0))
        video.write(grey(80, width=128, height=96))
    assert [frame.shape for frame in VideoFrames(path)] == [(48, 64, 3)] * 2


def test_images_can_be_given_as_paths(tmp_path: Path):
    write_images(tmp_path, ["b.png", "a.png"])
    frames = ImageFrames([tmp_path / "b.png", tmp_path / "a.png"])
    assert [level(f) for f in frames] == [0, 10]
