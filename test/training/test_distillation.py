"""EATrack's distillation: E-4 to E-9, E-11, E-15, E-16, the pairs of blocks and the frozen teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training_samples import SMALL, random_batch, small_recipe, small_student

from training.checkpoint import save_student
from training.data.sampler import Batch
from training.distillation import cell_mask, coverage_mask, feature_loss, prediction_loss
from training.methods.eatrack import Distillation, EATrack, block_pairs, build
from training.methods.tracking import Tracking
from training.models.eatrack import EATrackConfig, EATrackStudent
from training.models.frozen import Frozen

TEACHER = replace(SMALL, stage1_blocks=0, stage2_blocks=4)
DOMAINS = ["two-class", "masked-softmax", "full-softmax"]
DIRECTIONS = ["student-teacher", "teacher-student"]


def tokens(count: int = 2, grid: int = 4, width: int = 6) -> list[Tensor]:
    return [torch.randn(3, grid * grid, width, requires_grad=True) for _ in range(count)]


def method_of(
    student: EATrackConfig = SMALL, teacher: EATrackConfig = TEACHER, **switches: object
) -> EATrack:
    return EATrack(small_student(student), small_student(teacher), Distillation(**switches), "around")  # type: ignore[arg-type]


# The feature branch


def test_coverage_mask() -> None:
    """E-4: the mask sums to the area of the box inside the region; a covering box gives ones."""
    boxes = torch.tensor(
        [[0.41, 0.33, 0.5, 0.21], [0.05, 0.95, 0.3, 0.4], [0.5, 0.5, 3.0, 3.0], [-1.0, 0.5, 0.2, 0.2]]
    )
    mask = coverage_mask(boxes, 16)
    cells_px = 16 * 16
    inside = torch.tensor([0.5 * 0.21, 0.2 * 0.25, 1.0, 0.0]) * 256 * 256
    assert torch.allclose(mask.sum((1, 2)) * cells_px, inside, atol=0.5)
    assert torch.equal(mask[2], torch.ones(16, 16))
    assert mask.min() >= 0 and mask.max() <= 1


def test_tokens_outside_the_mask_learn_nothing() -> None:
    """E-5: no gradient where M = 0, no loss between equals, and the background may be anything."""
    own, other = tokens(), [t.detach() for t in tokens()]
    mask = coverage_mask(torch.tensor([[0.5, 0.5, 0.4, 0.4]] * 3), 4).flatten(1)
    outside = (mask == 0).unsqueeze(2)
    loss = feature_loss(own, other, mask)
    loss.backward()
    for x in own:
        assert x.grad is not None
        assert (x.grad * outside).abs().sum() == 0 and (x.grad * ~outside).abs().sum() > 0
    assert feature_loss(own, own, mask) == 0
    changed = [x + 100 * outside for x in own]
    assert torch.equal(feature_loss(changed, other, mask), loss)


def test_without_any_mask_there_is_no_loss_and_no_gradient() -> None:
    """E-5: M = 0 everywhere gives exactly zero, not 0 / 0."""
    own, other = tokens(), [t.detach() for t in tokens()]
    loss = feature_loss(own, other, torch.zeros(3, 16))
    loss.backward()
    assert loss == 0
    assert all(x.grad is not None and x.grad.abs().sum() == 0 for x in own)


def test_the_mean_reduction_counts_neither_samples_nor_scale_nor_cells() -> None:
    """E-6: a doubled batch changes nothing, a scaled difference squares; nor does the target's size."""
    own, other = tokens(), tokens()
    mask = torch.rand(3, 16)
    loss = feature_loss(own, other, mask)
    twice = feature_loss(
        [torch.cat([x, x]) for x in own], [torch.cat([x, x]) for x in other], mask.repeat(2, 1)
    )
    assert twice.item() == pytest.approx(loss.item(), rel=1e-6)
    scaled = feature_loss([y + 3 * (x - y) for x, y in zip(own, other, strict=True)], other, mask)
    assert scaled.item() == pytest.approx(9 * loss.item(), rel=1e-5)
    ones, zeros = [torch.ones(3, 16, 6)], [torch.zeros(3, 16, 6)]
    assert feature_loss(ones, zeros, torch.eye(16)[:3]).item() == pytest.approx(1)
    assert feature_loss(ones, zeros, torch.full((3, 16), 0.3)).item() == pytest.approx(1)


def test_the_sum_of_the_paper() -> None:
    """1/(K B) sum_k sum_i || M_i (x - y) ||^2 of ones: width times the sum of the squared mask."""
    mask = torch.rand(3, 16)
    loss = feature_loss([torch.ones(3, 16, 6)] * 2, [torch.zeros(3, 16, 6)] * 2, mask, "seed-sum")
    assert loss.item() == pytest.approx(6 * mask.square().sum().item() / 3, rel=1e-5)


