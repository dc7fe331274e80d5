"""Corner heads and the boxes that they mean: A-9, M-3 and M-4."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.models.corner_head import (
    CornerHead,
    CornerLogits,
    PyramidCornerHead,
    centre_form,
    corner_boxes,
    expected_boxes,
    joint_maps,
    marginal_logits,
    marginals,
    one_box,
    peakedness,
)

GRID = 6
SURE = 1000.0  # a logit above the others by so much is all of the softmax


def random_logits(count: int = 3, scale: float = 3.0) -> CornerLogits:
    generator = torch.Generator().manual_seed(0)
    return CornerLogits(*(torch.randn(count, GRID, GRID, generator=generator) * scale for _ in range(2)))


def one_cell(row: int, column: int) -> Tensor:
    logits = torch.zeros(1, GRID, GRID)
    logits[0, row, column] = SURE
    return logits


def test_a_certain_corner_is_its_cell() -> None:
    """A-9: one-hot maps at (row, column) give (column, row) / G; half a cell is added if asked for."""
    logits = CornerLogits(one_cell(1, 2), one_cell(4, 5))
    expected = torch.tensor([[2, 1, 5, 4]]) / GRID
    torch.testing.assert_close(corner_boxes(logits), expected)
    torch.testing.assert_close(corner_boxes(logits, half_cell=True), expected + 0.5 / GRID)
    assert corner_boxes(CornerLogits(one_cell(5, 5), one_cell(5, 5))).max() == (GRID - 1) / GRID


def test_undecided_corners_lie_in_the_middle() -> None:
    """A-9: uniform maps give (G - 1) / 2G for all edges."""
    flat = torch.zeros(2, GRID, GRID)
    torch.testing.assert_close(
        corner_boxes(CornerLogits(flat, flat)), torch.full((2, 4), (GRID - 1) / (2 * GRID))
    )


def test_marginals_are_distributions_with_the_expectation_of_the_joint_map() -> None:
    """M-3: each sums to 1; its expectation is the soft-argmax coordinate of the joint map."""
    logits = random_logits()
    torch.testing.assert_close(marginals(logits).sum(2), torch.ones(3, 4))
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    edges = [(joint * axis).sum((1, 2)) / GRID for joint in joint_maps(logits) for axis in (columns, rows)]
    torch.testing.assert_close(corner_boxes(logits), torch.stack(edges, dim=1))


def test_marginals_of_independent_edges_are_their_distributions() -> None:
    """M-3: a joint map that is an outer product returns its factors."""
    factors = torch.randn(2, 4, GRID, generator=torch.Generator().manual_seed(2)).log_softmax(2)
    left, top, right, bottom = factors.unbind(1)
    corners = ((top, left), (bottom, right))
    logits = CornerLogits(*(rows.unsqueeze(2) + columns.unsqueeze(1) for rows, columns in corners))
    torch.testing.assert_close(marginals(logits), factors.exp())


def test_the_logits_of_the_marginals() -> None:
    """Their softmax are the marginals, and they stay finite where those are rounded to 0."""
    logits = random_logits()
    torch.testing.assert_close(marginal_logits(logits).softmax(2), marginals(logits))
    extreme = random_logits(scale=SURE)
    assert (marginals(extreme) == 0).any()
    assert marginal_logits(extreme).log_softmax(2).isfinite().all()


def test_distributions_of_edges_are_decoded_by_their_expectation() -> None:
    """M-4: bin k decodes to k / F, uniform to (F - 1) / 2F, a shift by one bin moves the box by 1 / F."""
    bins = 16
    picked = torch.nn.functional.one_hot(torch.tensor([[0, 3, 9, 15]]), bins)
    torch.testing.assert_close(expected_boxes(picked), torch.tensor([[0, 3, 9, 15]]) / bins)
    uniform = torch.full((1, 4, bins), 1 / bins)
    torch.testing.assert_close(expected_boxes(uniform), torch.full((1, 4), (bins - 1) / (2 * bins)))
    inner = torch.zeros(1, 4, bins)
    inner[..., 4:9] = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(3)).softmax(2)
    moved = expected_boxes(inner.roll(1, dims=2)) - expected_boxes(inner)
    torch.testing.assert_close(moved, torch.full((1, 4), 1 / bins))


def test_autocast_does_not_round_coordinates() -> None:
    logits = random_logits()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = corner_boxes(logits)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, corner_boxes(logits))


def test_peakedness() -> None:
    """1 for certain corners, 1 / G^2 for undecided ones."""
    sure, flat = one_cell(1, 2), torch.zeros(1, GRID, GRID)
    assert peakedness(CornerLogits(sure, sure)).item() == 1.0
    assert peakedness(CornerLogits(flat, flat)).item() == pytest.approx(1 / GRID**2)
    assert peakedness(CornerLogits(sure, flat)).item() == pytest.approx(1 / GRID)


def test_crossed_corners_still_make_a_box() -> None:
    crossed = centre_form(torch.tensor([[0.2, 0.1, 0.6, 0.3], [0.6, 0.3, 0.2, 0.1]]))
    torch.testing.assert_close(crossed, torch.tensor([[0.4, 0.2, 0.4, 0.2], [0.4, 0.2, 1e-4, 1e-4]]))


@pytest.mark.parametrize(("head", "scale"), [(CornerHead, 1), (PyramidCornerHead, 4)])
def test_heads_give_one_map_a_corner(head: type[torch.nn.Module], scale: int) -> None:
    """On the grid of the features, or four times finer; the branches share nothing and learn."""
    torch.manual_seed(0)
    module = head(24, 16)
    logits = module(torch.randn(2, 24, 3, 5))
    assert [each.shape for each in logits] == [(2, 3 * scale, 5 * scale)] * 2
    logits.top_left.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) == name.startswith("top_left."), name
    with torch.autocast("cpu", torch.bfloat16):
        assert module(torch.randn(1, 24, 3, 3)).bottom_right.dtype == torch.float32


def test_a_certain_box_is_still_a_score_between_0_and_1() -> None:
    """Bug: of a corner that is all of its map the drone refused a score of exactly 1."""
    corners = CornerLogits(one_cell(1, 1), one_cell(4, 4))
    assert peakedness(corners).item() == 1
    outputs = one_box(corner_boxes(corners), peakedness(corners), torch.zeros(1, 3))
    assert outputs.score_map.shape == (1, 1, 1) and outputs.box_map.shape == (1, 4, 1, 1)
    assert 0.999 < outputs.score_map.item() < 1
    never = one_box(corner_boxes(corners), torch.zeros(1), torch.zeros(1, 3))
    assert 0 < never.score_map.item() < 0.001
