"""Which samples are drawn: by number alone, by weight, from what can be used, the same wherever it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import BLUE, RED, SIZES, Pictures, backdrop, plain, video
from torch import Tensor

from training.data.choices import Book, Chooser, Wish
from training.data.config import DataConfig
from training.data.draws import Draws
from training.data.footage import Footage
from training.data.images import UnreadableImage
from training.data.loader import loader
from training.data.making import make_batch
from training.data.patches import Batch, Patches
from training.data.resident import resident_images
from training.data.sampler import Sampler

CPU = torch.device("cpu")
Data = tuple[list[Footage], Pictures]
# Every part at once, each with some of the samples.
ALL = DataConfig(template_scale_jitter=0.1, out_of_view=0.2, own_mirror=0.2, look_alike=0.5, low_light=0.3)
NO_WISH = Wish(False, False, False, False, False, [False] * 3)


@pytest.fixture(scope="module")
def data() -> Data:
    """Two videos and three stills."""
    footage, pictures = [], Pictures()
    for name, frames, colour in (
        ("red", 4, RED),
        ("blue", 5, BLUE),
        *((n, 1, BLUE) for n in "abc"),
    ):
        item, more = video(name, frames, (300 + 20 * frames, 260), colour)
        footage.append(item)
        pictures.update(more)
    return footage, pictures


def sampler(data: Data, config: DataConfig = ALL, seed: int = 0) -> Sampler:
    return Sampler(*data, config, SIZES, seed)  # type: ignore[arg-type]


def drawn(patches: Patches, config: DataConfig = ALL) -> dict[int, tuple[Tensor, ...]]:
    """Samples by their numbers."""
    batch = make_batch(patches, config, SIZES, Draws(0, patches.numbers))
    return dict(zip(patches.numbers.tolist(), zip(*batch, strict=True), strict=True))


def assert_same(some: dict[int, tuple[Tensor, ...]], others: dict[int, tuple[Tensor, ...]]) -> None:
    assert some and set(some) <= set(others)
    for number, sample in some.items():
        for field, a, b in zip(Batch._fields, sample, others[number], strict=True):
            assert torch.equal(a, b), f"{field} of sample {number}"


# --- determinism


def test_a_sample_is_a_function_of_seed_and_number(data: Data) -> None:
    """Whatever the batch, its order and the process that it is in; another seed gives another one."""
    whole = drawn(sampler(data)[range(24)])
    assert_same(drawn(sampler(data)[[7]]), whole)
    assert_same(drawn(sampler(data)[[19, 3, 11, 4, 0]]), whole)
    for process in (0, 1):
        assert_same(drawn(sampler(data)[range(process, 24, 2)]), whole)
    other = make_batch((patches := sampler(data, seed=1)[range(2)]), ALL, SIZES, Draws(1, patches.numbers))
    assert not torch.equal(other.search[0], whole[0][1])


def test_a_long_batch_is_cut_in_parts(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(sampler(data)[range(10)])
    monkeypatch.setattr("training.data.sampler.AT_ONCE", 3)
    assert_same(drawn(sampler(data)[range(10)]), whole)


@pytest.mark.parametrize(("workers", "resident"), [(0, False), (0, True), (2, False)])
def test_workers_and_resident_images_make_the_same_batches(data: Data, workers: int, resident: bool) -> None:
    whole, numbers = drawn(sampler(data)[range(10)]), [range(0, 4), range(4, 10)]
    source = sampler(data, DataConfig(**{**vars(ALL), "resident": resident}))
    found: dict[int, tuple[Tensor, ...]] = {}
    for patches in loader(source, numbers, workers, CPU):
        found |= drawn(patches)
    assert_same(whole, found)


def test_switching_a_part_off_leaves_the_others_as_they_are(data: Data) -> None:
    """So sheets of parts can be compared, and an ablation changes one thing."""
    parts = {"turn_degrees": 8.0, "mirror": 0.5}
    configs = plain(**parts, occlusion=1.0), plain(**parts)
    some, others = (drawn(sampler(data, config)[range(8)], config) for config in configs)
    for number in some:
        with_part, without = Batch(*some[number]), Batch(*others[number])
        assert torch.equal(with_part.templates, without.templates)
        assert torch.equal(with_part.box, without.box)


# --- what is chosen


def choices(data: Data, config: DataConfig, count: int, wish: Wish = NO_WISH) -> list:
    chooser, book = Chooser(data[0], config, SIZES.template_slots, 0), Book(data[1])  # type: ignore[arg-type]
    return [chooser.choose(number, wish, book) for number in range(count)]


def test_held_out_objects_are_never_shown(data: Data) -> None:
    """Not as targets, and not as backdrops or distractors either."""
    config = plain(kinds={"video": 1.0, "pasted": 1.0}, held_out=("made/red", "made/a"))
    wish = NO_WISH._replace(distractor=True, occluder=True, filled=[True] * 3)
    for choice in choices(data, config, 60, wish):
        shots = [*choice.shots, choice.distractor, choice.occluder]
        names = {shot.image.parent.name for shot in shots} | {path.parent.name for path in choice.backdrops}
        assert not names & {"red", "a"}
    everything = tuple(f"made/{item.name}" for item in data[0])
    with pytest.raises(ValueError, match="every source is empty, held out or of no weight"):
        sampler(data, plain(held_out=everything))


def test_kinds_and_sources_are_drawn_by_weight() -> None:
    footage, pictures = [], Pictures()
    for source, name, frames in (("x", "xv", 3), ("y", "yv", 3), ("x", "xs", 1), ("y", "ys", 1)):
        item, more = video(name, frames, (200, 160))
        footage.append(Footage(source, name, item.images, item.boxes_xywh, item.visible, spaced=True))
        pictures.update(more)
    config = plain(kinds={"video": 3.0, "still": 1.0}, sources={"x": 1.0, "y": 4.0})
    names = [choice.shots[0].image.parent.name for choice in choices((footage, pictures), config, 2000)]
    share = {name: names.count(name) / 2000 for name in ("xv", "yv", "xs", "ys")}
    assert share == pytest.approx({"xv": 0.15, "yv": 0.6, "xs": 0.05, "ys": 0.2}, abs=0.04)


@pytest.mark.parametrize("sampling", ["free", "causal", "trident"])
def test_frames_of_videos_are_visible_ones_in_the_wanted_order(sampling: str) -> None:
    visible = np.random.default_rng(0).random(60) < 0.7
    boxes = np.tile([[20.0, 20, 40, 30]], (60, 1))
    item = Footage("made", "long", [Path(f"{i}.png") for i in range(60)], boxes, visible)
    picture = backdrop(160, 120)
    data = [item], Pictures((path, picture) for path in item.images)
    found = choices(data, plain(sampling=sampling, max_gap=8), 60)
    frames = np.array([[int(shot.image.stem) for shot in choice.shots] for choice in found])
    assert visible[frames].all()
    if sampling == "causal":
        assert (np.diff(frames) > 0).all() and (frames[:, 2] - frames[:, 0] <= 16).all()
    elif sampling == "trident":
        assert (abs(frames[:, 2] - frames[:, 1]) <= 8).all() and np.ptp(frames[:, 2] - frames[:, 0]) > 60
    else:
        assert all(len(set(row)) == 3 for row in frames.tolist()) and np.ptp(np.diff(frames)) > 60


def test_footage_that_shows_its_target_too_rarely_is_not_used() -> None:
    visible = np.zeros(60, bool)
    visible[:3] = True
    boxes = np.tile([[20.0, 20, 40, 30]], (60, 1))
    item = Footage("made", "hidden", [Path(f"{i}.png") for i in range(60)], boxes, visible)
    with pytest.raises(ValueError, match="no object to train on"):
        Chooser([item], plain(), 2, 0)


def test_regions_are_parts_of_the_image_that_differ_from_its_object(
    data: Data,
) -> None:
    found = [choice.shots for choice in choices(data, plain(kinds={"region": 1.0}), 40)]
    boxes = np.array([shots[0].box_xywh for shots in found])
    height, width = 260, 320
    assert all(shots == [shots[0]] * 3 for shots in found)
    assert (boxes[:, 2:] > 8).all() and (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [width, height]).all()
    assert len(np.unique(boxes, axis=0)) == 40


@pytest.mark.parametrize("kind", ["video", "still", "region", "pasted"])
def test_every_kind_gives_whole_samples(data: Data, kind: str) -> None:
    config = DataConfig(kinds={kind: 1.0})
    patches = sampler(data, config)[range(3)]
    batch = make_batch(patches, config, SIZES, Draws(0, patches.numbers))
    assert batch.templates.shape == (3, 2, 48, 48, 3) and batch.search.shape == (3, 96, 96, 3)
    assert batch.templates.dtype == batch.search.dtype == torch.uint8
    assert batch.box.shape == (3, 4) and batch.template_boxes.shape == (3, 2, 4)
    assert torch.isfinite(batch.box).all() and (batch.box[:, 2:] > 0).all()
    assert batch.present.dtype == torch.bool


def test_videos_alone_serve_every_kind(data: Data) -> None:
    """A frame of a video is a still where there are no others."""
    videos = [item for item in data[0] if item.is_video], data[1]
    for kind in ("still", "pasted"):
        found = choices(videos, plain(kinds={kind: 1.0}), 5)
        assert all(choice.still and len(set(choice.shots)) == 1 for choice in found)


# --- bad input


class Broken(Pictures):
    """Some of the pictures cannot be read."""

    def __init__(self, pictures: Pictures, broken: Sequence[Path]) -> None:
        super().__init__({**pictures, **dict.fromkeys(broken)})


def test_samples_with_unreadable_images_are_replaced_by_others_the_same_everywhere(
    data: Data,
) -> None:
    footage, pictures = data
    broken = Broken(pictures, [footage[0].images[1], footage[2].images[0]])
    whole = drawn(sampler((footage, broken))[range(16)])
    assert_same(drawn(sampler((footage, broken))[[9, 2, 5]]), whole)
    intact = drawn(sampler(data)[range(16)])
    changed = [n for n in whole if not torch.equal(whole[n][1], intact[n][1])]
    assert 0 < len(changed) < 16  # the others are as they were


def test_where_nothing_can_be_read_the_file_is_named(data: Data) -> None:
    footage, pictures = data
    with pytest.raises(UnreadableImage, match="cannot be read as an image"):
        sampler((footage, Broken(pictures, list(pictures))))[[0]]


def test_resident_images_are_refused_where_they_do_not_fit() -> None:
    nothing = Pictures()
    assert resident_images(nothing, DataConfig(resident="auto"), CPU) is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resident = true needs images that fit into memory"):
        resident_images(nothing, DataConfig(resident=True), CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mirror": 1.5}, r"mirror = 1.5 is a probability: 0 to 1"),
        ({"noise": -0.1}, r"noise = -0.1 must be a number from 0 on"),
        ({"turn_degrees": float("nan")}, r"turn_degrees = nan must be a number"),
        ({"sampling": "random"}, r"sampling = 'random' is unknown; accepted are free, causal, trident"),
        ({"resident": "maybe"}, r"resident = 'maybe' is unknown; accepted are True, False, auto"),
        ({"kinds": {"movie": 1.0}}, r"kinds has the unknown 'movie'; accepted are video, still, region"),
        ({"kinds": {"video": 0.0}}, r"kinds: at least one weight must be above 0"),
        ({"sources": {"coco": -1.0}}, r"sources: the weight of 'coco' is -1.0; 0 or more is accepted"),
        ({"max_gap": 0}, r"max_gap = 0 must be at least 1 frame"),
    ],
)
def test_a_wrong_configuration_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**values)  # type: ignore[arg-type]


def test_a_part_alone_is_that_part_alone() -> None:
    config = DataConfig().alone("turn_degrees")
    assert config.turn_degrees > 8 and config.stretch == config.occlusion == config.brightness == 0
    assert DataConfig().alone("look_alike").distractor == 1
    assert DataConfig().alone("pasted").kinds == {"pasted": 1.0}
    with pytest.raises(ValueError, match=r"there is no part 'snow'; accepted are video, .*, centre_jitter, "):
        DataConfig().alone("snow")
