"""Random numbers by number: what they depend on, and what they do not."""

from __future__ import annotations

import pytest
import torch

from training.data.draws import Draws

MANY = Draws(3, torch.arange(20_000))


def test_uniform_numbers_fill_their_range_evenly() -> None:
    drawn = MANY.uniform("some", 2, -1.0, 3.0)
    assert drawn.shape == (20_000, 2) and drawn.dtype == torch.float32
    assert drawn.min() >= -1 and drawn.max() < 3
    counts = torch.histc(drawn, 20, -1, 3)
    assert (counts - 2000).abs().max() < 200  # 4.5 deviations


def test_normal_numbers_have_the_moments_and_tails_of_a_normal_distribution() -> None:
    drawn = MANY.normal("some", 2)
    assert drawn.mean().abs() < 0.02 and (drawn.std() - 1).abs() < 0.02
    assert (drawn.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    assert torch.isfinite(drawn).all()


def test_chances_hold_and_their_ends_are_certain() -> None:
    assert MANY.chance("some", 0.3).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert not MANY.chance("some", 0.0).any() and MANY.chance("some", 1.0).all()


@pytest.mark.parametrize(
    "other",
    [
        Draws(4, MANY.numbers).uniform("some", 1),
        MANY.uniform("any", 1),
        Draws(3, MANY.numbers + 1).uniform("some", 1),
    ],
    ids=["seed", "name", "number"],
)
def test_every_argument_gives_unrelated_numbers(other: torch.Tensor) -> None:
    pair = torch.cat([MANY.uniform("some", 1), other], 1).T
    assert torch.corrcoef(pair)[0, 1].abs() < 0.03
    columns = MANY.uniform("some", 2).T
    assert torch.corrcoef(columns)[0, 1].abs() < 0.03


def test_a_draw_does_not_depend_on_the_batch_or_on_how_many_are_drawn() -> None:
    numbers = torch.tensor([7, 123_456_789_012, 0, 19])
    whole = Draws(3, numbers)
    for method in ("uniform", "normal"):
        alone = torch.cat([getattr(Draws(3, numbers[i : i + 1]), method)("shake", 3) for i in range(4)])
        assert torch.equal(getattr(whole, method)("shake", 3), alone)
        assert torch.equal(getattr(whole.rows(torch.tensor([2, 0])), method)("shake", 3), alone[[2, 0]])
    assert torch.equal(whole.uniform("shake", 5)[:, :3], whole.uniform("shake", 3))


def test_a_run_can_be_resumed_by_a_later_version() -> None:
    """The numbers themselves are part of what a seed means."""
    drawn = Draws(0, torch.tensor([0, 1])).uniform("mirror", 2)
    assert torch.equal(drawn * (1 << 24), torch.tensor(GOLDEN))


GOLDEN = [[15675045.0, 7946056.0], [326376.0, 12332527.0]]
