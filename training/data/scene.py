"""Where everything lies in the crops of a batch: choices become layers of pieces of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .choices import Book, Choice
from .config import DataConfig, Sizes
from .cutout import Outline, random_outlines
from .draws import Draws
from .footage import Shot
from .geometry import from_crops, inverse, linear_maps, product, warps_about
from .layers import Layer, Pieces, object_layer, view_layer
from .patches import Patches
from .views import Targets, Views, draw_views

LEAST_PX = 3.0  # side of a pasted object in the crop


def lay_out(choices: Sequence[Choice], book: Book, config: DataConfig, sizes: Sizes, draws: Draws) -> Patches:
    """B samples before their pixels are cut; images are called by their numbers in the book."""
    targets = _targets(choices, book, draws)
    views = draw_views(targets, config, sizes, draws).with_same_templates(_same_template(choices))
    boxes = views.boxes()
    search = boxes[:, -1]
    elsewhere = torch.tensor([choice.elsewhere for choice in choices])
    slots, size = sizes.template_slots, sizes.search_size
    return Patches(
        draws.numbers,
        _view_layers(choices, book, targets, views, slice(0, slots), sizes.template_size, draws),
        (
            *_view_layers(choices, book, targets, views, slice(slots, None), size, draws),
            _distractors(choices, book, views, search * size, size, draws),
            _occluders(choices, book, search * size, size, draws),
        ),
        search.float(),
        views.in_view & ~elsewhere,
        boxes[:, :-1].float(),
    )


def _targets(choices: Sequence[Choice], book: Book, draws: Draws) -> Targets:
    boxes, _, sizes = _shots(book, [shot for choice in choices for shot in choice.shots])
    return Targets(
        boxes.view(len(choices), -1, 4),
        sizes.view(len(choices), -1, 2),
        torch.tensor([choice.still for choice in choices]),
        torch.tensor([choice.pasted for choice in choices]),
        random_outlines(draws, "target"),
    )


def _view_layers(
    choices: Sequence[Choice],
    book: Book,
    targets: Targets,
    views: Views,
    which: slice,
    size: int,
    draws: Draws,
) -> tuple[Layer, ...]:
    """The layers of some of the views [B, V]: backdrops, frames, and objects on backdrops."""
    count = len(choices[0].shots[which])
    numbers = [book.numbers[shot.image] for choice in choices for shot in choice.shots[which]]
    pieces = Pieces(
        torch.arange(len(numbers)),
        torch.tensor(numbers),
        targets.image_sizes[:, which].flatten(0, 1),
        views.from_crops(size)[:, which].flatten(0, 1),
    )
    pasted = targets.pasted.repeat_interleave(count)
    covered = pieces.covers(size) & ~pasted
    outline = targets.outline.chosen(torch.arange(len(choices)).repeat_interleave(count))
    boxes = targets.boxes_xywh[:, which].flatten(0, 1)
    return (
        _backdrops(choices, book, which, ~covered, size, draws),
        view_layer(pieces.chosen(covered), size, covering=True),
        view_layer(pieces.chosen(~covered & ~pasted), size),
        object_layer(pieces.chosen(pasted), boxes[pasted], outline.chosen(pasted), size),
    )


def _backdrops(
    choices: Sequence[Choice], book: Book, which: slice, needed: Tensor, size: int, draws: Draws
) -> Layer:
    """A random square of each backdrop that is needed [B V] and can be opened."""
    views = len(choices[0].shots)
    place = draws.uniform("backdrop", 3 * views).view(-1, views, 3).double()
    same = _same_template(choices)
    place[same, 1:-1] = place[same, :1]
    place = place[:, which].flatten(0, 1)
    paths = [path for choice in choices for path in choice.backdrops[which]]
    found = [
        (row, path)
        for row, (path, need) in enumerate(zip(paths, needed.tolist(), strict=True))
        if path is not None and need and book.can_open(path)
    ]
    rows = torch.tensor([row for row, _ in found], dtype=torch.int64)
    sizes = torch.tensor([book.size(path) for _, path in found], dtype=torch.float64).view(-1, 2)
    numbers = torch.tensor([book.numbers[path] for _, path in found], dtype=torch.int64)
    side = ((0.4 + 0.6 * place[rows, :1]) * (sizes.amin(1, keepdim=True) - 1)).floor().clamp_min(1)
    corner = ((sizes - side) * place[rows, 1:]).floor()
    squares = torch.cat([corner, side], 1)
    return view_layer(Pieces(rows, numbers, sizes, from_crops(squares, size)), size, covering=True)


def _distractors(
    choices: Sequence[Choice], book: Book, views: Views, boxes_px: Tensor, size: int, draws: Draws
) -> Layer:
    """Another object, or the target once more, of about the target's size beside it."""
    # Where the target is out of view, its double would be taken for it.
    seen = views.in_view.tolist()
    rows = [row for row, c in enumerate(choices) if c.distractor and (seen[row] or not c.look_alike)]
    shots = [shot for row in rows if (shot := choices[row].distractor) is not None]
    index = torch.tensor(rows, dtype=torch.int64)
    draws, target = draws.rows(index), boxes_px[index]
    side = target[:, 2:].prod(1).sqrt() * (0.3 * draws.normal("distractor size", 1)[:, 0]).exp()
    reach = (target[:, 2:].norm(dim=1) + side) / 2 * draws.uniform("distractor distance", 1, 0.9, 1.8)[:, 0]
    centre = target[:, :2] + reach.unsqueeze(1) * _directions(draws, "distractor direction")
    # The target's double is turned as the view is, and some are mirrored.
    alike = torch.tensor([choices[row].look_alike for row in rows], dtype=torch.bool)
    mirrored = draws.chance("distractor mirror", 0.5) & alike
    turned = _small_turns(draws, "distractor turn", torch.where(mirrored, -1.0, 1.0).double())
    warp = torch.where(alike[:, None, None], views.warps[index, -1, :, :2], torch.eye(2, dtype=torch.float64))
    linear = product(turned, warp)
    return _pasted(book, shots, index, linear, centre, side, random_outlines(draws, "distractor"), size)


