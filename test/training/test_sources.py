"""Data sets on disk: which of their frames are for training, what a missing piece gets, and the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from training_samples import write_source

from training.data import sources
from training.data.footage import Files, Footage
from training.data.index import Index, Track, texts
from training.data.sources import read_sources

REAL = Path(__file__).parents[2] / "../shared/data/train"
BOXES = [(10, 20, 30, 40), (11, 20, 30, 40), (12, 20, 0, 40), (13, 20, 30, 40)]  # the third is empty
WITHOUT_THIRD = [True, True, False, True]


def sequence(images: Path, truth: Path, first: int = 1, digits: int = 8, prefix: str = "") -> None:
    """Four frames; the images are empty files, as reading footage opens none."""
    images.mkdir(parents=True, exist_ok=True)
    truth.parent.mkdir(parents=True, exist_ok=True)
    truth.write_text("\n".join(",".join(map(str, box)) for box in BOXES) + "\n")
    for number in range(first, first + len(BOXES)):
        (images / f"{prefix}{number:0{digits}d}.jpg").touch()


def got10k(root: Path, names: Sequence[str] = ("GOT-10k_Train_000001", "GOT-10k_Train_000002")) -> Path:
    for split in ("train", "val", "test"):
        for name in names:
            place = root / split / name.replace("Train", split.capitalize())
            sequence(place, place / "groundtruth.txt")
            (place / "absence.label").write_text("0\n1\n0\n0\n")
            (place / "cover.label").write_text("8\n8\n8\n0\n")
        (root / split / "list.txt").write_text("\n".join(sorted(os.listdir(root / split))))
    return root


def lasot(root: Path) -> Path:
    for name in ("boat-1", "boat-2", "car-7"):
        place = root / name.split("-")[0] / name
        sequence(place / "img", place / "groundtruth.txt")
        (place / "full_occlusion.txt").write_text("1,0,0,0\n")
        (place / "out_of_view.txt").write_text("0,0,0,1\n")
    (root / "testing_set.txt").write_text("boat-2\n")
    return root


def trackingnet(root: Path) -> Path:
    for chunk, name in (("TRAIN_0", "a_0"), ("TRAIN_1", "b_0"), ("TEST", "c_0")):
        sequence(root / chunk / "frames" / name, root / chunk / "anno" / f"{name}.txt", 0, 1)
    return root


def visdrone(root: Path) -> Path:
    for name in ("uav1", "uav2"):
        sequence(root / "sequences" / name, root / "annotations" / f"{name}.txt", 1, 7, "img")
    return root


def own_folders(root: Path) -> Path:
    for name in ("one", "two"):
        sequence(root / name, root / name / "groundtruth.txt", digits=4)
    return root


def coco(root: Path) -> Path:
    images = root / "images" / "train2017"
    images.mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in (1, 2):
        (images / f"{number:012d}.jpg").touch()
    boxes = [(1, [5, 6, 51, 60.5], 0), (1, [5, 6, 50, 60], 0), (2, [7, 8, 90, 80], 1), (2, [0, 0, 70, 80], 0)]
    content = {
        "images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in (1, 2)],
        "annotations": [
            {"id": 10 + row, "image_id": image, "bbox": box, "iscrowd": crowd}
            for row, (image, box, crowd) in enumerate(boxes)
        ],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    (root / "annotations" / "instances_val2017.json").write_text("not read")
    return root


LAYOUTS = {
    "got10k": got10k,
    "lasot": lasot,
    "trackingnet": trackingnet,
    "visdrone": visdrone,
    "folders": own_folders,
    "coco": coco,
    "squares": write_source,
}


def read(folder: Path, cache: Path | None = None) -> dict[str, Footage]:
    return {item.name: item for item in read_sources(folder.parent, [folder.name], cache)}


@pytest.mark.parametrize(
    ("layout", "name", "names", "first_image", "visible"),
    [
        (
            got10k,
            "GOT-10k_Train_000001",
            ["GOT-10k_Train_000001", "GOT-10k_Train_000002"],
            "train/GOT-10k_Train_000001/00000001.jpg",
            [True, False, False, False],
        ),
        (lasot, "boat-1", ["boat-1", "car-7"], "boat/boat-1/img/00000001.jpg", [False, True, False, False]),
        (trackingnet, "b_0", ["a_0", "b_0"], "TRAIN_1/frames/b_0/0.jpg", WITHOUT_THIRD),
        (visdrone, "uav2", ["uav1", "uav2"], "sequences/uav2/img0000001.jpg", WITHOUT_THIRD),
        (own_folders, "one", ["one", "two"], "one/0001.jpg", WITHOUT_THIRD),
    ],
)
def test_tracking_sets_give_their_training_part_with_what_is_visible(
    tmp_path: Path, layout: Callable, name: str, names: list[str], first_image: str, visible: list[bool]
) -> None:
    found = read(layout(tmp_path / "data"))
    assert list(found) == names
    item = found[name]
    assert item.source == "data" and item.is_video and not item.spaced and len(item) == 4
    assert item.images[0] == tmp_path / "data" / first_image and all(path.exists() for path in item.images)
    assert item.visible.tolist() == visible
    assert item.boxes_xywh.dtype == np.float64 and (item.boxes_xywh == BOXES).all()
    assert item.shot(1) == (item.images[1], BOXES[1])


def test_a_nan_box_is_not_visible(tmp_path: Path) -> None:
    folder = own_folders(tmp_path / "data")
    (folder / "one" / "groundtruth.txt").write_text("1,2,3,4\nnan,nan,nan,nan\n1,2,3,4\n1,2,3,4\n")
    assert read(folder)["one"].visible.tolist() == [True, False, True, True]


@pytest.mark.parametrize("part", ["got10k/train", "trackingnet/TRAIN_0"])
def test_a_part_of_a_data_set_can_be_a_source(tmp_path: Path, part: str) -> None:
    LAYOUTS[part.split("/")[0]](tmp_path / part.split("/")[0])
    found = read_sources(tmp_path, [part])
    assert found and {item.source for item in found} == {part}


def test_coco_gives_large_objects_as_stills(tmp_path: Path) -> None:
    found = read(coco(tmp_path / "coco"))
    assert list(found) == ["train2017/10", "train2017/13"]
    item = found["train2017/10"]
    assert not item.is_video and item.visible.all()
    assert item.shot(0) == (tmp_path / "coco/images/train2017/000000000001.jpg", (5.0, 6.0, 51.0, 60.5))


def test_annotations_give_tracks_and_stills_without_tiny_boxes(tmp_path: Path) -> None:
    folder = write_source(tmp_path / "squares")
    with (folder / "annotations.csv").open("a") as file:
        file.write("0_0.png,1,2,7.9,30,tiny,\n0_0.png,1,2,nan,30,hidden,track1\n")
    found = read(folder)
    assert [len(item) for item in found.values()] == [1, 1, 1, 1, 4, 4]
    assert found["track1"].spaced and found["track1"].visible.all()
    assert found["track2"].shot(3) == (folder / "2_3.png", (70.0, 60.0, 30.0, 24.0))


def test_all_sources_are_read_if_none_is_named(tmp_path: Path) -> None:
    for name, layout in LAYOUTS.items():
        layout(tmp_path / name)
    assert {item.source for item in read_sources(tmp_path)} == set(LAYOUTS)
    assert [item.source for item in read_sources(tmp_path, ["visdrone", "lasot"])] == ["visdrone"] * 2 + [
        "lasot"
    ] * 2


def test_listed_sequences_are_left_out(tmp_path: Path) -> None:
    folder = got10k(tmp_path / "got10k")
    (folder / "exclude.txt").write_text("GOT-10k_Train_000001\nGOT-10k_Train_009999\n")
    assert list(read(folder)) == ["GOT-10k_Train_000002"]


def test_many_sequences_are_read_by_several_processes_in_their_order(tmp_path: Path) -> None:
    names = [f"v{number:03d}" for number in range(120)]
    for name in names:
        sequence(tmp_path / "data" / name, tmp_path / "data" / name / "groundtruth.txt")
    assert list(read(tmp_path / "data")) == names


@pytest.mark.parametrize(
    ("layout", "piece", "text"),
    [
        (
            got10k,
            "train/GOT-10k_Train_000002/absence.label",
            "needs .*absence.label: 0 or 1 a line for each frame",
        ),
        (
            got10k,
            "train/GOT-10k_Train_000002/cover.label",
            "needs .*cover.label: 0 to 8 a line for each frame",
        ),
        (got10k, "train/GOT-10k_Train_000002/groundtruth.txt", "GOT-10k needs .*000002/groundtruth.txt"),
        (got10k, "train/GOT-10k_Train_000001/00000003.jpg", "has 4 labels for 3 frames"),
        (lasot, "testing_set.txt", "LaSOT needs .*testing_set.txt: the names of its test sequences"),
        (
            lasot,
            "boat/boat-1/out_of_view.txt",
            "LaSOT needs .*out_of_view.txt: 0 or 1 for each frame, separated",
        ),
        (lasot, "boat/boat-2/groundtruth.txt", "LaSOT needs .*boat-2/groundtruth.txt: the true boxes"),
        (trackingnet, "TRAIN_1/anno/b_0.txt", "TrackingNet needs .*b_0.txt: the true boxes"),
        (
            trackingnet,
            "TRAIN_0/frames",
            r"TrackingNet needs .*TRAIN_0/anno/NAME.txt: and .*TRAIN_0/frames/NAME",
        ),
        (
            trackingnet,
            "TRAIN_0/frames/a_0",
            r"1 of 2 sequences .*exclude.txt, .* needs .*frames/a_0: the images",
        ),
        (visdrone, "annotations/uav1.txt", "VisDrone-SOT needs .*annotations/uav1.txt"),
        (own_folders, "two/groundtruth.txt", "needs .*two/groundtruth.txt: x,y,w,h a line"),
        (coco, "images", "COCO needs .*images/train2017: the folder of the images"),
        (coco, "images/train2017/000000000002.jpg", "COCO needs .*000000000002.jpg: .* names it"),
        (
            coco,
            "annotations",
            "data is no data set that is known: it must hold annotations.csv .* or annotations/inst",
        ),
    ],
)
def test_a_missing_piece_is_named(tmp_path: Path, layout: Callable, piece: str, text: str) -> None:
    folder = layout(tmp_path / "data")
    os.rename(folder / piece, tmp_path / "away")
    with pytest.raises(ValueError, match=text):
        read(folder)


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"got10k does not exist: a data set is a folder with annotations.csv"
    ):
        read_sources(tmp_path, ["got10k"])
    with pytest.raises(FileNotFoundError, match="holds no data set"):
        read_sources(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("image,x,y\n", r"the header is \['image', 'x', 'y'\]; accepted is \['image', 'x'"),
        ("image,x,y,w,h,label,track\na.png,1,2,wide,4,,\n", "annotations.csv, line 2: .*'wide'"),
        ("image,x,y,w,h,label,track\na.png,1,2,3\n", "annotations.csv, line 2: "),
    ],
)
def test_wrong_annotations_are_named(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "annotations.csv").write_text(content)
    with pytest.raises(ValueError, match=text):
        read(tmp_path / "data")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"images": []}', '{"images": [], "annotations": [{"id": 1}]}']
)
def test_a_wrong_instances_file_is_named(tmp_path: Path, content: str) -> None:
    folder = coco(tmp_path / "coco")
    (folder / "annotations" / "instances_train2017.json").write_text(content)
    with pytest.raises(
        ValueError, match=r"instances_train2017.json is no instances file of COCO .*it must hold"
    ):
        read(folder)


def same(one: dict[str, Footage], two: dict[str, Footage]) -> bool:
    return list(one) == list(two) and all(
        list(a.images) == list(b.images)
        and np.array_equal(a.boxes_xywh, b.boxes_xywh)
        and np.array_equal(a.visible, b.visible)
        and (a.source, a.spaced) == (b.source, b.spaced)
        for a, b in zip(one.values(), two.values(), strict=True)
    )


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the data sets that were read instead of taken from the cache."""
    names: list[str] = []
    plan = sources._plan
    monkeypatch.setattr(sources, "_plan", lambda folder: (names.append(folder.name), plan(folder))[1])
    return names


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_cache_gives_what_reading_gave(tmp_path: Path, name: str, readings: list[str]) -> None:
    folder, cache = LAYOUTS[name](tmp_path / name), tmp_path / "cache"
    first, again = read(folder, cache), read(folder, cache)
    assert readings == [name]
    assert same(first, again) and same(first, read(folder))


