"""Identities of the tracking losses: golden radii of the heat map, B-3, B-4."""

from __future__ import annotations

import math

import pytest
import torch

from training import losses as losses_module
from training.losses import (
    box_losses,
    boxes_at_peak,
    focal_loss,
    gaussian_radius,
    target_heat_map,
    tracking_losses,
)
from training.models.centre_head import CentreMaps

PRESENT = torch.ones(1, dtype=torch.bool)


def test_golden_radii() -> None:
    sizes = torch.tensor([[4.0, 4.0], [10.0, 10.0], [8.0, 2.0], [0.0, 0.0]])
    assert gaussian_radius(sizes).tolist() == [1, 2, 0, 0]


def test_heat_map_of_radius_one() -> None:
    """Neighbours exp(-2), diagonals exp(-4), nothing further out."""
    heat = target_heat_map(torch.tensor([[8.5 / 16, 8.5 / 16, 4 / 16, 4 / 16]]), PRESENT, 16)[0]
    assert heat[8, 8] == 1
    assert heat[8, 9].item() == pytest.approx(0.135335, abs=1e-6)
    assert heat[7, 9].item() == pytest.approx(0.018316, abs=1e-6)
    assert heat[8, 10] == 0
    assert heat.sum().item() == pytest.approx(1 + 4 * math.exp(-2) + 4 * math.exp(-4), abs=1e-5)


def test_heat_map_is_cut_at_the_border_and_empty_without_target() -> None:
    boxes = torch.tensor([[0.99, 0.01, 0.3, 0.3], [0.5, 0.5, 0.3, 0.3]])
    heat = target_heat_map(boxes, torch.tensor([True, False]), 8)
    assert heat[0, 0, 7] == 1
    assert heat[1].sum() == 0


def test_focal_loss() -> None:
    """B-3: nothing to lose where the prediction is right; worse in either direction costs."""
    target = torch.zeros(1, 8, 8)
    target[0, 3, 4] = 1
    right = target.clamp(1e-4, 1 - 1e-4)
    assert 0 <= focal_loss(right, target) < 1e-6
    missed, ghost = right.clone(), right.clone()
    missed[0, 3, 4] = 0.6
    ghost[0, 0, 0] = 0.4
    assert focal_loss(missed, target) > 1e-3
    assert focal_loss(ghost, target) > 1e-3


def test_focal_loss_without_any_target_is_not_divided_by_zero() -> None:
    loss = focal_loss(torch.full((2, 4, 4), 0.3), torch.zeros(2, 4, 4))
    assert loss.item() == pytest.approx(-32 * 0.3**2 * math.log(0.7), rel=1e-5)


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0, 50.0])
def test_giou_of_unit_boxes_side_by_side(gap: float) -> None:
    """B-4: -gap / (2 + gap); here scaled by 1/100 so that the boxes lie in the region."""
    a = torch.tensor([[0.05, 0.5, 0.01, 0.01]])
    b = torch.tensor([[0.05 + 0.01 * (1 + gap), 0.5, 0.01, 0.01]])
    _, giou_loss = box_losses(a, b, torch.ones(1))
    assert (1 - giou_loss).item() == pytest.approx(-gap / (2 + gap), abs=1e-3)


def test_equal_boxes_cost_nothing_and_weights_are_shares() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.3], [0.3, 0.6, 0.1, 0.1]])
    l1, giou = box_losses(boxes, boxes, torch.ones(2))
    assert l1 == 0 and giou.item() == pytest.approx(0, abs=1e-5)
    off = boxes + torch.tensor([[0.0, 0, 0, 0], [0.1, 0, 0, 0]])
    only_first, _ = box_losses(off, boxes, torch.tensor([1.0, 0.0]))
    both, _ = box_losses(off, boxes, torch.ones(2))
    assert only_first == 0 and both.item() == pytest.approx(0.025, abs=1e-6)