def test_the_background_weighs_what_it_is_told_but_for_boxes_outside() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.25, 0.25], [1.5, 0.5, 0.2, 0.2]])
    assert coverage_mask(boxes, 4, background=0.2).flatten(1).aminmax(dim=1).min.tolist() == pytest.approx(
        [0.2, 0]
    )
    assert torch.equal(coverage_mask(boxes, 4, background=1.0)[0], torch.ones(4, 4))
    assert coverage_mask(boxes, 4, background=1.0)[1].sum() == 0


# The prediction branch


def test_cells_whose_centre_lies_in_the_box() -> None:
    """One cell at least where the box meets the region, none where it does not."""
    boxes = torch.tensor(
        [
            [0.5, 0.5, 0.3, 0.3],  # 2.8 to 5.2 cells: the centres at 3.5 and 4.5
            [0.53, 0.1, 0.01, 0.02],  # between centres: the cell it lies in
            [1.05, 0.5, 0.2, 0.2],  # centre outside, a part inside: clamped to the border
            [1.2, 0.5, 0.2, 0.2],
            [0.5, 0.5, 3.0, 3.0],
        ]
    )
    mask = cell_mask(boxes, 8)
    assert mask.sum((1, 2)).tolist() == [4, 1, 1, 0, 64]
    assert mask[0, 3:5, 3:5].sum() == 4 and mask[1, 0, 4] == 1 and mask[2, 4, 7] == 1


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("domain", DOMAINS[:2])
def test_the_divergence_is_one_and_knows_only_the_mask(domain: str, direction: str) -> None:
    """E-7: not negative, zero between equals, blind and without gradient outside the mask."""
    own, other = 3 * torch.randn(4, 5, 5), 3 * torch.randn(4, 5, 5)
    own.requires_grad_()
    mask = cell_mask(torch.tensor([[0.5, 0.4, 0.5, 0.7]] * 4), 5)
    loss = prediction_loss(own, other, mask, domain, direction=direction)
    loss.backward()
    assert loss > 0
    assert own.grad is not None
    assert (own.grad * (1 - mask)).abs().sum() == 0 and (own.grad * mask).abs().sum() > 0
    elsewhere = 50 * torch.randn(4, 5, 5) * (1 - mask)
    moved = prediction_loss(own + elsewhere, other, mask, domain, direction=direction)
    assert moved.item() == pytest.approx(loss.item(), rel=1e-6)
    same = prediction_loss(own * mask, own * mask + elsewhere, mask, domain, direction=direction)
    assert same.item() == pytest.approx(0, abs=1e-9)
    assert prediction_loss(own, other, torch.zeros_like(mask), domain, direction=direction) == 0


def test_two_classes_have_a_closed_form_and_a_bound() -> None:
    """E-7: softplus(b) - softplus(a) - sigmoid(a) (b - a) over the mask, at most |a - b|."""
    own, other = 4 * torch.randn(4, 5, 5), 4 * torch.randn(4, 5, 5)
    mask = cell_mask(torch.tensor([[0.5, 0.5, 0.5, 0.5]] * 4), 5)
    a, b = own / 2, other / 2
    cells = F.softplus(b) - F.softplus(a) - a.sigmoid() * (b - a)
    expected = ((cells * mask).sum((1, 2)) / mask.sum((1, 2))).mean()
    found = prediction_loss(own, other, mask)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert found <= (((a - b).abs() * mask).sum((1, 2)) / mask.sum((1, 2))).mean()


def test_a_masked_softmax_knows_shapes_alone() -> None:
    """E-7: a constant shift costs nothing, and one cell has no shape."""
    own, other = torch.randn(4, 5, 5), torch.randn(4, 5, 5)
    mask = cell_mask(torch.tensor([[0.5, 0.5, 0.6, 0.6]] * 4), 5)
    loss = prediction_loss(own, other, mask, "masked-softmax")
    shifted = prediction_loss(own + 7, other - 3, mask, "masked-softmax")
    assert shifted.item() == pytest.approx(loss.item(), rel=1e-4)
    one_cell = cell_mask(torch.tensor([[0.5, 0.5, 0.01, 0.01]] * 4), 5)
    assert prediction_loss(own, other, one_cell, "masked-softmax").item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_high_temperature_melts_every_difference(domain: str) -> None:
    """E-8: the loss falls with the square of the temperature."""
    own, other = torch.randn(4, 5, 5), torch.randn(4, 5, 5)
    mask = torch.ones(4, 5, 5)
    warm, hot = (prediction_loss(own, other, mask, domain, t).item() for t in (10.0, 1000.0))
    assert 0 <= hot < 1e-5 and hot < warm / 100


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_extreme_logits_stay_finite(domain: str, direction: str) -> None:
    """E-8: +-1e4 in float32, in value and gradient."""
    own = torch.tensor([[[1e4, -1e4], [1e4, -1e4]]], requires_grad=True)
    other = torch.tensor([[[1e4, 1e4], [-1e4, -1e4]]])
    loss = prediction_loss(own, other, torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]), domain, direction=direction)
    loss.backward()
    assert own.grad is not None
    assert loss.isfinite() and own.grad.isfinite().all()


