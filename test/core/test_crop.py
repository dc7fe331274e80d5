"""The crop: exact arithmetic, pixels against a slow reference, and the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from synthetic import background

from distill_tracker_ros.core import crop
from distill_tracker_ros.core.crop import Padding, Region
from distill_tracker_ros.core.frame import ArrayFrame, Pixels


class CoarseFrame(ArrayFrame):
    """A frame that returns half of the pixels a side where it may, as a JPEG decoder does."""

    def cut(self, x: int, y: int, width: int, height: int, shrink: float = 1.0) -> Pixels:
        pixels = super().cut(x, y, width, height)
        if shrink < 2:
            return pixels
        halved = ((width + 1) // 2, (height + 1) // 2)
        return cv2.resize(pixels, halved, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def reference(rgb: Pixels, region: Region, size: int) -> Pixels:
    """The crop with all padding laid out at full scale: slow, large, and obvious."""
    height, width = rgb.shape[:2]
    full = np.zeros((region.side, region.side, 3), np.uint8)
    pad = crop.padding(region, width, height)
    for row in range(pad.top, region.side - pad.bottom):
        left, right = pad.left, region.side - pad.right
        if left < right:
            full[row, left:right] = rgb[region.y + row, region.x + left : region.x + right]
    way = cv2.INTER_AREA if region.side > size else cv2.INTER_LINEAR
    return cv2.resize(full, (size, size), interpolation=way)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("box", "factor", "region", "pad"),
    [
        ((100, 80, 40, 30), 4, Region(50, 26, 139), Padding(0, 0, 0, 0)),
        ((0, 0, 20, 20), 2, Region(-10, -10, 40), Padding(10, 10, 0, 0)),
        ((600, 440, 40, 40), 4, Region(540, 380, 160), Padding(0, 0, 61, 61)),
        # A region that ends exactly on the border gives up its last column and row.
        ((560, 400, 40, 40), 4, Region(500, 340, 160), Padding(0, 0, 21, 21)),
        ((540, 380, 40, 40), 4, Region(480, 320, 160), Padding(0, 0, 1, 1)),
        ((539, 379, 40, 40), 4, Region(479, 319, 160), Padding(0, 0, 0, 0)),
    ],
)
def test_golden_regions_and_padding(
    box: tuple[float, ...], factor: float, region: Region, pad: Padding
) -> None:
    found = crop.region_around(box, factor)
    assert found == region
    assert crop.padding(found, 640, 480) == pad


def test_region_corners_round_half_to_even() -> None:
    assert [crop.region_around((x, x, 4, 4), 2).x for x in (2.5, 3.5, 4.5)] == [0, 2, 2]


@pytest.mark.parametrize("bad", [(0, 0, 0, 5), (0, 0, 5, -1), (np.nan, 0, 5, 5), (0, 0, np.inf, 5)])
def test_a_box_without_region_is_named(bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite box of positive size; got x="):
        crop.region_around(bad, 2.0)


@pytest.mark.parametrize("size", [32, 100, 128])
@pytest.mark.parametrize(
    "region",
    [
        Region(20, 30, 100),
        Region(-40, 10, 100),
        Region(10, -40, 100),
        Region(270, 10, 100),
        Region(10, 190, 100),
        Region(-30, -30, 60),
        Region(290, 210, 60),
        Region(-20, -60, 360),  # around the whole frame
        Region(319, 20, 64),  # its only column is the one that is given up
    ],
)
def test_pixels_equal_the_reference_wherever_the_region_lies(region: Region, size: int) -> None:
    rgb = background(320, 240)
    difference = np.abs(crop.cut(ArrayFrame(rgb), region, size).astype(int) - reference(rgb, region, size))
    if region.side <= size:
        assert difference.max() == 0
    elif region.side < crop.HALVE_FROM * size:
        assert difference.mean() < 1.2 and difference.max() <= 30
    else:  # halved first: rounded once more, and the border of the frame may move by a quarter of a pixel
        assert difference.mean() < 2.7 and difference.max() <= 190 / 4


@pytest.mark.parametrize("side", range(140, 400, 20))
def test_shrinking_averages_areas_to_half_a_grey_level(side: int) -> None:
    """On a picture as sharp as a photograph."""
    rgb = cv2.GaussianBlur(background(480, 480), (0, 0), 1)
    found = crop.cut(ArrayFrame(rgb), Region(20, 30, side), 128).astype(int)
    difference = np.abs(found - reference(rgb, Region(20, 30, side), 128))
    assert difference.mean() < 0.5 if side < 384 else difference.mean() < 1.0


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_region_of_twice_the_size_is_the_means_of_its_pixels(size: int) -> None:
    rgb = background(640, 600)
    region = Region(11, 7, 2 * size)
    np.testing.assert_array_equal(crop.cut(ArrayFrame(rgb), region, size), reference(rgb, region, size))


@pytest.mark.parametrize(
    ("x", "y"), [(-64, 20), (-1000, 20), (320, 20), (1000, 20), (20, -64), (20, 240), (-99, -99), (500, 500)]
)
def test_a_region_outside_the_frame_is_black(x: int, y: int) -> None:
    white = np.full((240, 320, 3), 255, np.uint8)
    assert not crop.cut(ArrayFrame(white), Region(x, y, 64), 48).any()


def test_a_region_without_padding_at_its_own_size_is_the_frame_itself() -> None:
    rgb = background(320, 240)
    found = crop.cut(ArrayFrame(rgb), Region(33, 44, 128), 128)
    np.testing.assert_array_equal(found, rgb[44:172, 33:161])


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(
    "region",
    [
        Region(100, 100, 600),
        Region(-333, 50, 700),
        Region(50, -333, 700),
        Region(1001, 333, 640),
        Region(333, 555, 640),
        Region(-597, 20, 600),  # three columns are in the frame
        Region(20, -597, 600),
        Region(1276, 30, 600),
        Region(-200, -500, 1801),
    ],
)
def test_a_frame_decoded_coarser_gives_nearly_the_same_crop(region: Region, size: int) -> None:
    rgb = cv2.GaussianBlur(background(1280, 720), (0, 0), 2)
    full = crop.cut(ArrayFrame(rgb), region, size).astype(int)
    coarse = crop.cut(CoarseFrame(rgb), region, size).astype(int)
    covered = np.abs(full - coarse)
    assert covered.mean() < 1.0
    # Where the frame ends, an edge may move by a fraction of a crop pixel; nowhere else.
    assert np.mean(covered > 12) < 0.03


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("seen", [9, 5, 3])
def test_a_narrow_strip_of_a_coarser_frame_stays_in_place(seen: int, axis: int) -> None:
    """Bug: the scale of the columns was used for the rows too, so a rounded strip moved up or down."""
    white = np.full((320, 320, 3), 255, np.uint8)
    corner = (seen - 300, -150) if axis == 0 else (-150, seen - 300)
    crops = [
        crop.cut(frame(white), Region(*corner, 300), 128)[..., 0] / 255.0
        for frame in (ArrayFrame, CoarseFrame)
    ]
    middles = [weight.sum(1 - axis) @ np.arange(128) / weight.sum() for weight in crops]
    assert middles[0] == pytest.approx(95.5, abs=0.3)
    assert middles[1] == pytest.approx(middles[0], abs=0.5)


@pytest.mark.parametrize("side", [600, 1400, 5760, 9216])
def test_a_large_region_costs_no_large_array(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: padding was laid out at full scale: 255 MB and 0.26 s for a target that fills a 1080p frame."""
    areas = []
    real = cv2.copyMakeBorder

    def spy(pixels: Pixels, *args: int) -> Pixels:
        areas.append(real(pixels, *args))
        return areas[-1]

    monkeypatch.setattr(cv2, "copyMakeBorder", spy)
    rgb = background(960, 540)
    found = crop.cut(ArrayFrame(rgb), Region(480 - side // 2, 270 - side // 2, side), 128)
    assert found.shape == (128, 128, 3)
    assert all(area.nbytes <= (crop.HALVE_FROM * 128 + 4) ** 2 * 3 for area in areas)
    # The frame stands in the middle, with its own mean.
    w, h = 960 / side * 128, 540 / side * 128
    assert found.mean() * 128 * 128 == pytest.approx(rgb.mean() * min(w, 128) * min(h, 128), rel=0.03)


def test_boxes_go_into_a_region_and_back_exactly() -> None:
    """B-5: the region's own rounding is in the region, so nothing is lost on the way."""
    rng = np.random.default_rng(1)
    for _ in range(500):
        box = np.concatenate([rng.uniform(-50, 600, 2), rng.uniform(1, 300, 2)])
        region = crop.region_around(box, rng.uniform(1.5, 5))
        inside = crop.box_to_region(box, region)
        np.testing.assert_allclose(crop.box_to_frame(inside, region), box, atol=1e-9)
        # The middle of the region is the box's centre, to the rounding of the corner.
        np.testing.assert_allclose(inside[:2], 0.5, atol=0.5001 / region.side)


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize(("left", "top"), [(150, 120), (0, 0), (290, 100), (180, 200)])
def test_pixels_land_where_the_box_arithmetic_says(left: int, top: int, size: int) -> None:
    """The centroid and extent of a white rectangle in the crop against `box_to_region`."""
    rgb = np.zeros((240, 320, 3), np.uint8)
    box = np.array([left, top, 26, 18], np.float64)
    rgb[top : top + 18, left : left + 26] = 255
    region = crop.region_around(box + [3, -5, 0, 0], 4.0)
    weight = crop.cut(ArrayFrame(rgb), region, size)[..., 0] / 255.0
    centres = (np.arange(size) + 0.5) / size
    found = [weight.sum(0) @ centres, weight.sum(1) @ centres] / weight.sum()
    expected = crop.box_to_region(box, region)
    np.testing.assert_allclose(found, expected[:2], atol=0.1 / size)
    assert weight.sum() / size**2 == pytest.approx(expected[2] * expected[3], rel=0.03)


def test_mirroring_commutes_with_the_crop() -> None:
    """B-6: regions up to the rounding of the corner; pixels where the rounding agrees."""
    rgb, rng, equal = background(320, 240), np.random.default_rng(2), 0
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    for _ in range(200):
        box = np.concatenate([rng.integers(100, 180, 1), rng.integers(80, 140, 1), rng.integers(10, 30, 2)])
        flipped_box = box.copy()
        flipped_box[0] = 320 - box[0] - box[2]
        region, flipped = crop.region_around(box, 4), crop.region_around(flipped_box, 4)
        assert flipped.side == region.side and flipped.y == region.y
        assert abs(flipped.x - (320 - region.x - region.side)) <= 1
        if flipped.x == 320 - region.x - region.side:
            equal += 1
            a, b = (crop.cut(ArrayFrame(f), r, 96) for f, r in ((rgb, region), (mirrored, flipped)))
            np.testing.assert_allclose(a[:, ::-1].astype(int), b, atol=1)
    assert equal > 50


def test_frames_check_their_array() -> None:
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match=r"RGB array \(H, W, 3\) of uint8; got "):
            ArrayFrame(bad)


def test_an_array_frame_is_not_copied() -> None:
    rgb = background(64, 48)
    view = ArrayFrame(rgb).cut(10, 5, 20, 30)
    assert np.shares_memory(view, rgb) and view.shape == (30, 20, 3)
    np.testing.assert_array_equal(view, rgb[5:35, 10:30])


def test_the_region_of_a_box_covers_the_factor_times_its_size() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        w, h = rng.uniform(2, 300, 2)
        region = crop.region_around((0, 0, w, h), 4.0)
        assert 0 <= region.side - 4 * np.sqrt(w * h) < 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("side", [200, 1000, 5000])
def test_a_corner_of_the_frame_in_a_large_region_ends(side: int) -> None:
    """Bug: one pixel was halved for ever."""
    frame = ArrayFrame(np.full((40, 40, 3), 255, np.uint8))
    for region in (Region(38, 38, side), Region(1 - side, 1 - side, side), Region(0, 38, side)):
        assert crop.cut(frame, region, 64).shape == (64, 64, 3)
