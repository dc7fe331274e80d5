"""Every layout, made small: it is recognised, its sequences have the right frames, boxes, labels and rates,
and what is missing is named."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill_tracker_ros.evaluation.benchmarks import BENCHMARKS, FORMATS
from distill_tracker_ros.evaluation.benchmarks.uav import parts
from distill_tracker_ros.evaluation.sequences import Sequence, SequenceError, Sequences, open_sequences
from distill_tracker_ros.video import VideoWriter

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

# Of the benchmark's own tool, for its 10 frames a second.
UAV123_10FPS = """
bird1_1 bird1 1 85, bird1_2 bird1 259 493, bird1_3 bird1 525 813, car1_1 car1 1 251, car1_2 car1 251 543,
car1_3 car1 543 877, car6_1 car6 1 163, car6_2 car6 163 603, car6_3 car6 603 985, car6_4 car6 985 1309,
car6_5 car6 1309 1621, car8_1 car8 1 453, car8_2 car8 453 859, car16_1 car16 1 139, car16_2 car16 139 665,
group1_1 group1 1 445, group1_2 group1 445 839, group1_3 group1 839 1309, group1_4 group1 1309 1625,
group2_1 group2 1 303, group2_2 group2 303 591, group2_3 group2 591 895, group3_1 group3 1 523,
group3_2 group3 523 943, group3_3 group3 943 1457, group3_4 group3 1457 1843, person2_1 person2 1 397,
person2_2 person2 397 875, person4_1 person4 1 501, person4_2 person4 501 915, person5_1 person5 1 293,
person5_2 person5 293 701, person7_1 person7 1 417, person7_2 person7 417 689, person8_1 person8 1 359,
person8_2 person8 359 509, person12_1 person12 1 201, person12_2 person12 201 541, person14_1 person14 1 283,
person14_2 person14 283 605, person14_3 person14 605 975, person17_1 person17 1 501,
person17_2 person17 501 783, person19_1 person19 1 415, person19_2 person19 415 931,
person19_3 person19 931 1453, truck4_1 truck4 1 193,
truck4_2 truck4 193 421, uav1_1 uav1 1 519, uav1_2 uav1 519 793, uav1_3 uav1 825 1157
"""
# The other sequences of UAV123, and how many frames they have at 30 frames a second.
UAV123_WHOLE = """
bike1 3085, bike2 553, bike3 433, boat1 901, boat2 799, boat3 901, boat4 553, boat5 505, boat6 805,
boat7 535, boat8 685, boat9 1399, building1 469, building2 577, building3 829, building4 787,
building5 481, car1_s 1475, car2 1321, car2_s 320, car3 1717, car3_s 1300, car4 1345, car4_s 830, car5 745,
car7 1033, car9 1879, car10 1405, car11 337, car12 499, car13 415, car14 1327, car15 469, car17 1057,
car18 1207, person1 799, person1_s 1600, person2_s 250, person3 643, person3_s 505, person6 901,
person9 661, person10 1021, person11 721, person13 883, person15 1339, person16 1147, person18 1393,
person20 1783, person21 487, person22 199, person23 397, truck1 463, truck2 385, truck3 535, uav2 133,
uav3 265, uav4 157, uav5 139, uav6 109, uav7 373, uav8 301, wakeboard1 421, wakeboard2 733, wakeboard3 823,
wakeboard4 697, wakeboard5 1675, wakeboard6 1165, wakeboard7 199, wakeboard8 1543, wakeboard9 355,
wakeboard10 469
"""


def boxes(count: int, first: int = 1) -> list[str]:
    """The n-th line of a sequence has x = n, so that cut and shifted truths are told apart."""
    return [f"{n},2,3,4" for n in range(first, first + count)]


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def images(folder: Path, count: int, name: str = "{:06d}.png", first: int = 1) -> None:
    """The image with the number n has the grey level n."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(first, first + count):
        assert cv2.imwrite(str(folder / name.format(n)), np.full((80, 900), n % 256, np.uint8))


def level(sequence: Sequence, index: int) -> int:
    return int(sequence.frames[index][0, 0, 0])


def left(sequence: Sequence) -> list[float]:
    assert sequence.truth_xywh is not None
    return sequence.truth_xywh[:, 0].tolist()


def otb100(root: Path) -> None:
    for name in ("Basketball", "Jogging"):
        images(root / name / "img", 3, "{:04d}.png")
    write(root / "Basketball" / "groundtruth_rect.txt", boxes(3))
    write(root / "Basketball" / "attrs.txt", ["IV, OCC ,DEF"])
    for target in (1, 2):
        write(root / "Jogging" / f"groundtruth_rect.{target}.txt", [f"{target}\t2\t3\t4"] * 3)