def test_a_full_softmax_is_no_divergence() -> None:
    """E-9: (.4, .3 | .2, .1) against itself gives 0, but at p / e inside the mask -0.2575, a mean of two."""
    p = torch.tensor([0.4, 0.3, 0.2, 0.1])
    inside = p[:2] / math.e
    lower = torch.cat([inside, p[2:] / p[2:].sum() * (1 - inside.sum())])
    mask = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])

    def loss(own: Tensor) -> float:
        maps = own.log().reshape(1, 2, 2), p.log().reshape(1, 2, 2)
        return prediction_loss(*maps, mask, "full-softmax", temperature=1.0).item()

    assert loss(p) == pytest.approx(0, abs=1e-7)
    assert loss(lower) == pytest.approx(-0.2575 / 2, abs=1e-4)


def test_the_losses_are_float32_from_half_precision() -> None:
    own, other = torch.randn(2, 4, 4).bfloat16(), torch.randn(2, 4, 4).bfloat16()
    mask = torch.ones(2, 4, 4)
    assert torch.equal(prediction_loss(own, other, mask), prediction_loss(own.float(), other.float(), mask))
    x, y = own.flatten(1).unsqueeze(2), other.flatten(1).unsqueeze(2)
    assert feature_loss([x], [y], mask.flatten(1)).dtype == torch.float32


# The method


def test_the_published_pairs_of_blocks() -> None:
    """E-11: 4->6, 5->8, 6->9, 7->11, 8->12 in proportion, or the last five of both."""
    published, teacher = EATrackConfig(), EATrackConfig(stage1_blocks=0, stage2_blocks=12)
    assert block_pairs(published, teacher, "proportional") == [(4, 6), (5, 8), (6, 9), (7, 11), (8, 12)]
    assert block_pairs(published, teacher, "last") == [(4, 8), (5, 9), (6, 10), (7, 11), (8, 12)]
    assert block_pairs(SMALL, TEACHER, "proportional") == [(2, 3), (3, 4)]


def test_a_teacher_without_a_joint_partner_is_refused() -> None:
    with pytest.raises(ValueError, match="block 2 of the student with block 1 of the teacher, whose joint"):
        block_pairs(SMALL, replace(SMALL, stage1_blocks=1, stage2_blocks=1), "last")


def test_every_loss_has_a_name_and_absent_targets_distil_nothing() -> None:
    method, batch = method_of(), random_batch(4)
    losses = method(batch, 0.0)
    assert list(losses) == ["focal", "l1", "giou", "feature", "prediction"]
    assert all(value > 0 and value.isfinite() for value in losses.values())
    absent = method(batch._replace(present=torch.zeros(4, dtype=torch.bool)), 0.0)
    assert absent["feature"] == 0 and absent["prediction"] == 0
    half = method(batch._replace(present=torch.tensor([True, True, False, False])), 0.0)
    first_two = method(Batch(*(field[:2] for field in batch)), 0.0)
    assert half["feature"].item() == pytest.approx(first_two["feature"].item() / 2, rel=1e-4)
    assert half["prediction"].item() == pytest.approx(first_two["prediction"].item() / 2, rel=1e-4)


@pytest.mark.parametrize(
    "switches",
    [
        {"pairs": "last"},
        {"background": 0.3},
        {"reduction": "seed-sum"},
        {"domain": "masked-softmax"},
        {"direction": "teacher-student"},
        {"template_tokens": True},
    ],
    ids=lambda s: next(iter(s)),
)
def test_every_switch_changes_its_own_branch(switches: dict[str, object]) -> None:
    teacher, batch = replace(TEACHER, stage2_blocks=6), random_batch(4)
    plain, switched = (
        method_of(teacher=teacher)(batch, 0.0),
        method_of(teacher=teacher, **switches)(batch, 0.0),
    )
    changed = {name for name in plain if not torch.isclose(plain[name], switched[name], rtol=1e-4)}
    assert changed == {"prediction" if set(switches) & {"domain", "direction"} else "feature"}


def test_the_square_of_the_temperature_is_a_factor() -> None:
    batch = random_batch(4)
    plain, squared = (
        method_of(temperature=3.0, temperature_squared=on)(batch, 0.0)["prediction"] for on in (False, True)
    )
    assert squared.item() == pytest.approx(9 * plain.item(), rel=1e-5)


