"""Samples: the same geometry as the drone's crop, boxes where the target is, and repeatable by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_samples import SIZES, pixels, random_batch, write_source

from distill_tracker_ros.core import crop
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.crop import Region
from distill_tracker_ros.core.frame import ArrayFrame
from training.data.augment import augment
from training.data.cutout import outline
from training.data.flights import flight
from training.data.geometry import linear_map, region_matrix, render, warp_about, warp_box
from training.data.sampler import DataConfig, Sampler
from training.data.sources import ImageStore, read_source


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[list, ImageStore]:
    footage = read_source(write_source(tmp_path_factory.mktemp("data") / "squares"))
    return footage, ImageStore({shot.image for item in footage for shot in item.shots})


def sampler(squares: tuple[list, ImageStore], seed: int = 0, **config: object) -> Sampler:
    return Sampler(*squares, DataConfig(**config), SIZES, seed, 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", [Region(30, 20, 64), Region(-20, 100, 90), Region(150, -30, 128)])
def test_training_draws_what_the_drone_cuts(region: Region) -> None:
    """Rendering through the region's matrix is `core.crop.cut`, inside the frame, to a grey level or so."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (40, 50, 3), np.uint8), 4, 0), 4, 1)
    drawn = render(image, region_matrix(region, 64), 64)
    cut = crop.cut(ArrayFrame(image), region, 64)
    inside = np.abs(drawn.astype(int) - cut)[8:-8, 8:-8]
    assert np.mean(inside) < 6


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_boxes_follow_quarter_turns_and_mirrors_exactly(degrees: int, mirror: float) -> None:
    box = (20.0, 30.0, 40.0, 10.0)
    matrix = warp_about((0, 0), linear_map(degrees, mirror, 1.0))
    corners = np.array([[20, 30, 1], [60, 40, 1]]) @ matrix.T
    low, high = corners[:, :2].min(0), corners[:, :2].max(0)
    assert np.allclose(warp_box(box, matrix), [*low, *(high - low)])


def test_a_turned_ellipse_stays_inside_the_turned_corners() -> None:
    box = warp_box((0, 0, 40, 20), warp_about((20, 10), linear_map(30, 1, 1)))
    assert np.hypot(40 / 2 * np.cos(np.pi / 6), 20 / 2 * np.sin(np.pi / 6)) * 2 == pytest.approx(box[2])


def test_samples_are_a_function_of_seed_and_number(squares: tuple[list, ImageStore]) -> None:
    a, b, other = sampler(squares)[7], sampler(squares)[7], sampler(squares, seed=1)[7]
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a.search, other.search)


def test_the_box_is_where_the_target_is(squares: tuple[list, ImageStore]) -> None:
    """Red pixels of the search region fill the box; absent samples apart."""
    plain = sampler(
        squares,
        kinds={"video": 1.0},
        turn_degrees=0.0,
        stretch=0.0,
        absent=0.0,
        occlusion=0.0,
        distractor=0.0,
        filled_border=0.0,
    )
    overlaps = []
    for number in range(40):
        _, search, box, present = plain[number]
        assert present
        red = (search[..., 0].int() - search[..., 1].int() > 60).numpy()
        if not red.any():
            continue  # jittered out of the region
        ys, xs = np.nonzero(red)
        found = [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
        cx, cy, w, h = box.numpy() * 64
        inside = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, 64)
        overlaps.append(float(iou(found, [*inside[:2], *(inside[2:] - inside[:2])])))
    assert len(overlaps) > 30
    assert np.median(overlaps) > 0.85


def test_held_out_tracks_are_never_sampled(squares: tuple[list, ImageStore]) -> None:
    held_out = sampler(squares, held_out=("squares/track1", "squares/track2"), kinds={"video": 1.0})
    assert not held_out._videos


def test_absent_targets_are_marked(squares: tuple[list, ImageStore]) -> None:
    some = sampler(squares, absent=0.5)
    share = np.mean([bool(some[i].present) for i in range(60)])
    assert 0.3 < share < 0.7


def test_every_kind_gives_a_sample(squares: tuple[list, ImageStore]) -> None:
    for kind in ("video", "still", "region", "pasted"):
        templates, search, box, _ = sampler(squares, kinds={kind: 1.0})[0]
        assert templates.shape == (2, 32, 32, 3) and search.shape == (64, 64, 3)
        assert templates.dtype == search.dtype == torch.uint8
        assert torch.isfinite(box).all() and (box[2:] > 0).all()


def test_an_outline_touches_the_sides_of_its_box() -> None:
    for seed in range(20):
        mask = outline(np.random.default_rng(seed)) > 100
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        assert rows[0] <= 3 and rows[-1] >= 60 and columns[0] <= 3 and columns[-1] >= 60


def test_augmentation_changes_looks_not_shapes_and_repeats() -> None:
    batch = random_batch()
    one = augment(batch, torch.Generator().manual_seed(5))
    two = augment(batch, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert one.search.shape == batch.search.shape and one.search.dtype == torch.uint8
    assert one.templates.shape == batch.templates.shape
    assert not torch.equal(one.search, batch.search)
    assert torch.equal(one.box, batch.box)


def test_augmentation_keeps_the_picture_recognisable() -> None:
    batch = random_batch(16)
    smooth = torch.nn.functional.interpolate(pixels(16, 3, 8, 8).float(), size=64, mode="bicubic").clamp(
        0, 255
    )
    batch = batch._replace(search=smooth.movedim(1, -1).to(torch.uint8))
    changed = augment(batch, torch.Generator().manual_seed(1)).search.float().mean(-1).flatten(1)
    original = batch.search.float().mean(-1).flatten(1)
    correlation = [
        torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in zip(changed, original, strict=True)
    ]
    assert min(correlation) > 0.7


def test_a_flight_shows_its_target_in_its_boxes(squares: tuple[list, ImageStore]) -> None:
    """The square's colour is where the truth says it is; the same seed gives the same video."""
    footage, images = squares
    frames, truth = flight(np.random.default_rng(3), images, [footage[0].shots[0]], frames=6)
    again, _ = flight(np.random.default_rng(3), images, [footage[0].shots[0]], frames=6)
    assert np.array_equal(frames, again)
    assert np.abs(np.diff(truth[:, :2], axis=0)).max() > 0.5  # it moves
    for frame, (x, y, w, h) in zip(frames, truth, strict=True):
        middle = frame[int(y + h / 2), int(x + w / 2)].astype(int)
        assert middle[0] - middle[1] > 60


def test_unreadable_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"annotations.csv is missing"):
        read_source(tmp_path)
    file = tmp_path / "annotations.csv"
    file.write_text("image,x,y\n")
    with pytest.raises(ValueError, match=r"the header is \['image', 'x', 'y'\]; accepted is"):
        read_source(tmp_path)
    file.write_text("image,x,y,w,h,label,track\na.png,1,2,wide,4,,\n")
    with pytest.raises(ValueError, match=r"annotations.csv, line 2: .*'wide'"):
        read_source(tmp_path)
    with pytest.raises(ValueError, match="cannot be read as an image"):
        ImageStore({file})