def _occluders(choices: Sequence[Choice], book: Book, boxes_px: Tensor, size: int, draws: Draws) -> Layer:
    """Something in front of a part of the target."""
    rows = [row for row, choice in enumerate(choices) if choice.occluder]
    shots = [choice.occluder for choice in choices if choice.occluder]
    index = torch.tensor(rows, dtype=torch.int64)
    draws, target = draws.rows(index), boxes_px[index]
    half = target[:, 2:] / 2
    off_centre = draws.uniform("occluder distance", 1, 0.5, 1.1) * _directions(draws, "occluder direction")
    side = half.prod(1).sqrt() * draws.uniform("occluder size", 1, 0.6, 1.4)[:, 0]
    turned = _small_turns(draws, "occluder turn", torch.ones_like(side))
    centre = target[:, :2] + half * off_centre
    return _pasted(book, shots, index, turned, centre, side, random_outlines(draws, "occluder"), size)


def _pasted(
    book: Book,
    shots: Sequence[Shot],
    rows: Tensor,
    linear: Tensor,
    centre: Tensor,
    side: Tensor,
    outline: Outline,
    size: int,
) -> Layer:
    """K shots' objects about `centre` [K, 2] with sqrt(w h) = `side` [K], in pixels of the crops."""
    boxes, numbers, sizes = _shots(book, shots)
    scale = side.clamp_min(LEAST_PX) / boxes[:, 2:].prod(1).sqrt()
    to_crop = warps_about(boxes[:, :2] + boxes[:, 2:] / 2, linear * scale[:, None, None], centre)
    return object_layer(Pieces(rows, numbers, sizes, inverse(to_crop)), boxes, outline, size)


def _same_template(choices: Sequence[Choice]) -> Tensor:
    """[B] bool."""
    return torch.tensor([choice.same_template for choice in choices])


def _shots(book: Book, shots: Sequence[Shot]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [K, 4], numbers of the images [K] and their sizes [K, 2]."""
    boxes = torch.tensor([shot.box_xywh for shot in shots], dtype=torch.float64).view(-1, 4)
    numbers = torch.tensor([book.numbers[shot.image] for shot in shots], dtype=torch.int64)
    sizes = torch.tensor([book.size(shot.image) for shot in shots], dtype=torch.float64).view(-1, 2)
    return boxes, numbers, sizes


def _directions(draws: Draws, name: str) -> Tensor:
    """Unit vectors [K, 2] float64."""
    angle = draws.uniform(name, 1, 0.0, 2 * math.pi).double()
    return torch.cat([angle.cos(), angle.sin()], 1)


def _small_turns(draws: Draws, name: str, mirror: Tensor) -> Tensor:
    """Turns by up to 20 degrees [K, 2, 2] float64; `mirror` [K] is 1 or -1."""
    degrees = draws.uniform(name, 1, -20.0, 20.0)[:, 0].double()
    return linear_maps(degrees, mirror, torch.ones_like(degrees), torch.zeros_like(degrees))