def test_the_batch_of_two_processes_is_the_mean_of_their_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells and boxes are counted over all processes, though one has fewer targets than the other."""
    maps = CentreMaps(torch.randn(4, 5, 5), torch.randn(4, 2, 5, 5), torch.rand(4, 2, 5, 5))
    boxes = torch.tensor(
        [[0.5, 0.5, 0.3, 0.2], [0.3, 0.2, 0.3, 0.3], [0.05, 0.9, 0.2, 0.4], [0.5, 0.5, 0.1, 0.1]]
    )
    present = torch.tensor([True, True, True, False])
    halves = [slice(0, 2), slice(2, 4)]

    def parts() -> list[dict[str, torch.Tensor]]:
        return [
            tracking_losses(CentreMaps(*(m[h] for m in maps)), boxes[h], present[h], "around") for h in halves
        ]

    counts: list[torch.Tensor] = []
    with monkeypatch.context() as patch:
        patch.setattr(losses_module, "mean_over_processes", lambda count: counts.append(count) or count)
        parts()
    per_process = len(counts) // 2
    means = [
        torch.stack(pair).mean() for pair in zip(counts[:per_process], counts[per_process:], strict=True)
    ]
    answers = iter(means * 2)
    monkeypatch.setattr(losses_module, "mean_over_processes", lambda _: next(answers))
    shared = parts()
    monkeypatch.undo()
    whole = tracking_losses(maps, boxes, present, "around")
    for name, value in whole.items():
        assert (shared[0][name] + shared[1][name]).item() / 2 == pytest.approx(value.item(), rel=1e-5), name


def test_box_at_the_windowed_peak() -> None:
    logits = torch.full((1, 4, 4), -5.0)
    logits[0, 0, 0], logits[0, 2, 1] = 3.0, 2.0
    maps = CentreMaps(logits, torch.zeros(1, 2, 4, 4), torch.full((1, 2, 4, 4), 0.5))
    window = torch.ones(4, 4)
    window[0, 0] = 0.01
    assert boxes_at_peak(maps)[0, :2].tolist() == [0, 0]
    assert boxes_at_peak(maps, window)[0, :2].tolist() == [0.25, 0.5]


@pytest.mark.parametrize("cells", ["peak", "around"])
def test_an_absent_target_teaches_no_box(cells: str) -> None:
    maps = CentreMaps(
        torch.zeros(2, 4, 4, requires_grad=True),
        torch.zeros(2, 2, 4, 4, requires_grad=True),
        torch.full((2, 2, 4, 4), 0.3, requires_grad=True),
    )
    boxes = torch.tensor([[0.4, 0.4, 0.3, 0.3], [0.6, 0.6, 0.2, 0.2]])
    losses = tracking_losses(maps, boxes, torch.tensor([True, False]), cells)
    sum(losses.values()).backward()
    assert maps.size.grad is not None
    assert maps.size.grad[0].abs().sum() > 0
    assert maps.size.grad[1].abs().sum() == 0


def test_cells_around_the_target_learn_the_same_box() -> None:
    """With "around", a perfect map has no loss and only the target's neighbourhood has a gradient."""
    grid, box = 8, torch.tensor([[0.47, 0.53, 0.25, 0.3]])
    columns = torch.arange(8.0).expand(8, 8)
    offset = torch.stack([0.47 * grid - columns, 0.53 * grid - columns.T])[None].requires_grad_()
    size = torch.tensor([0.25, 0.3]).view(1, 2, 1, 1).expand(1, 2, 8, 8).clone().requires_grad_()
    maps = CentreMaps(torch.zeros(1, 8, 8), offset, size)
    losses = tracking_losses(maps, box, PRESENT, "around")
    assert losses["l1"].item() == pytest.approx(0, abs=1e-6)
    shifted = maps._replace(offset=offset + 0.2)
    tracking_losses(shifted, box, PRESENT, "around")["l1"].backward()
    touched = offset.grad[0].abs().sum(0).nonzero()
    assert touched.min(0).values.tolist() == [3, 2] and touched.max(0).values.tolist() == [5, 4]