def uav123(root: Path, key: str = "UAV123") -> None:
    images(root / "data_seq" / key / "bike1", 5)
    images(root / "data_seq" / key / "bird1", 4, first=250)
    write(root / "anno" / key / "bike1.txt", ["1,2,3,4", "NaN,NaN,NaN,NaN", "3,2,3,4"])
    for number in (1, 2, 3):
        write(root / "anno" / key / f"bird1_{number}.txt", boxes(4))
    write(root / "anno" / key / "att" / "bike1.txt", ["1,0,0,0,0,0,1,0,0,0,0,1"])


def uav123_10fps(root: Path) -> None:
    uav123(root, "UAV123_10fps")


def uav20l(root: Path) -> None:
    images(root / "data_seq" / "UAV123" / "bike1", 5)
    write(root / "anno" / "UAV20L" / "bike1.txt", boxes(5))


def dtb70(root: Path) -> None:
    images(root / "Gull1" / "img", 3, "{:05d}.png")
    write(root / "Gull1" / "groundtruth_rect.txt", boxes(3))
    write(root / "anno" / "att" / "Gull1.txt", ["0,1,0,1,0,1,0,0,0,0,1"])


def uavdt(root: Path) -> None:
    images(root / "sequences" / "S0101", 3, "img{:06d}.png")
    write(root / "anno" / "S0101_gt.txt", boxes(3))
    write(root / "anno" / "att" / "S0101_att.txt", ["1,0,0,1,0,0,0,0,0"])


def visdrone(root: Path) -> None:
    images(root / "sequences" / "uav0000011_00000_s", 3, "img{:07d}.png")
    write(root / "annotations" / "uav0000011_00000_s.txt", boxes(3))
    write(root / "attributes" / "uav0000011_00000_s_attr.txt", ["0,0,1,0,0,0,0,0,0,0,0,1"])


def lasot(root: Path, names: tuple[str, ...] = ("airplane-1", "airplane-9", "zebra-2")) -> None:
    for name in names:
        folder = root / name.split("-")[0] / name
        images(folder / "img", 3, "{:08d}.png")
        write(folder / "groundtruth.txt", ["1,2,3,4", "0,0,0,0", "3,2,3,4"])
        write(folder / "full_occlusion.txt", ["0,1,0"])
        write(folder / "out_of_view.txt", ["0,0,1"])


def lasot_extension(root: Path) -> None:
    lasot(root, ("frisbee-1", "wingsuit-10"))


def got10k(root: Path, split: str = "val", count: int = 3, name: str = "GOT-10k_Val_000001") -> None:
    images(root / split / name, 3, "{:08d}.png")
    write(root / split / "list.txt", [name])
    write(root / split / name / "groundtruth.txt", boxes(count))
    if split != "test":
        write(root / split / name / "absence.label", ["0", "0", "1"])
        write(root / split / name / "cover.label", ["8", "0", "8"])
        about = [
            "[METAINFO]",
            "url: https://a.b/c%20d",
            "anno_fps: 12Hz",
            "object_class: boat",
            "motion_class: rowing",
        ]
        write(root / split / name / "meta_info.ini", about)


def trackingnet(root: Path) -> None:
    images(root / "TEST" / "frames" / "v0", 12, "{}.png", first=0)
    write(root / "TEST" / "anno" / "v0.txt", boxes(1))


def nfs(root: Path, rate: int, frames: int, rows: int) -> None:
    images(root / "ball" / str(rate) / "ball", frames, "{:05d}.png")
    lines = [f'0 {n} 20 {n + 30} 60 {n} 0 0 0 "a ball"' for n in range(1, rows + 1)]
    write(root / "ball" / str(rate) / "ball.txt", lines)


def nfs30(root: Path) -> None:
    nfs(root, 30, frames=3, rows=24)


def nfs240(root: Path) -> None:
    nfs(root, 240, frames=16, rows=15)


def vot(root: Path) -> None:
    images(root / "ants" / "color", 4, "{:08d}.png")
    write(root / "list.txt", ["ants"])
    write(root / "ants" / "groundtruth.txt", ["1,2,3,4", "0", "9,2,5,2,5,6,9,6", "m3,4,2,2,1,1"])
    write(root / "ants" / "sequence", ["channels.color=color/%08d.jpg", "fps=25", "name=ants"])
    write(root / "ants" / "anchor.value", ["1", "0", "-1", "0"])
    write(root / "ants" / "camera_motion.tag", ["0", "1", "0", "0"])
    write(root / "ants" / "occlusion.tag", ["0"] * 4)
    (root / "ants" / "size_change.tag").touch()


def folder(root: Path) -> None:
    images(root / "car", 3)
    write(root / "car" / "groundtruth.txt", boxes(3))


def annotations(root: Path) -> None:
    write(root / "car.txt", boxes(3))


