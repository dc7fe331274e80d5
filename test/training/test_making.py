"""Samples as they are drawn: the squares of core.crop, boxes on their objects, and what each part does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import BLUE, RED, SIZES, Pictures, backdrop, plain, video, visible_box, with_ellipse

from distill_tracker_ros.core import crop
from distill_tracker_ros.core.boxes import iou
from distill_tracker_ros.core.frame import ArrayFrame
from training.data import effects
from training.data.config import DataConfig, Sizes
from training.data.cutout import Outline, opacity, outline_boxes, random_outlines
from training.data.draws import Draws
from training.data.flights import flight
from training.data.footage import Footage
from training.data.geometry import chained, inverse, linear_maps, mapped, warped_boxes, warps_about
from training.data.layers import cut_windows, halved
from training.data.loader import loader
from training.data.making import make_batch
from training.data.patches import Batch
from training.data.sampler import Sampler


def made(
    footage: list[Footage], pictures: Pictures, config: DataConfig, count: int = 16, sizes: Sizes = SIZES
) -> Batch:
    patches = Sampler(footage, pictures, config, sizes, 0)[range(count)]  # type: ignore[arg-type]
    return make_batch(patches, config, sizes, Draws(0, patches.numbers))


def of_video(config: DataConfig, count: int = 12, **changes: object) -> Batch:
    footage, pictures = video("red", **changes)  # type: ignore[arg-type]
    return made([footage], pictures, config, count)


@pytest.fixture(scope="module")
def calm() -> Batch:
    return of_video(plain())


def overlap(pixels: torch.Tensor, box: torch.Tensor) -> float | None:
    """IoU of the red pixels and the part of the box in the crop; None where nothing is red."""
    found, side = visible_box(pixels.numpy()), pixels.shape[0]
    if found is None:
        return None
    cx, cy, w, h = (box * side).tolist()
    low = np.clip([cx - w / 2, cy - h / 2], 0, side)
    high = np.clip([cx + w / 2, cy + h / 2], 0, side)
    return float(iou(found, np.concatenate([low, high - low])))


# --- geometry


@pytest.mark.parametrize(
    "box",
    [(150.3, 110.6, 60.0, 42.0), (2.0, 3.0, 50.0, 30.0), (330.0, 250.5, 66.0, 47.0), (91, 60, 93, 78)],
)
def test_with_everything_off_crops_are_those_of_the_drone(box: tuple[float, float, float, float]) -> None:
    """Near the borders and where the image is shrunk, too; the boxes are exact."""
    picture = with_ellipse(backdrop(400, 300), box, RED)
    path = Path("a.png")
    footage = Footage("made", "a", [path], np.array([box]), np.ones(1, bool))
    batch = made([footage], Pictures({path: picture}), plain(), count=2)
    views = ((batch.search[0], batch.box[0], 4.0), (batch.templates[0, 1], batch.template_boxes[0, 1], 2.0))
    for pixels, found, factor in views:
        region = crop.region_around(box, factor)
        expected = crop.cut(ArrayFrame(picture), region, pixels.shape[0]).astype(float)
        assert np.abs(pixels.numpy() - expected).mean() < 1.5
        assert np.abs(pixels.numpy() - expected).max() < 90  # soft instead of hard borders
        assert np.allclose(found, crop.box_to_region(box, region), atol=1e-3)
    assert batch.present.all()


@pytest.mark.parametrize(
    "part",
    [
        "centre_jitter",
        "scale_jitter",
        "template_jitter",
        "template_scale_jitter",
        "turn_degrees",
        "stretch",
        "shear",
        "own_mirror",
        "quarter_turn",
        "mirror",
    ],
)
def test_the_box_stays_on_the_object_under_every_geometric_part(part: str, calm: Batch) -> None:
    batch = of_video(DataConfig(kinds={"video": 1.0}).alone(part))
    overlaps = [overlap(pixels, box) for pixels, box in zip(batch.search, batch.box, strict=True)]
    for template, box in zip(batch.templates.flatten(0, 1), batch.template_boxes.flatten(0, 1), strict=True):
        overlaps.append(overlap(template, box))
    seen = [value for value in overlaps if value is not None]
    assert len(seen) > 30 and min(seen) > 0.85
    alike = torch.equal(batch.search, calm.search) and torch.equal(batch.templates, calm.templates)
    assert not alike, "the part does nothing"


def test_turns_and_mirrors_are_shared_by_the_views_and_own_mirrors_are_not() -> None:
    """A picture that is brighter to the right tells which way it lies."""
    picture = np.repeat(np.tile(np.linspace(40, 200, 400, dtype=np.uint8), (300, 1))[..., None], 3, 2)
    path, box = Path("a.png"), np.array([[170.0, 120.0, 60.0, 60.0]])
    still = Footage("made", "a", [path], box, np.ones(1, bool))

    def directions(**parts: float) -> np.ndarray:
        batch = made([still], Pictures({path: picture}), plain(**parts), count=24)
        views = [*batch.templates.unbind(1), batch.search]
        return np.array([[_slope(pixels.numpy()) for pixels in view] for view in views])

    for parts, expected in (({"mirror": 1.0}, 1), ({"mirror": 0.5}, 2), ({"quarter_turn": 1.0}, 4)):
        found = directions(**parts)
        assert (found == found[:1]).all()
        assert len(set(found[0])) == expected
    assert (directions(own_mirror=0.5)[0] != directions(own_mirror=0.5)[2]).any()


def _slope(pixels: np.ndarray) -> str:
    grey = pixels[..., 0].astype(float)
    across, down = grey[:, -1].mean() - grey[:, 0].mean(), grey[-1].mean() - grey[0].mean()
    return ("right" if across > 0 else "left") if abs(across) > abs(down) else ("down" if down > 0 else "up")


def test_maps_are_undone_by_their_inverse_and_move_boxes_with_points() -> None:
    draws = Draws(0, torch.arange(8))
    linear = linear_maps(*(draws.normal("map", 4).double() * 0.4 + torch.tensor([30, 1, 1, 0.0])).unbind(1))
    centre, to, points = (draws.normal(name, 2).double() * 50 for name in ("a", "b", "c"))
    maps = warps_about(centre, linear, to)
    assert torch.allclose(mapped(maps, centre), to)
    assert torch.allclose(mapped(inverse(maps), mapped(maps, points)), points)
    identity = chained(inverse(maps), maps)
    assert torch.allclose(identity[:, :, :2], torch.eye(2, dtype=torch.float64).expand(8, 2, 2))
    box = torch.tensor([20.0, 30, 40, 10], dtype=torch.float64)
    quarter = warps_about(to[0] * 0, linear_maps(*torch.tensor([90.0, -1, 1, 0]).double()), to[0] * 0)
    assert torch.allclose(warped_boxes(box, quarter), torch.tensor([-40.0, -60, 10, 40]).double())


def test_an_outline_fills_its_box_however_it_is_warped() -> None:
    draws = Draws(0, torch.arange(24))
    outline = random_outlines(draws, "some")
    steps = (torch.arange(200) + 0.5 - 100) / 50  # pixels of a 200 x 200 picture, the box is 100 wide
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle = draws.uniform("turn", 1, -60, 60)[:, 0].double()
    one = torch.ones_like(angle)
    linear = linear_maps(angle, 0.9 * one, one, 0 * one)
    back = torch.linalg.inv(linear).float()
    u = back[:, 0, 0, None, None] * x + back[:, 0, 1, None, None] * y
    v = back[:, 1, 0, None, None] * x + back[:, 1, 1, None, None] * y
    alpha = opacity(outline, u, v, torch.full((24,), 50.0)) > 0.5
    box = torch.tensor([50.0, 50, 100, 100], dtype=torch.float64).expand(24, 4)
    middle = box[:, :2] + 50
    expected = outline_boxes(outline, box, warps_about(middle, linear, middle))
    for shape, wanted in zip(alpha, expected, strict=True):
        rows, columns = shape.any(1).nonzero(), shape.any(0).nonzero()
        found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (found - torch.cat([wanted[:2], wanted[:2] + wanted[2:]])).abs().max() < 2.5


def test_a_round_outline_is_a_circle() -> None:
    circle = Outline(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([False]))
    places = torch.tensor([[[0.0, 1.0, 0.6, 0.8]]]), torch.tensor([[[0.0, 0.0, 0.8, 0.8]]])
    shown = opacity(circle, *places, torch.tensor([50.0]))
    assert torch.allclose(shown, torch.tensor([[[1.0, 0.5, 0.5, 0.0]]]), atol=1e-5)


# --- what else is in the picture


def test_pasted_objects_fill_their_boxes_on_other_pictures() -> None:
    """The object is cut out of a red picture, the others are grey: red is the object and nothing else."""
    red = np.full((300, 400, 3), RED, np.uint8)
    paths = [Path(f"{i}.png") for i in range(4)]
    pictures = Pictures(zip(paths, [red, *(backdrop(400, 300, seed) for seed in range(3))], strict=True))
    stills = [
        Footage(f"source{i}", "a", [path], np.array([[150.0, 110, 60, 42]]), np.ones(1, bool))
        for i, path in enumerate(paths)
    ]
    others = {"source1": 0.0, "source2": 0.0, "source3": 0.0}
    config = plain(kinds={"pasted": 1.0}, sources=others, turn_degrees=15.0)
    batch = made(stills, pictures, config, count=24)
    views = [*zip(batch.search, batch.box, strict=True)]
    views += [*zip(batch.templates[:, 0], batch.template_boxes[:, 0], strict=True)]
    found = [
        value
        for pixels, box in views
        if (value := overlap(pixels, box)) is not None and (pixels[..., 0].int() - pixels[..., 1]).min() < 60
    ]  # on a red backdrop nothing can be told
    assert len(found) > 20 and min(found) > 0.85


def _red(batch: Batch) -> torch.Tensor:
    search = batch.search.int()
    return (search[..., 0] - search[..., 1] > 60).flatten(1).sum(1)


def test_an_occluder_covers_a_part_of_the_target_and_leaves_its_box(calm: Batch) -> None:
    covered = of_video(plain(occlusion=1.0))
    assert torch.equal(calm.box, covered.box) and covered.present.all()
    left = _red(covered) / _red(calm)
    assert 0.4 < left.median() < 1.0 and (left < 0.99).float().mean() > 0.5


def test_a_distractor_lies_beside_the_target() -> None:
    """A blue one leaves the red target visible; a look-alike is red itself."""
    red, pictures = video("red", frames=1)
    blue, more = video("blue", frames=1, colour=BLUE)
    pictures.update(more)
    both, config = [red, blue], plain(kinds={"still": 1.0}, distractor=1.0)
    free, beside = made(both, pictures, plain(kinds={"still": 1.0})), made(both, pictures, config)
    alike = made([red], pictures, plain(kinds={"still": 1.0}, distractor=1.0, look_alike=1.0))
    alone = made([red], pictures, plain(kinds={"still": 1.0}))
    assert not torch.equal(free.search, beside.search) and torch.equal(free.box, beside.box)
    kept = (_red(free) > 0) & (_red(beside) > 0.8 * _red(free))
    assert kept.sum() >= 0.8 * (_red(free) > 0).sum()
    assert (_red(alike) > 1.3 * _red(alone)).float().mean() > 0.6


def test_absent_targets_are_marked_and_not_to_be_seen() -> None:
    red, pictures = video("red")
    blue, more = video("blue", colour=BLUE)
    pictures.update(more)
    batch = made([red, blue], pictures, plain(absent=1.0, centre_jitter=1.0))
    assert not batch.present.any()
    for template, search in zip(batch.templates[:, 0], batch.search, strict=True):
        colour = RED if visible_box(template.numpy(), RED) is not None else BLUE
        assert visible_box(search.numpy(), colour) is None
    assert made([red], pictures, plain(absent=1.0)).present.all()  # there is no other place


def test_out_of_view_is_beside_the_target_in_the_same_picture() -> None:
    batch = of_video(plain(out_of_view=1.0), size=(1200, 900), frames=1)
    assert not batch.present.any() and not _red(batch).any()
    assert (batch.search.float().flatten(1).std(1) > 5).all()  # there is something to be seen
    path, box = Path("a.png"), np.array([[30.0, 25.0, 180.0, 120.0]])
    filled = Footage("made", "a", [path], box, np.ones(1, bool))
    cramped = made([filled], Pictures({path: backdrop(240, 170)}), plain(out_of_view=1.0))
    assert cramped.present.all()  # no room beside it


def test_a_region_never_shows_padding_alone_and_a_target_outside_it_is_absent() -> None:
    batch = of_video(plain(centre_jitter=20.0), size=(900, 700), frames=1)
    assert (batch.search.flatten(1).amax(1) > 0).all()
    inside = ((batch.box[:, :2] >= 0) & (batch.box[:, :2] < 1)).all(1)
    assert torch.equal(batch.present, inside) and 0 < inside.sum() < len(inside)


def test_filled_borders_leave_no_zeros() -> None:
    for share, low, high in ((0.0, 0.2, 1.0), (1.0, 0.0, 0.01)):
        batch = of_video(plain(filled_border=share), size=(260, 180), frames=1)
        black = (batch.search == 0).all(-1).float().mean().item()
        assert low <= black <= high


def test_the_second_template_can_be_the_first() -> None:
    same, other = of_video(plain(same_template=1.0)), of_video(plain(template_jitter=0.5))
    assert torch.equal(same.templates[:, 0], same.templates[:, 1])
    assert torch.equal(same.template_boxes[:, 0], same.template_boxes[:, 1])
    assert not torch.equal(other.templates[:, 0], other.templates[:, 1])
    assert torch.allclose(other.template_boxes[:, 0, :2], torch.tensor(0.5), atol=0.02)  # not jittered


# --- light, lens and sensor


def clouds(count: int = 4, size: int = 64) -> torch.Tensor:
    pictures = np.stack([backdrop(size, size, seed) for seed in range(count)]).astype(np.float32) / 255
    pictures[..., 1] *= 0.8
    return torch.from_numpy(pictures).movedim(-1, 1).contiguous()


def test_factors_of_one_change_nothing_and_each_factor_does_what_it_is_called() -> None:
    images, ones = clouds(), torch.ones(4, 6)
    assert torch.allclose(effects.recolour(images, ones), images, atol=1e-6)

    def with_factor(column: int, value: float) -> torch.Tensor:
        factors = ones.clone()
        factors[:, column] = value
        return effects.recolour(images, factors)

    assert torch.allclose(with_factor(0, 0.5), images / 2, atol=1e-6)
    flat, grey = with_factor(1, 0.5), with_factor(2, 0.0)
    assert torch.allclose(flat.std((2, 3)), images.std((2, 3)) / 2, atol=1e-4)
    weights = torch.tensor(effects.GREY).view(1, 3, 1, 1)
    luma = (images * weights).sum(1)
    assert torch.allclose((flat * weights).sum(1).mean((1, 2)), luma.mean((1, 2)), atol=1e-5)
    assert torch.allclose(grey[:, 0], grey[:, 1]) and torch.allclose(grey[:, 0], luma, atol=1e-6)
    less_red = images * torch.tensor([0.5, 1.0, 1.0]).view(1, 3, 1, 1)
    assert torch.allclose(with_factor(3, 0.5), less_red, atol=1e-6)


def test_light_is_shared_by_views_but_for_a_little() -> None:
    draws = Draws(0, torch.arange(2000))
    factors = effects.light_factors(DataConfig(grey=0.25, own_light=0.1), draws, 3).log()
    for column, deviation in enumerate((0.2, 0.2, 0.3, 0.05, 0.05, 0.05)):
        shown = factors[:, :, column][factors[:, 0, 2].isfinite()]
        own = 0.1 if column < 3 else 0.03
        assert shown.mean(1).std().item() == pytest.approx((deviation**2 + own**2 / 3) ** 0.5, rel=0.1)
        assert shown.std(1).square().mean().sqrt().item() == pytest.approx(own, rel=0.1)
    without_colour = (factors[:, :, 2] == -torch.inf).float()
    assert without_colour.mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(without_colour.amin(1), without_colour.amax(1))


def test_kernels_keep_brightness_and_motion_has_a_direction() -> None:
    angle, strength = torch.tensor([0.0, 0.5, 0.25]), torch.tensor([1.0, 1.0, 1.0])
    kernels = effects.blur_kernels(128, angle, strength, torch.tensor([True, True, False]))
    assert kernels.shape == (3, 7, 7) and torch.allclose(kernels.sum((1, 2)), torch.ones(3))
    steps = torch.arange(7.0) - 3
    spread = [((k.sum(0) * steps**2).sum(), (k.sum(1) * steps**2).sum()) for k in kernels]
    assert spread[0][0] > 5 * spread[0][1] and spread[1][1] > 5 * spread[1][0]
    assert spread[2][0] == pytest.approx(spread[2][1].item())
    assert effects.blur_kernels(256, angle, strength, angle > 0).shape == (3, 13, 13)


def test_blur_noise_and_darkness_are_for_their_rows_alone() -> None:
    rows = torch.tensor([1, 3])
    untouched, images = [0, 2], 0.8 * torch.rand(4, 3, 64, 64)
    sharp, blurred, noisy, dark = (images.clone() for _ in range(4))
    kernels = effects.blur_kernels(64, torch.tensor([0.2, 0.4]), torch.ones(2), torch.tensor([True, False]))
    effects.blur(blurred, rows, kernels)
    level = torch.tensor([0.02, 0.1])
    effects.add_noise(noisy, rows, level, torch.rand(2, 6))
    effects.darken(dark, rows, torch.tensor([0.5, 0.2]), torch.tensor([1.0, 1.5]))
    for changed in (blurred, noisy, dark):
        assert torch.equal(changed[untouched], sharp[untouched])
    assert torch.allclose(blurred[rows].mean((1, 2, 3)), sharp[rows].mean((1, 2, 3)), atol=1e-2)
    assert (blurred[rows].diff(dim=3).abs().mean() / sharp[rows].diff(dim=3).abs().mean()).item() < 0.6
    assert torch.allclose((noisy - sharp)[rows].std((1, 2, 3)), level, rtol=0.1)
    assert torch.allclose(dark[1], sharp[1] / 2) and torch.allclose(dark[3], 0.2 * sharp[3] ** 1.5)
    nothing = torch.tensor([], dtype=torch.int64)
    effects.blur(images, nothing, effects.blur_kernels(64, *torch.rand(2, 0), nothing > 0))
    assert torch.equal(images, sharp)


@pytest.mark.parametrize(
    "part",
    [
        "grey",
        "brightness",
        "contrast",
        "saturation",
        "tint",
        "own_light",
        "low_light",
        "motion_blur",
        "noise",
    ],
)
def test_every_part_of_light_and_lens_changes_looks_and_not_boxes(part: str, calm: Batch) -> None:
    changed = of_video(DataConfig(kinds={"video": 1.0}).alone(part))
    assert torch.equal(changed.box, calm.box) and not torch.equal(changed.search, calm.search)
    if part == "low_light":
        for dark, light in ((changed.search, calm.search), (changed.templates, calm.templates)):
            assert (dark.float().mean((-3, -2, -1)) < 0.7 * light.float().mean((-3, -2, -1))).all()


def test_samples_stay_recognisable(calm: Batch) -> None:
    """With all parts of light at their defaults the picture still correlates with the plain one."""
    lights = (
        "grey",
        "brightness",
        "contrast",
        "saturation",
        "tint",
        "own_light",
        "motion_blur",
        "defocus",
        "noise",
    )
    config = plain(**{name: getattr(DataConfig(), name) for name in lights})
    grey = (batch.search.float().mean(-1).flatten(1) for batch in (of_video(config), calm))
    pairs = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in zip(*grey, strict=True)]
    assert min(pairs) > 0.7


def test_nothing_waits_for_the_device() -> None:
    """Tensors without data cannot be read, so whatever would read one while a batch is made fails here."""
    footage, pictures = video("red")
    config = DataConfig(low_light=0.5, look_alike=0.5, resident=True)
    sampler = Sampler([footage], pictures, config, SIZES, 0)  # type: ignore[arg-type]
    for patches in loader(sampler, [range(8)], 0, torch.device("meta")):
        batch = make_batch(patches, config, SIZES, Draws(0, patches.numbers))
        assert batch.search.shape == (8, 96, 96, 3) and {part.device.type for part in batch} == {"meta"}


# --- flights


def test_a_flight_shows_its_target_in_its_boxes() -> None:
    """Red is where the truth says it is; the same seed gives the same video."""
    pictures = Pictures({Path("red.png"): np.full((100, 120, 3), RED, np.uint8)})
    target = Footage("made", "a", [Path("red.png")], np.array([[20.0, 20, 60, 40]]), np.ones(1, bool)).shot(0)

    class Grey(Pictures):
        def random(self, rng: np.random.Generator) -> np.ndarray:
            return backdrop(300, 200, int(rng.integers(9)))

    frames, truth = flight(np.random.default_rng(3), Grey(pictures), [target], frames=3)  # type: ignore[arg-type]
    again, _ = flight(np.random.default_rng(3), Grey(pictures), [target], frames=3)  # type: ignore[arg-type]
    assert np.array_equal(frames, again) and frames[0].shape == (400, 400, 3)
    assert np.abs(np.diff(truth[:, :2], axis=0)).max() > 0.5  # it moves
    overlaps = [iou(visible_box(frame), box) for frame, box in zip(frames, truth, strict=True)]
    assert min(overlaps) > 0.85


def test_pictures_are_shrunk_by_whole_areas() -> None:
    """A window of a halved image is that part of the whole image halved: resident images rely on it."""
    image = np.random.default_rng(0).integers(0, 256, (203, 157, 3), np.uint8)
    for times in (0, 1, 2, 3):
        whole = halved(image, times)
        window = cut_windows([image], torch.tensor([[0, times, 5, 3]]), 64)[0].numpy()
        part = whole[3 : 3 + 64, 5 : 5 + 64]
        assert np.array_equal(window[: part.shape[0], : part.shape[1]], part)
        assert not window[part.shape[0] :].any() and not window[:, part.shape[1] :].any()
    means = image[:202, :156].astype(float).reshape(101, 2, 78, 2, 3).mean((1, 3))
    assert np.abs(halved(image, 1) - means).max() <= 0.5
