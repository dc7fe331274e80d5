"""Reading folders of images, videos and ground truth, and what is said when they are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from distill_tracker_ros.evaluation.sequences import (
    ImageFrames,
    NoFrames,
    Sequence,
    SequenceError,
    VideoFrames,
    open_sequence,
    open_sequences,
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
    assert [s.truth_xywh for s in open_sequences(tmp_path / "not_annotated")] == [None]
    with pytest.raises(SequenceError, match=r"1\.png is one image: give the folder"):
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


def test_the_truth_of_a_video_lies_beside_it(tmp_path: Path):
    path = write_video(tmp_path / "flight.mp4", frames=3)
    assert open_sequence(path).truth_xywh is None
    path.with_suffix(".txt").write_text("1,2,3,4\n" * 3)
    assert open_sequence(path).truth_xywh.shape == (3, 4)
    (tmp_path / "other.txt").write_text("5,6,7,8\n" * 3)
    assert open_sequence(path, tmp_path / "other.txt").truth_xywh[0].tolist() == [5, 6, 7, 8]


def test_what_a_mac_adds_to_archives_is_no_image(tmp_path: Path):
    write_images(tmp_path, ["1.png", "2.png"])
    (tmp_path / "._1.png").write_bytes(b"Mac OS X")
    assert [path.name for path in open_sequence(tmp_path).frames.paths] == ["1.png", "2.png"]


def test_frames_know_the_size_of_the_first(tmp_path: Path):
    frames = open_sequence(write_images(tmp_path / "images", ["1.png", "2.png"])).frames
    assert frames.size == frames[1:].size == (64, 48)
    assert VideoFrames(write_video(tmp_path / "v.mp4")).size == (64, 48)
    assert NoFrames(3, "").size is None
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    assert ImageFrames([tmp_path / "images" / "1.png"]).size is None


def test_a_true_box_outside_the_image_is_told(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    write_images(tmp_path / "car", [f"{n}.png" for n in range(4)])
    truth = tmp_path / "car" / "groundtruth.txt"
    truth.write_text("60,40,9,9\nnan,nan,nan,nan\n-4,-4,5,5\n0,0,0,0\n")
    open_sequence(tmp_path / "car")
    assert not recwarn.list
    truth.write_text("60,40,9,9\n64,0,5,5\n-5,3,5,5\n1,1,2,2\n")
    with pytest.warns(UserWarning) as told:
        open_sequence(tmp_path / "car")
    assert [str(w.message) for w in told] == [
        "car: the true box of frame 1 (and of 1 more) lies outside the image of 64x48 pixels"
    ]


def test_anchors_are_frames_of_the_whole(tmp_path: Path):
    write_images(tmp_path, ["1.png", "2.png", "3.png"])
    sequence = Sequence("boat", open_sequence(tmp_path).frames, anchors=(0, -2))
    assert sequence.part(slice(1, None)).anchors == ()


class TestSequences:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("boat", "car1", "car2"):
            write_images(tmp_path / name, ["1.png"])
            (tmp_path / name / "groundtruth.txt").write_text("1,2,3,4\n")
        return tmp_path

    def test_they_are_there_by_index_and_by_name(self, folder: Path):
        sequences = open_sequences(folder)
        assert (sequences.format, sequences.path, len(sequences)) == ("folder", folder, 3)
        assert sequences.name == folder.name
        assert sequences.names == ("boat", "car1", "car2")
        assert sequences[1].name == sequences.named("car1").name == "car1"
        assert sequences[-1].name == "car2"
        assert sequences[1:].names == ("car1", "car2")
        assert [s.name for s in sequences[::2]] == ["boat", "car2"]
        with pytest.raises(IndexError):
            sequences[3]
        with pytest.raises(SequenceError, match="has no sequence 'car3'; names like it: car2, car1"):
            sequences.named("car3")

    def test_each_is_opened_when_it_is_asked_for(self, folder: Path):
        (folder / "car1" / "groundtruth.txt").write_text("broken")
        (folder / "car2" / "1.png").write_bytes(b"no image")
        sequences = open_sequences(folder)
        assert sequences[0].name == "boat"
        with pytest.raises(SequenceError, match="line 1 is 'broken'"):
            sequences[1]
        assert len(sequences[2].frames) == 1

    def test_a_link_keeps_its_name(self, folder: Path):
        (folder / "linked").symlink_to(folder / "boat")
        sequences = open_sequences(folder)
        assert [s.name for s in sequences] == list(sequences.names) == ["boat", "car1", "car2", "linked"]

    def test_the_folder_one_stands_in_has_a_name(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(folder / "boat")
        assert open_sequences(Path(".")).names == ("boat",)
        assert open_sequence(Path(".")).name == "boat"