MAKERS: dict[str, Callable[[Path], None]] = {
    maker.__name__: maker
    for maker in (
        otb100,
        uav123,
        uav123_10fps,
        uav20l,
        dtb70,
        uavdt,
        visdrone,
        lasot,
        lasot_extension,
        got10k,
        trackingnet,
        nfs30,
        nfs240,
        vot,
        folder,
        annotations,
    )
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(*formats: str) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        for format in formats:
            MAKERS[format](root)
        return root

    return make


class TestEveryLayout:
    @pytest.mark.parametrize("format", MAKERS)
    def test_it_is_recognised(self, make: Callable[..., Path], format: str):
        root = make(format)
        sequences = open_sequences(root)
        assert isinstance(sequences, Sequences)
        assert sequences.format == format
        assert sequences.names == open_sequences(root, format).names

    @pytest.mark.parametrize("format", MAKERS)
    def test_the_names_are_the_sequences_own(self, make: Callable[..., Path], format: str):
        sequences = open_sequences(make(format))
        if format.startswith("uav123"):
            sequences = sequences[:1]  # the parts have too few images
        assert tuple(sequence.name for sequence in sequences) == sequences.names

    @pytest.mark.parametrize(
        "format", sorted(set(MAKERS) - {"annotations", "vot", "otb100", "uav123", "uav123_10fps"})
    )
    def test_boxes_and_frames_belong_together(self, make: Callable[..., Path], format: str):
        sequence = open_sequences(make(format))[0]
        assert len(sequence.frames) == len(sequence.truth_xywh)
        assert left(sequence)[0] == 1
        assert sequence.visible[0]
        assert level(sequence, 0) == (0 if format == "trackingnet" else 1)
        assert level(sequence, 2) - level(sequence, 0) == 2

    @pytest.mark.parametrize("format", BENCHMARKS)
    def test_it_has_its_title(self, make: Callable[..., Path], format: str):
        assert open_sequences(make(format)).name == BENCHMARKS[format].title

    @pytest.mark.parametrize("format", [f for f in FORMATS if f != "video"])
    def test_an_empty_folder_is_refused(self, make: Callable[..., Path], format: str):
        root = make()
        with pytest.raises(SequenceError, match="holds no sequence that is recognised"):
            open_sequences(root)
        with pytest.raises(SequenceError, match=f"holds no sequence of the format {format}: "):
            open_sequences(root, format)

    @pytest.mark.parametrize("format", MAKERS)
    def test_another_process_can_have_it(self, make: Callable[..., Path], format: str):
        again = pickle.loads(pickle.dumps(open_sequences(make(format))))
        assert again[0].name == again.names[0]

    @pytest.mark.parametrize("format", sorted(set(BENCHMARKS) - {"uav123", "uav123_10fps"}))
    def test_too_few_boxes_are_an_error(self, make: Callable[..., Path], format: str):
        root = make(format)
        sequences = open_sequences(root)
        place = BENCHMARKS[format].find(root)[sequences.names[0]]
        path = place if place.is_file() else place / "groundtruth.txt"
        write(path, path.read_text().splitlines()[:1] * 9)
        with pytest.raises(SequenceError, match=r"has 9 lines for the \d+ frames"):
            sequences[0]


@pytest.mark.parametrize("format", ["otb100", "dtb70", "got10k", "vot", "folder"])
def test_a_single_sequence_can_be_given(make: Callable[..., Path], format: str):
    root = make(format)
    first = open_sequences(root)[0]
    place = BENCHMARKS[format].find(root)[first.name] if format in BENCHMARKS else root / "car"
    single = open_sequences(place.parent if place.is_file() else place)
    assert (single.names, single.format) == ((first.name,), format)
    np.testing.assert_array_equal(single[0].truth_xywh, first.truth_xywh)


def test_a_single_sequence_of_lasot(make: Callable[..., Path]):
    root = make("lasot")
    assert open_sequences(root / "airplane").names == ("airplane-1", "airplane-9")
    assert open_sequences(root / "airplane" / "airplane-1").names == ("airplane-1",)


class TestOtb100:
    def test_two_targets_are_two_sequences(self, make: Callable[..., Path]):
        sequences = open_sequences(make("otb100"))
        assert sequences.names == ("Basketball", "Jogging.1", "Jogging.2")
        assert left(sequences.named("Jogging.2")) == [2, 2, 2]
        assert len(sequences.named("Jogging.1").frames) == 3

    def test_an_empty_annotation_is_no_target(self, make: Callable[..., Path]):
        root = make("otb100")
        (root / "Jogging" / "groundtruth_rect.1.txt").write_text("")
        assert open_sequences(root).names == ("Basketball", "Jogging.2")

    def test_attributes_by_code(self, make: Callable[..., Path]):
        sequence = open_sequences(make("otb100"))[0]
        assert sequence.attributes == ("illumination variation", "occlusion", "deformation")

    def test_attributes_of_the_evaluation_tool(self, make: Callable[..., Path]):
        root = make("otb100")
        write(root / "anno" / "att" / "Jogging-2.txt", ["0,1,0,0,0,0,0,0,0,0,1"])
        sequences = open_sequences(root)
        assert sequences.named("Jogging.2").attributes == ("out-of-plane rotation", "low resolution")
        assert sequences.named("Jogging.1").attributes == ()

    @pytest.mark.parametrize("name, first, last", [("David", 300, 770), ("Football1", 1, 74)])
    def test_images_without_a_box_are_left_out(
        self, make: Callable[..., Path], name: str, first: int, last: int
    ):
        root = make()
        images(root / name / "img", last - first + 11, "{:04d}.png", first=max(1, first - 5))
        write(root / name / "groundtruth_rect.txt", boxes(last - first + 1, first))
        sequence = open_sequences(root)[0]
        assert len(sequence.frames) == last - first + 1
        assert level(sequence, 0) == left(sequence)[0] % 256 == first % 256
        assert level(sequence, -1) == left(sequence)[-1] % 256 == last % 256

    def test_images_may_begin_late(self, make: Callable[..., Path]):
        root = make()
        images(root / "BlurCar1" / "img", 3, "{:04d}.png", first=247)
        write(root / "BlurCar1" / "groundtruth_rect.txt", boxes(3, 247))
        sequence = open_sequences(root)[0]
        assert (level(sequence, 0), left(sequence)) == (247, [247, 248, 249])

    def test_tiger1_begins_where_it_is_seen(self, make: Callable[..., Path]):
        root = make()
        images(root / "Tiger1" / "img", 9, "{:04d}.png")
        write(root / "Tiger1" / "groundtruth_rect.txt", boxes(9))
        sequence = open_sequences(root)[0]
        assert (level(sequence, 0), left(sequence)) == (6, [6, 7, 8, 9])
        assert sequence.parent == ""

    def test_other_numbers_of_boxes_are_an_error(self, make: Callable[..., Path]):
        root = make("otb100")
        images(root / "Basketball" / "img", 5, "{:04d}.png")
        with pytest.raises(SequenceError, match="has 3 lines for the 5 frames"):
            open_sequences(root)[0]

    def test_a_sequence_without_boxes_is_named(self, make: Callable[..., Path]):
        root = make("otb100")
        (root / "Basketball" / "groundtruth_rect.txt").unlink()
        with pytest.raises(
            SequenceError, match=r"OTB100 needs .*Basketball/groundtruth_rect\.txt: the true boxes"
        ):
            open_sequences(root)


class TestUav123:
    def test_the_table_is_the_benchmarks_own(self):
        rows = [row.split() for row in UAV123_10FPS.replace("\n", " ").split(",")]
        assert parts(3) == {name: (folder, int(first), int(last)) for name, folder, first, last in rows}
        assert list(parts()) == list(parts(3))

    def test_it_is_complete(self):
        """With the sequences that have a folder of their own: 123, and all frames of the benchmark."""
        whole = [int(row.split()[1]) for row in UAV123_WHOLE.replace("\n", " ").split(",")]
        assert len(whole) + len(parts()) == 123
        for every, frames in ((1, 112_578), (3, 37_607)):
            of_parts = sum(last - first + 1 for _, first, last in parts(every).values())
            assert of_parts + sum((count - 1) // every + 1 for count in whole) == frames

    def test_parts_follow_each_other(self):
        before = {}
        for name, (folder, first, last) in parts().items():
            assert name.rsplit("_", 1)[0] == folder
            assert 1 <= first < last
            assert first >= before.get(folder, 1)
            before[folder] = last

    def test_a_part_has_its_own_frames(self, make: Callable[..., Path]):
        root = make()
        images(root / "data_seq" / "UAV123_10fps" / "truck4", 430)
        write(root / "anno" / "UAV123_10fps" / "truck4_1.txt", boxes(193))
        write(root / "anno" / "UAV123_10fps" / "truck4_2.txt", boxes(229, 193))
        sequences = open_sequences(root)
        assert sequences.names == ("truck4_1", "truck4_2")
        second = sequences[1]
        assert (len(second.frames), level(second, 0), level(second, -1)) == (229, 193, 421 % 256)
        assert left(second)[0] == 193

    def test_a_whole_one_is_as_long_as_its_annotation(self, make: Callable[..., Path]):
        sequence = open_sequences(make("uav123")).named("bike1")
        assert [level(sequence, n) for n in range(len(sequence.frames))] == [1, 2, 3]
        assert sequence.visible.tolist() == [True, False, True]

    def test_attributes_and_rates(self, make: Callable[..., Path], tmp_path: Path):
        sequence = open_sequences(make("uav123")).named("bike1")
        assert sequence.attributes == ("scale variation", "out of view", "similar object")
        assert sequence.rate_hz == 30
        uav123_10fps(tmp_path / "slow")
        assert open_sequences(tmp_path / "slow").named("bike1").rate_hz == 10

    def test_other_numbers_of_boxes_are_an_error(self, make: Callable[..., Path]):
        root = make("uav123")
        write(root / "anno" / "UAV123" / "bird1_1.txt", boxes(3))
        with pytest.raises(SequenceError, match=r"bird1_1\.txt has 3 lines for the 4 frames"):
            open_sequences(root).named("bird1_1")
        with pytest.raises(SequenceError, match="bird1 has none of the images 775 to 1477 of bird1_2"):
            open_sequences(root).named("bird1_2")
        write(root / "anno" / "UAV123" / "bike1.txt", boxes(6))
        with pytest.raises(SequenceError, match=r"bike1\.txt has 6 lines for the 5 frames"):
            open_sequences(root).named("bike1")

    @pytest.mark.parametrize("name", ["bike1", "bird1_2"])
    def test_a_missing_annotation_is_named(self, make: Callable[..., Path], name: str):
        root = make("uav123")
        (root / "anno" / "UAV123" / f"{name}.txt").unlink()
        with pytest.raises(
            SequenceError, match=rf"UAV123 needs .*anno/UAV123/{name}\.txt: the true boxes of {name}"
        ):
            open_sequences(root)

    def test_a_missing_folder_of_images_is_named(self, make: Callable[..., Path]):
        root = make("uav123")
        shutil.rmtree(root / "data_seq" / "UAV123" / "bike1")
        sequences = open_sequences(root)
        with pytest.raises(SequenceError, match="UAV123 needs .*data_seq/UAV123/bike1: the images of bike1"):
            sequences.named("bike1")

    def test_uav20l_has_whole_folders_of_uav123(self, make: Callable[..., Path]):
        root = make("uav20l")
        images(root / "data_seq" / "UAV123" / "bike2", 1)
        sequences = open_sequences(root)
        assert sequences.names == ("bike1",)
        assert len(sequences[0].frames) == 5

    def test_attributes_of_another_number_are_left_out(self, make: Callable[..., Path]):
        root = make("uav123")
        write(root / "anno" / "UAV123" / "att" / "bike1.txt", ["1,0,1"])
        with pytest.warns(UserWarning, match=r"bike1\.txt has 3 numbers for 12 attributes: left out"):
            assert open_sequences(root).named("bike1").attributes == ()


class TestOtherDrones:
    def test_attributes(self, make: Callable[..., Path], tmp_path: Path):
        for maker in (dtb70, uavdt, visdrone):
            maker(tmp_path / maker.__name__)
        read = {
            name: open_sequences(tmp_path / name)[0].attributes for name in ("dtb70", "uavdt", "visdrone")
        }
        assert read == {
            "dtb70": ("aspect ratio variation", "deformation", "in-plane rotation", "motion blur"),
            "uavdt": ("background clutter", "small object"),
            "visdrone": ("camera motion", "viewpoint change"),
        }

    def test_uavdt_as_it_is_downloaded(self, make: Callable[..., Path]):
        root = make()
        images(root / "UAV-benchmark-S" / "S0101", 2, "img{:06d}.png")
        write(root / "UAV-benchmark-SOT_v1.0" / "anno" / "S0101_gt.txt", boxes(2))
        assert open_sequences(root).format == "uavdt"
        assert len(open_sequences(root)[0].frames) == 2

    def test_uavdt_with_the_folders_of_visdrone(self, make: Callable[..., Path]):
        root = make("uavdt")
        (root / "anno").rename(root / "annotations")
        assert open_sequences(root).format == "uavdt"
        assert open_sequences(root)[0].attributes == ("background clutter", "small object")

    @pytest.mark.parametrize(
        "format, path", [("visdrone", "annotations/new.txt"), ("trackingnet", "TEST/anno/new.txt")]
    )
    def test_images_without_boxes_are_named(self, make: Callable[..., Path], format: str, path: str):
        root = make(format)
        images(root / ("sequences" if format == "visdrone" else "TEST/frames") / "new", 1)
        with pytest.raises(
            SequenceError, match=f"{BENCHMARKS[format].title} needs .*{path}: the true boxes of new"
        ):
            open_sequences(root)

    @pytest.mark.parametrize("format", ["uavdt", "visdrone", "trackingnet", "nfs30"])
    def test_boxes_without_images_are_named(self, make: Callable[..., Path], format: str):
        root = make(format)
        name = open_sequences(root).names[0]
        for folder in [path for path in root.rglob(name) if path.is_dir() and any(path.glob("*.png"))]:
            shutil.rmtree(folder)
        with pytest.raises(SequenceError, match=rf"needs .*{name}: the images of {name}"):
            open_sequences(root)[0]


class TestLasot:
    def test_where_the_target_is_not_present(self, make: Callable[..., Path]):
        sequence = open_sequences(make("lasot"))[0]
        assert sequence.present.tolist() == [True, False, False]
        assert sequence.visible.tolist() == [True, False, False]
        assert sequence.rate_hz == 30

    def test_the_test_set_alone_if_it_is_listed(self, make: Callable[..., Path]):
        root = make("lasot")
        assert open_sequences(root).names == ("airplane-1", "airplane-9", "zebra-2")
        write(root / "testing_set.txt", ["airplane-9", "zebra-2", "not-there-1"])
        assert open_sequences(root).names == ("airplane-9", "zebra-2")

    def test_a_flat_folder(self, make: Callable[..., Path]):
        root = make("lasot")
        for place in list(root.glob("*/*")):
            place.rename(root / place.name)
        assert open_sequences(root).names == ("airplane-1", "airplane-9", "zebra-2")

    def test_both_halves_in_one_folder(self, make: Callable[..., Path]):
        root = make("lasot", "lasot_extension")
        with pytest.raises(
            SequenceError, match="could be LaSOT and LaSOT extension: say which with --format lasot "
        ):
            open_sequences(root)
        assert open_sequences(root, "lasot_extension").names == ("frisbee-1", "wingsuit-10")
        assert "zebra-2" in open_sequences(root, "lasot").names

    def test_attributes(self, make: Callable[..., Path]):
        root = make("lasot")
        write(root / "att" / "zebra-2.txt", ["1,0,0,0,0,0,0,0,0,0,0,0,0,1"])
        attributes = open_sequences(root).named("zebra-2").attributes
        assert attributes == ("illumination variation", "aspect ratio change")

    def test_boxes_must_be_there(self, make: Callable[..., Path]):
        root = make("lasot")
        (root / "airplane" / "airplane-9" / "groundtruth.txt").unlink()
        with pytest.raises(
            SequenceError, match=r"LaSOT needs .*airplane-9/groundtruth\.txt: the true boxes of airp"
        ):
            open_sequences(root)

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_as_many_as_frames(self, make: Callable[..., Path], count: int):
        root = make("lasot")
        write(root / "airplane" / "airplane-1" / "groundtruth.txt", boxes(count))
        with pytest.raises(SequenceError, match=f"has {count} lines for the 3 frames"):
            open_sequences(root)[0]

    def test_labels_must_be_as_many_as_frames(self, make: Callable[..., Path]):
        root = make("lasot")
        write(root / "airplane" / "airplane-1" / "out_of_view.txt", ["0,0"])
        with pytest.raises(SequenceError, match=r"out_of_view\.txt has 2 labels for 3 frames"):
            open_sequences(root)[0]


class TestGot10k:
    def test_where_the_target_is_not_present(self, make: Callable[..., Path]):
        sequence = open_sequences(make("got10k"))[0]
        assert sequence.present.tolist() == [True, False, False]

    def test_what_it_says_of_itself(self, make: Callable[..., Path]):
        sequence = open_sequences(make("got10k"))[0]
        assert sequence.attributes == ("class boat", "motion rowing")
        assert sequence.rate_hz == 12

    def test_of_the_test_set_the_first_box_is_known(self, make: Callable[..., Path]):
        root = make()
        got10k(root, "test", 1, "GOT-10k_Test_000001")
        sequence = open_sequences(root)[0]
        assert sequence.visible.tolist() == [True, False, False]
        assert np.isnan(sequence.truth_xywh[1:]).all()
        assert (sequence.present, sequence.rate_hz) == (None, 10)

    def test_one_split_at_a_time(self, make: Callable[..., Path]):
        root = make("got10k")
        got10k(root, "test", 1, "GOT-10k_Test_000001")
        with pytest.raises(
            SequenceError, match="holds the splits val, test of GOT-10k: give the folder of one"
        ):
            open_sequences(root)
        assert open_sequences(root / "test").names == ("GOT-10k_Test_000001",)

    def test_without_a_list_the_folders_count(self, make: Callable[..., Path]):
        root = make("got10k")
        (root / "val" / "list.txt").unlink()
        assert open_sequences(root).names == ("GOT-10k_Val_000001",)

    def test_what_is_listed_must_be_there(self, make: Callable[..., Path]):
        root = make("got10k")
        write(root / "val" / "list.txt", ["GOT-10k_Val_000001", "GOT-10k_Val_000002"])
        with pytest.raises(
            SequenceError, match=r"GOT-10k needs .*Val_000002/groundtruth\.txt: .*list\.txt names it"
        ):
            open_sequences(root)

    def test_a_bad_description_is_named(self, make: Callable[..., Path]):
        root = make("got10k")
        write(root / "val" / "GOT-10k_Val_000001" / "meta_info.ini", ["object_class: boat"])
        with pytest.raises(SequenceError, match=r"meta_info\.ini must be key: value lines"):
            open_sequences(root)[0]


class TestTrackingNet:
    def test_frames_are_ordered_by_number_from_0(self, make: Callable[..., Path]):
        sequence = open_sequences(make("trackingnet"))[0]
        assert [level(sequence, n) for n in (0, 1, 2, 10, 11)] == [0, 1, 2, 10, 11]
        assert sequence.visible.tolist() == [True] + [False] * 11

    def test_chunks_of_the_training_set_are_one(self, make: Callable[..., Path]):
        root = make()
        for chunk, name in (("TRAIN_0", "b"), ("TRAIN_1", "a")):
            images(root / chunk / "frames" / name, 2, "{}.png", first=0)
            write(root / chunk / "anno" / f"{name}.txt", boxes(2))
        assert open_sequences(root).names == ("b", "a")
        assert open_sequences(root / "TRAIN_1").names == ("a",)
        trackingnet(root)
        with pytest.raises(
            SequenceError, match="holds training and test set of TrackingNet: give the folder of one"
        ):
            open_sequences(root)


class TestNfs:
    def test_boxes_of_the_fast_camera_are_thinned_out(self, make: Callable[..., Path]):
        sequence = open_sequences(make("nfs30"))[0]
        assert sequence.rate_hz == 30
        assert sequence.truth_xywh.tolist() == [[n, 20, 30, 40] for n in (1, 9, 17)]

    def test_one_box_too_few_is_known(self, make: Callable[..., Path]):
        sequence = open_sequences(make("nfs240"))[0]
        assert (len(sequence.frames), sequence.rate_hz) == (15, 240)

    def test_boxes_of_the_slow_camera(self, make: Callable[..., Path]):
        root = make()
        nfs(root, 30, frames=3, rows=4)
        assert left(open_sequences(root)[0]) == [1, 2, 3]

    def test_a_single_sequence_can_be_given(self, make: Callable[..., Path]):
        assert open_sequences(make("nfs30") / "ball").names == ("ball",)

    def test_both_rates_in_one_folder(self, make: Callable[..., Path]):
        root = make("nfs30", "nfs240")
        with pytest.raises(
            SequenceError, match="could be Need for Speed .* --format nfs30 or --format nfs240"
        ):
            open_sequences(root)
        assert len(open_sequences(root, "nfs240")[0].frames) == 15

    def test_a_missing_annotation_is_named(self, make: Callable[..., Path]):
        root = make("nfs30")
        (root / "ball" / "30" / "ball.txt").unlink()
        with pytest.raises(SequenceError, match=r"needs .*ball/30/ball\.txt: the true boxes of ball"):
            open_sequences(root)


class TestVot:
    def test_regions_become_boxes(self, make: Callable[..., Path]):
        sequence = open_sequences(make("vot"))[0]
        np.testing.assert_array_equal(
            sequence.truth_xywh, [[1, 2, 3, 4], [np.nan] * 4, [5, 2, 4, 4], [4, 4, 1, 1]]
        )

    def test_rate_tags_and_anchors(self, make: Callable[..., Path]):
        sequence = open_sequences(make("vot"))[0]
        assert sequence.rate_hz == 25
        assert sequence.attributes == ("camera motion",)
        assert sequence.anchors == (0, -2)

    def test_backwards_from_the_first_frame_there_is_nothing(self, make: Callable[..., Path]):
        root = make("vot")
        write(root / "ants" / "anchor.value", ["-1.0", "0.0", "1.0", "-1.0"])
        assert open_sequences(root)[0].anchors == (2, -3)

    def test_older_years_keep_images_beside_the_annotation(self, make: Callable[..., Path]):
        root = make("vot")
        for path in (root / "ants" / "color").iterdir():
            path.rename(root / "ants" / path.name)
        (root / "ants" / "color").rmdir()
        (root / "ants" / "sequence").unlink()
        sequences = open_sequences(root)
        assert sequences.format == "vot"
        assert (len(sequences[0].frames), sequences[0].rate_hz) == (4, None)

    def test_without_a_list_the_folders_count(self, make: Callable[..., Path]):
        root = make("vot")
        (root / "list.txt").unlink()
        assert open_sequences(root).format == "vot"

    def test_what_is_listed_must_be_there(self, make: Callable[..., Path]):
        root = make("vot")
        write(root / "list.txt", ["ants", "bolt"])
        with pytest.raises(SequenceError, match=r"VOT needs .*bolt/groundtruth\.txt: .*list\.txt names it"):
            open_sequences(root)


class TestRecognition:
    @pytest.mark.parametrize(
        "formats, titles",
        [
            (("uav123", "uav20l"), "UAV123 and UAV20L"),
            (("uav123", "uav123_10fps"), "UAV123 and UAV123@10fps"),
            (("otb100", "lasot"), "OTB100 and LaSOT"),
            (("otb100", "dtb70"), "OTB100 and DTB70"),
            (("uavdt", "nfs240"), r"UAVDT and Need for Speed \(240 frames/s\)"),
        ],
    )
    def test_two_benchmarks_in_one_folder_are_named(
        self, make: Callable[..., Path], formats: tuple[str, str], titles: str
    ):
        root = make(*formats)
        with pytest.raises(SequenceError, match=f"could be {titles}: say which with --format"):
            open_sequences(root)
        for format in formats:
            assert open_sequences(root, format).format == format

    def test_the_format_overrules(self, make: Callable[..., Path]):
        root = make("otb100")
        assert open_sequences(root, "dtb70").name == "DTB70"
        assert open_sequences(root, "dtb70").names == open_sequences(root).names
        with pytest.raises(
            SequenceError, match="holds no sequence of the format uav123: anno/UAV123/NAME.txt and"
        ):
            open_sequences(root, "uav123")

    def test_an_unknown_format_is_refused(self, make: Callable[..., Path]):
        with pytest.raises(
            SequenceError, match="there is no format 'otb': it must be auto, otb100, uav123, "
        ):
            open_sequences(make("otb100"), "otb")

    @pytest.mark.parametrize("format", sorted(set(MAKERS) - {"annotations"}))
    def test_no_image_is_opened(
        self, make: Callable[..., Path], format: str, monkeypatch: pytest.MonkeyPatch
    ):
        root = make(format)
        for path in root.rglob("*.png"):
            path.write_bytes(b"no image")
        assert open_sequences(root).format == format

    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(SequenceError, match="nowhere does not exist: give a folder of sequences"):
            open_sequences(tmp_path / "nowhere")

    def test_annotations_have_no_images(self, make: Callable[..., Path]):
        sequence = open_sequences(make("annotations"))[0]
        assert (len(sequence.frames), left(sequence)) == (3, [1, 2, 3])
        with pytest.raises(SequenceError, match=r"car\.txt has no images beside it: car"):
            sequence.frames[0]

    def test_a_video(self, tmp_path: Path):
        with VideoWriter(tmp_path / "flight.mp4", 25.0) as video:
            for _ in range(3):
                video.write(np.zeros((48, 64, 3), np.uint8))
        write(tmp_path / "flight.txt", boxes(3))
        sequences = open_sequences(tmp_path / "flight.mp4")
        assert (sequences.format, sequences.names, sequences.name) == ("video", ("flight",), "flight")
        assert left(sequences[0]) == [1, 2, 3]

    def test_a_bag_or_a_folder_of_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """What is in a bag is another matter: the file is empty."""
        write(tmp_path / "day" / "second" / "metadata.yaml", [""])
        (tmp_path / "day" / "first.mcap").touch()
        assert open_sequences(tmp_path / "day" / "first.mcap").names == ("first",)
        assert open_sequences(tmp_path / "day" / "second").format == "bag"
        assert open_sequences(tmp_path / "day").names == ("first", "second")
        with pytest.raises(SequenceError, match="first"):
            open_sequences(tmp_path / "day")[0]


@pytest.mark.skipif(not SHARED.exists(), reason=f"there is no real data at {SHARED}")
class TestRealData:
    def test_real_sequences(self, recwarn: pytest.WarningsRecorder):
        sequences = open_sequences(SHARED / "eval")
        assert (sequences.format, len(sequences)) == ("folder", 17)
        opened = list(sequences)
        assert [len(s.frames) for s in opened if s.name == "uav123_car14"] == [120]
        assert all(sequence.visible[0] for sequence in opened)
        assert not recwarn.list  # no true box lies outside its image

    def test_published_annotations(self):
        sequences = open_sequences(SHARED / "results" / "DTB70_annotations")
        assert (sequences.format, len(sequences)) == ("annotations", 70)
        assert sum(len(sequence.frames) for sequence in sequences) > 10_000
        np.testing.assert_array_equal(sequences.named("Gull2").truth_xywh[0], [666, 12, 29, 24])


@pytest.mark.parametrize("name", ["../other", "/etc", "..", "x" * 5000, "a\0b"])
def test_a_list_does_not_lead_elsewhere(tmp_path: Path, name: str) -> None:
    """Bug: long names and zeros came through as errors of the system."""
    write(tmp_path / "root" / "list.txt", [name])
    images(tmp_path / "other" / "color", 2)
    write(tmp_path / "other" / "groundtruth.txt", boxes(2))
    with pytest.raises(SequenceError, match=r"list\.txt lists .*: each line must be the name of a folder"):
        open_sequences(tmp_path / "root")


@pytest.mark.parametrize("rate", [".", "1.2.3", "0", "1000000"])
def test_a_rate_that_is_none_is_named(tmp_path: Path, rate: str) -> None:
    images(tmp_path / "a" / "color", 2)
    write(tmp_path / "a" / "groundtruth.txt", boxes(2))
    write(tmp_path / "a" / "sequence", [f"fps={rate}"])
    with pytest.raises(SequenceError, match=f"sequence has the rate '{rate}': it must be above 0"):
        open_sequences(tmp_path, "vot")[0]