@pytest.mark.parametrize(
    ("layout", "change"),
    [
        (got10k, "train/GOT-10k_Train_000002/groundtruth.txt"),
        (got10k, "train/list.txt"),
        (got10k, "train/new"),
        (got10k, "exclude.txt"),
        (lasot, "testing_set.txt"),
        (lasot, "car/new"),
        (trackingnet, "TRAIN_1/anno/b_0.txt"),
        (visdrone, "annotations/new.txt"),
        (own_folders, "one/groundtruth.txt"),
        (coco, "annotations/instances_train2017.json"),
        (write_source, "annotations.csv"),
    ],
)
def test_a_changed_data_set_is_read_again(
    tmp_path: Path, layout: Callable, change: str, readings: list[str]
) -> None:
    folder, cache = layout(tmp_path / "data"), tmp_path / "cache"
    read(folder, cache)
    path = folder / change
    if path.exists():
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    else:
        os.utime(path.parent, ns=(0, 0))
        path.write_text("")
    try:
        read(folder, cache)
    except ValueError:
        assert change.endswith("new.txt")  # boxes without images
    assert readings == ["data", "data"]


def test_data_sets_of_one_name_have_caches_of_their_own(tmp_path: Path, readings: list[str]) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        for parent in ("a", "b"):
            folder = tmp_path / parent / "data"
            found = read(folder if folder.exists() else own_folders(folder), cache)
            assert found["one"].images[0].is_relative_to(folder)
    assert readings == ["data", "data"]


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, damage: str, readings: list[str]) -> None:
    folder, cache = own_folders(tmp_path / "data"), tmp_path / "cache"
    first = read(folder, cache)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    boxes = content.index(first["one"].boxes_xywh.tobytes())
    flipped = content[:boxes] + bytes([content[boxes] ^ 1]) + content[boxes + 1 :]
    broken = {"empty": b"", "text": b"no index", "cut": content[: len(content) // 2], "flipped": flipped}
    path.write_bytes(broken[damage])
    with pytest.warns(UserWarning, match=r"data-.*\.npz is damaged .*data is read again"):
        again = read(folder, cache)
    assert same(first, again) and same(first, read(folder, cache))
    assert readings == ["data", "data"] and [file.suffix for file in cache.iterdir()] == [".npz"]


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert read(own_folders(tmp_path / "data"), tmp_path / "cache")


def test_an_index_keeps_unusual_names_and_no_tracks() -> None:
    name = "vidéo\udcff 1"  # a name that is no UTF-8 on disk
    track = Track(name, "ä/b", texts(["ö.png", name]), np.ones((2, 4)), np.array([True, False]))
    (item,) = Index.of([track], spaced=True).footage("s", Path("/root"))
    assert (item.name, list(item.images)) == (name, [Path("/root/ä/b/ö.png"), Path("/root/ä/b", name)])
    assert Index.of([], spaced=False).footage("s", Path("/root")) == []


def test_files_are_a_sequence_of_paths() -> None:
    files = Files("/f", texts(f"{number}.png" for number in range(5)))
    assert len(files) == 5 and files[-1] == Path("/f/4.png") and Path("/f/2.png") in files
    assert list(files[1:3]) == [Path("/f/1.png"), Path("/f/2.png")]
    with pytest.raises(IndexError):
        files[5]


def test_footage_of_another_number_of_boxes_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"s/n has 1 images, boxes \(2, 4\) and visible \(1,\): it needs \(1, 4\)"
    ):
        Footage("s", "n", [Path("a.png")], np.ones((2, 4)), np.ones(1, bool))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/train")
def test_the_shared_sources_are_read() -> None:
    found = read_sources(REAL.resolve())
    assert len({item.source for item in found}) == 19
    assert all(item.visible.all() and item.spaced for item in found)
    image = cv2.imread(str(found[-1].images[0]))
    x, y, w, h = found[-1].shot(0).box_xywh
    assert x + w / 2 < image.shape[1] and y + h / 2 < image.shape[0]
