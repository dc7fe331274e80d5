"""Images of footage: the same from memory and from disk, and what becomes of those that cannot be read."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from training.data.footage import Footage
from training.data.images import ENOUGH_TRIED, ImageStore, TooManyUnreadable, UnreadableImage


def footage(folder: Path, count: int, broken: int = 0) -> list[Footage]:
    """`count` stills of 20 x 30 pixels, each of its own colour; the first `broken` are no images."""
    found = []
    for number in range(count):
        path = folder / f"{number:04d}.png"
        if number < broken:
            path.write_bytes(b"no image")
        else:
            cv2.imwrite(str(path), np.full((20, 30, 3), (number % 256, 100, 7), np.uint8))
        found.append(Footage("source", path.stem, [path], np.ones((1, 4)), np.ones(1, bool)))
    return found


def from_disk(stills: list[Footage]) -> ImageStore:
    return ImageStore(stills, budget_bytes=100)


def test_memory_and_disk_give_the_same_rgb_pixels(tmp_path: Path) -> None:
    stills = footage(tmp_path, 5)
    held, read = ImageStore(stills), from_disk(stills)
    for number, still in enumerate(stills):
        path = still.images[0]
        assert held[path].shape == (20, 30, 3) and held[path].dtype == np.uint8
        assert (held[path][0, 0] == (7, 100, number)).all()
        assert (held[path] == read[path]).all()
    for seed in range(10):
        one, two = (store.random(np.random.default_rng(seed)) for store in (held, read))
        assert (one == two).all()


def test_images_within_the_budget_are_read_once(tmp_path: Path) -> None:
    stills = footage(tmp_path, 5)
    held, read = ImageStore(stills, 5 * 20 * 30 * 3), ImageStore(stills, 5 * 20 * 30 * 3 - 1)
    path = stills[0].images[0]
    path.unlink()
    assert held[path].shape == (20, 30, 3)
    with pytest.raises(UnreadableImage, match="0000.png cannot be read as an image"), pytest.warns():
        read[path]


def test_shared_images_count_once(tmp_path: Path) -> None:
    still = footage(tmp_path, 1)
    store = ImageStore(still * 100, 20 * 30 * 3)
    still[0].images[0].unlink()
    assert store[still[0].images[0]].shape == (20, 30, 3)


@pytest.mark.filterwarnings("ignore:.*it is left out")
def test_a_rare_unreadable_image_is_listed_and_left_out(tmp_path: Path) -> None:
    stills = footage(tmp_path, 100, broken=1)
    broken = stills[0].images[0]
    for store in (ImageStore(stills), from_disk(stills)):
        for still in stills[1:]:
            assert store[still.images[0]].any()
        with pytest.raises(UnreadableImage, match=r"0000.png cannot be read"):
            store[broken]
        assert store.unreadable == [broken]


@pytest.mark.filterwarnings("ignore:.*it is left out")
def test_more_than_one_percent_stop_with_the_first_of_them(tmp_path: Path) -> None:
    stills = footage(tmp_path, 150, broken=2)
    with pytest.raises(
        TooManyUnreadable, match=r"2 of 150 images .* more than 1%; the first: .*0000.png, .*1.png"
    ):
        ImageStore(stills)
    read = from_disk(stills)
    for still in stills[2:ENOUGH_TRIED]:
        read[still.images[0]]
    with pytest.raises(UnreadableImage):
        read[stills[0].images[0]]
    with pytest.raises(TooManyUnreadable, match="2 of 100 images"):
        read[stills[1].images[0]]


@pytest.mark.filterwarnings("ignore:.*it is left out")
def test_few_tries_do_not_stop(tmp_path: Path) -> None:
    stills = footage(tmp_path, 10, broken=9)
    read = from_disk(stills)
    for still in stills[:9]:
        with pytest.raises(UnreadableImage):
            read[still.images[0]]
    assert len(read.unreadable) == 9


@pytest.mark.filterwarnings("ignore:.*it is left out")
def test_a_folder_without_a_readable_image_stops(tmp_path: Path) -> None:
    stills = footage(tmp_path, ENOUGH_TRIED, broken=ENOUGH_TRIED)
    store = ImageStore(stills)
    with pytest.raises(TooManyUnreadable, match="100 of 100 images"):
        for still in stills:
            with pytest.raises(UnreadableImage):
                store[still.images[0]]


def test_an_unreadable_image_is_warned_of(tmp_path: Path) -> None:
    stills = footage(tmp_path, 300, broken=1)
    with pytest.warns(UserWarning, match="0000.png cannot be read as an image: it is left out"):
        ImageStore(stills)


class _Sums(Dataset[int]):
    def __init__(self, images: ImageStore, paths: list[Path]) -> None:
        self.images, self.paths = images, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> int:
        return int(self.images[self.paths[index]].sum())


@pytest.mark.parametrize("budget_bytes", [100, 1 << 20])
def test_workers_read_what_the_main_process_reads(tmp_path: Path, budget_bytes: int) -> None:
    stills = footage(tmp_path, 8)
    sums = _Sums(ImageStore(stills, budget_bytes), [still.images[0] for still in stills])
    found = [int(value) for value in DataLoader(sums, batch_size=None, num_workers=2)]
    assert found == [sums[index] for index in range(8)]


def test_a_store_can_be_sent_to_a_spawned_worker(tmp_path: Path) -> None:
    stills = footage(tmp_path, 2)
    path = stills[1].images[0]
    for store in (ImageStore(stills), from_disk(stills)):
        assert (pickle.loads(pickle.dumps(store))[path] == store[path]).all()