def test_template_tokens_are_compared_inside_their_boxes_alone() -> None:
    """With template boxes outside their crops, only the search tokens are left."""
    batch = random_batch(4)
    missing = batch._replace(template_boxes=torch.tensor([3.0, 3.0, 0.1, 0.1]).expand(4, 2, 4))
    plain, without = method_of()(batch, 0.0), method_of(template_tokens=True)(missing, 0.0)
    assert without["feature"].item() == pytest.approx(plain["feature"].item(), rel=1e-5)


def test_the_teacher_stays_as_it_is() -> None:
    """E-15: no gradient, no running statistics, no training mode; in no state and no list, yet moved."""
    method, batch = method_of(), random_batch(4)
    teacher = method.teacher.network
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    method.train()
    optimiser = torch.optim.SGD(method.parameters(), 0.1)
    for _ in range(2):
        torch.stack(list(method(batch, 0.0).values())).sum().backward()
        optimiser.step()
    assert method.student.training and not any(module.training for module in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert {name.split(".")[0] for name in method.state_dict()} == {"student"}
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.student.parameters()}
    method.to(torch.float64)
    assert next(teacher.parameters()).dtype == torch.float64


def test_the_teacher_runs_once_a_batch_and_only_if_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    forward = Frozen.forward

    def counted(self: Frozen, *args: object, **kwargs: bool) -> object:
        calls.append(kwargs["keep_blocks"])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Frozen, "forward", counted)
    method, batch = method_of(), random_batch(2)
    for branches in [("feature", "prediction"), ("prediction",), ()]:
        method.branches = branches
        assert list(method(batch, 0.0))[3:] == list(branches)
    assert calls == [True, False]


@pytest.mark.parametrize("cells", ["peak", "around"])
def test_without_branches_the_gradient_is_that_of_tracking(cells: str) -> None:
    """E-16: bit for bit, with random drop-path and batch statistics."""
    config, batch = replace(SMALL, drop_path=0.3), random_batch(4)
    gradients = []
    for distilled in (False, True):
        student = small_student(config)
        teacher = small_student(TEACHER)
        method = (
            EATrack(student, teacher, Distillation(), cells, ()) if distilled else Tracking(student, cells)
        )
        method.train()
        torch.manual_seed(7)
        losses = method(batch, 0.0)
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({name: p.grad for name, p in student.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name


def test_a_teacher_of_another_width_is_met_through_projections() -> None:
    """They are trained, but are no part of the student."""
    method = method_of(teacher=replace(TEACHER, width=24))
    assert [(p.in_features, p.out_features) for p in method.projections] == [(48, 24), (48, 24)]
    method(random_batch(2), 0.0)["feature"].backward()
    assert method.projections[0].weight.grad.abs().sum() > 0
    assert set(method.student.state_dict()) == set(EATrackStudent(SMALL).state_dict())


def test_half_precision_gives_the_same_losses_in_float32() -> None:
    method, batch = method_of(), random_batch(4)
    full = method(batch, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = method(batch, 0.0)
    for name, value in half.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full[name].item(), rel=0.1, abs=0.02), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_size": 96}, "teacher has search_size = 96, the student 64"),
        ({"template_slots": 1}, "teacher has template_slots = 1, the student 2"),
        ({"template_factor": 3.0}, "teacher has template_factor = 3.0, the student 2.0"),
    ],
)
def test_a_teacher_that_sees_other_crops_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_of(teacher=replace(TEACHER, **changes))


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"pairs": "all"}, "pairs = 'all' is unknown; accepted are proportional, last"),
        ({"domain": "softmax"}, "domain = 'softmax' is unknown; accepted are two-class"),
        ({"background": 2.0}, "background = 2.0 must lie between 0 and 1"),
        ({"temperature": 0.0}, "temperature = 0.0 must be positive"),
    ],
)
def test_impossible_switches_are_refused(switches: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**switches)  # type: ignore[arg-type]


def test_a_recipe_names_its_teacher_and_its_branches(tmp_path: Path) -> None:
    file = str(save_student(tmp_path, small_student(TEACHER), TEACHER, {}))
    weights = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "feature": 1.0, "prediction": 0.0}
    recipe = small_recipe(method="eatrack", distillation=Distillation(teacher=file), loss_weights=weights)
    method = build(small_student(), recipe)
    assert method.branches == ("feature",)
    assert method.teacher.network.config == TEACHER
    with pytest.raises(FileNotFoundError, match="teacher = 'none.pt' is no file"):
        build(small_student(), replace(recipe, distillation=Distillation(teacher="none.pt")))
    with pytest.raises(ValueError, match="loss_weights lacks 'prediction'"):
        build(small_student(), replace(recipe, loss_weights={"focal": 1.0, "feature": 1.0}))
