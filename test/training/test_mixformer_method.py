"""The training of MixFormerV2: M-3, M-5 to M-9, M-11, M-14, and its stages one after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from overfitting import learn, mean_iou
from test_mixformer import STUDENT, TEACHER, images, network
from torch import Tensor
from torchvision.ops import box_iou
from training_samples import pixels, random_batch, small_recipe

from training.checkpoint import save_student
from training.data.sampler import Batch
from training.distillation import edge_loss
from training.losses import box_losses, complete_iou_loss
from training.methods.mixformer import (
    Distillation,
    MixFormer,
    ScoreHead,
    block_pairs,
    build,
    fading,
    fading_blocks,
)
from training.models.corner_head import CornerLogits, marginal_logits
from training.models.mixformer import MixFormerConfig, MixFormerStudent, scale_block
from training.recipe import RECIPES, check_order, read_recipe
from training.start import Start, initialise
from training.train import build_optimiser

WEIGHTS = {"l1": 5.0, "ciou": 2.0, "edge": 5.0, "feature": 0.2}
STAGES = [f"mixformer_smoke{part}" for part in ("_teacher", "_4", "_4to2", "_2", "")]


def saved(folder: Path, net: MixFormerStudent) -> str:
    folder.mkdir(exist_ok=True)
    return str(save_student(folder, net, net.config, {}))


def started(config: MixFormerConfig, file: str) -> MixFormerStudent:
    student = config.build()
    initialise(student, Start(checkpoint=file))
    return student.eval()


def fading_method(**switches: object) -> tuple[MixFormer, MixFormerStudent]:
    """Four blocks of which two fade, and the teacher that it began as."""
    teacher, student = network(), network()
    switches = {"kept_blocks": 2, "matched_blocks": 2, **switches}
    return MixFormer(student, teacher, Distillation("teacher", **switches)), teacher  # type: ignore[arg-type]


# The losses


def random_edges(seed: int) -> Tensor:
    return torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(seed)) * 2


def test_the_edge_loss_is_a_divergence() -> None:
    """M-5: the mean of four KL(teacher || student); 0 for logits that differ by a constant, never below."""
    own, other = random_edges(0), random_edges(1)
    loss = edge_loss(own, other, torch.ones(3))
    p, q = other.softmax(2), own.softmax(2)
    torch.testing.assert_close(loss, (p * (p / q).log()).sum(2).mean())
    assert loss > 0
    assert edge_loss(other + torch.randn(3, 4, 1), other, torch.ones(3)).abs() < 1e-6
    only_first = edge_loss(own, other, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(only_first * 3, edge_loss(own[:1], other[:1], torch.ones(1)))


def test_the_marginals_of_a_corner_head_are_its_targets() -> None:
    """M-3, M-5: a student whose logits are the logarithms of the teacher's marginals has nothing to learn."""
    maps = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    joint = [m.flatten(1).softmax(1).reshape(3, 6, 6) for m in maps]
    marginal = torch.stack([joint[0].sum(1), joint[0].sum(2), joint[1].sum(1), joint[1].sum(2)], dim=1)
    teacher = marginal_logits(CornerLogits(*maps))
    assert edge_loss(marginal.log() + 3.0, teacher, torch.ones(3)).abs() < 1e-6
    assert edge_loss(random_edges(0)[..., :6], teacher, torch.ones(3)) > 1e-3


def test_the_gradient_of_the_edge_loss_sums_to_zero() -> None:
    """M-5: over the bins, as a constant changes nothing."""
    own = random_edges(0).requires_grad_()
    edge_loss(own, random_edges(1), torch.ones(3)).backward()
    assert own.grad is not None and own.grad.abs().max() > 1e-3
    torch.testing.assert_close(own.grad.sum(2), torch.zeros(3, 4), atol=1e-6, rtol=0)


def test_complete_iou() -> None:
    """M-14: 0 for equal boxes; the same when the axes change places; the formula elsewhere."""
    one = torch.tensor([[0.1, 0.2, 0.5, 0.4], [0.3, 0.3, 0.6, 0.9], [0.0, 0.0, 0.1, 0.1]])
    other = torch.tensor([[0.1, 0.2, 0.55, 0.4], [0.35, 0.35, 0.6, 0.8], [0.7, 0.8, 0.9, 1.0]])
    torch.testing.assert_close(complete_iou_loss(one, one), torch.zeros(3), atol=1e-5, rtol=0)
    swapped = [box[:, [1, 0, 3, 2]] for box in (one, other)]
    loss = complete_iou_loss(one, other)
    torch.testing.assert_close(complete_iou_loss(*swapped), loss)
    iou, size, wanted = box_iou(one, other).diagonal(), one[:, 2:] - one[:, :2], other[:, 2:] - other[:, :2]
    distance = ((one[:, :2] + one[:, 2:] - other[:, :2] - other[:, 2:]) / 2).square().sum(1)
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    angles = [torch.atan(each[:, 0] / each[:, 1]) for each in (size, wanted)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    expected = 1 - iou + distance / around.square().sum(1) + v * v / (1 - iou + v + 1e-7)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)


def test_boxes_without_an_area_have_a_gradient() -> None:
    """Expected edges can cross, or meet, before the network has learnt anything."""
    boxes = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, -0.2, -0.1]]).requires_grad_()  # cxcywh
    target = torch.tensor([[0.4, 0.4, 0.2, 0.1], [0.4, 0.4, 0.2, 0.1]])
    losses = box_losses(boxes, target, torch.ones(2), overlap_loss=complete_iou_loss)
    sum(losses).backward()
    assert boxes.grad is not None and boxes.grad.isfinite().all() and (boxes.grad != 0).any(1).all()


# Deep to shallow


def test_the_decay() -> None:
    """M-7: golden values for 40 of 45 epochs; it only falls, and is 0 from there on."""
    golden = {0: 1.0, 1: 0.99846, 10: 0.85355, 20: 0.5, 30: 0.14645, 39: 0.00154, 40: 0.0}
    for epoch, value in golden.items():
        assert fading(epoch / 45, 40 / 45) == pytest.approx(value, abs=5e-6)
    values = [fading(step / 1000, 40 / 45) for step in range(1001)]
    assert all(a > b or a == b == 0 for a, b in zip(values, values[1:], strict=False))
    assert all(value == 0 for value in values[889:])


def test_which_blocks_fade_and_which_are_compared() -> None:
    """M-8: 12 to 8 without 0, 3, 6, 9; 8 to 4 without 0, 2, 4, 6; the end of each quarter is compared."""
    assert fading_blocks(12, 8) == [0, 3, 6, 9]
    assert fading_blocks(8, 4) == [0, 2, 4, 6]
    assert block_pairs(12, 12, 4) == [(2, 2), (5, 5), (8, 8), (11, 11)]
    assert block_pairs(8, 12, 4) == [(1, 2), (3, 5), (5, 8), (7, 11)]
    assert block_pairs(8, 8, 4) == [(1, 1), (3, 3), (5, 5), (7, 7)]
    assert block_pairs(4, 8, 4) == [(0, 1), (1, 3), (2, 5), (3, 7)]


def test_a_full_gain_is_the_undecayed_network() -> None:
    """M-6: at progress 0 the student is its teacher, bit for bit: nothing to learn of it."""
    method, teacher = fading_method()
    losses = method.eval()(random_batch(3), 0.0)
    assert losses["feature"].item() == 0 and losses["edge"].abs().item() < 1e-6
    for own, other in zip(method.student.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(own, other)


@torch.no_grad()
def test_faded_blocks_can_be_taken_out(tmp_path: Path) -> None:
    """M-6: at gain 0 they are the identity, and the network without them gives the same, bit for bit."""
    method, _ = fading_method()
    method.eval()(random_batch(3), 0.95)
    full, pair = method.student, images()
    tokens = torch.randn(2, 5, 48)
    for index in (0, 2):
        block = full.blocks[index]
        seen, memory = block.remember(tokens)
        assert torch.equal(seen, tokens) and torch.equal(block.attend(tokens, memory), tokens)
    halved = started(replace(STUDENT, blocks=2), saved(tmp_path, full))
    before, after = full(*pair, keep_blocks=True), halved(*pair, keep_blocks=True)
    assert torch.equal(before.boxes, after.boxes) and torch.equal(before.score, after.score)
    assert torch.equal(before.blocks[1], after.blocks[0]) and torch.equal(before.blocks[3], after.blocks[1])


def test_half_a_gain_is_half_of_both_branches() -> None:
    """The form of the released code: x' = x + gamma ATTN(x), then x' + gamma FFN(x')."""
    block, original = network().blocks[1], network().blocks[1]
    scale_block(block, original, 0.5)
    tokens = torch.randn(2, 5, 48)
    with torch.no_grad():
        middle = tokens + 0.5 * original.attn(original.norm1(tokens))
        expected = middle + 0.5 * original.mlp(original.norm2(middle))
        torch.testing.assert_close(block.remember(tokens)[0], expected)


def test_fading_blocks_are_frozen_and_a_resumed_run_fades_on() -> None:
    """Their weights are the teacher's, whatever the student was made of; all others train."""
    method, teacher = fading_method()
    batch = random_batch(3)
    method.train()
    sum(method(batch, 0.4).values()).backward()
    idle = {name for name, p in method.named_parameters() if p.grad is None}
    assert {".".join(name.split(".")[1:3]) for name in idle} == {"blocks.0", "blocks.2", "head.score"}
    torch.manual_seed(9)
    resumed = MixFormer(STUDENT.build(), teacher, method.distillation)
    resumed.load_state_dict(method.state_dict())
    for progress in (0.4, 0.6):
        one, other = (m.eval()(batch, progress) for m in (method, resumed))
        assert all(torch.equal(one[name], other[name]) for name in WEIGHTS)


def test_blocks_are_numbered_anew(tmp_path: Path) -> None:
    """M-8: 1, 2, 4, 5, 7, 8, 10, 11 become 0 to 7; no other tensor is lost or changed."""
    teacher = network(replace(STUDENT, blocks=12, width=24, heads=3))
    student = started(replace(teacher.config, blocks=8), saved(tmp_path, teacher)).state_dict()
    origins, source, used = [1, 2, 4, 5, 7, 8, 10, 11], teacher.state_dict(), set()
    for name, tensor in student.items():
        part, _, rest = name.partition(".")
        if part == "blocks":
            index, _, rest = rest.partition(".")
            name = f"blocks.{origins[int(index)]}.{rest}"
        assert torch.equal(tensor, source[name]), name
        used.add(name)
    assert {name for name in source if name not in used} == {
        name for name in source if name.startswith(tuple(f"blocks.{gone}." for gone in (0, 3, 6, 9)))
    }


@torch.no_grad()
def test_a_narrower_mlp_keeps_the_first_units(tmp_path: Path) -> None:
    """M-9: where the hidden units beyond have no outgoing weights, the sliced network gives the same."""
    full, pair = network(), images()
    for block in full.blocks:
        block.mlp.fc2.weight[:, 48:] = 0
    sliced = started(replace(STUDENT, mlp_ratio=1.0), saved(tmp_path, full))
    assert sliced.blocks[0].mlp.fc1.weight.shape == (48, 48)
    torch.testing.assert_close(sliced(*pair).tokens, full(*pair).tokens)
    torch.testing.assert_close(sliced(*pair).boxes, full(*pair).boxes)


# The score head


def test_only_the_score_head_changes() -> None:
    """M-11: after steps of its stage every other parameter and statistic is what it was, bit for bit."""
    student = network(replace(STUDENT, drop_path=0.5))
    method, batch = ScoreHead(student), random_batch(4)
    batch = batch._replace(present=torch.tensor([True, False, True, False]))
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    optimiser = build_optimiser(method, small_recipe().optimiser)
    method.train()
    first = method(batch, 0.0)["score"].item()
    for step in range(30):
        optimiser.zero_grad()
        loss = method(batch, step / 30)["score"]
        loss.backward()
        optimiser.step()
    assert loss.item() < first
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("head.score."), name
    assert (student(*images()).score < 1).all()


# The method


def test_stages_teach_one_another() -> None:
    """Mean IoU above 0.9 on one batch: a corner teacher, then prediction tokens that learn its marginals."""
    batch = random_batch(4)
    teacher, student = (network(replace(config, blocks=2)) for config in (TEACHER, STUDENT))
    learn(MixFormer(teacher, None, Distillation(), ()), batch, WEIGHTS, steps=80)
    assert mean_iou(teacher, batch) > 0.9
    assert mean_iou(student, batch) < 0.5
    method = MixFormer(student, teacher.eval(), Distillation("teacher"), ("edge",))
    before = method.eval()(batch, 0.0)["edge"].item()
    learn(method, batch, WEIGHTS, steps=80)
    assert mean_iou(student, batch) > 0.9
    assert method.eval()(batch, 0.0)["edge"].item() < before / 2


def test_a_teacher_of_another_resolution_sees_the_same_region() -> None:
    """Crops have the larger sides; each network gets its own size of them."""
    teacher = network(replace(TEACHER, head="corner", search_size=96, template_size=48))
    student = network(replace(STUDENT, bins=6))
    method = MixFormer(student, teacher, Distillation("teacher"), ("edge",))
    assert method.sizes[0] == 96 and method.sizes[2] == 48
    flat = {"templates": torch.full((2, 2, 48, 48, 3), 90), "search": torch.full((2, 96, 96, 3), 90)}
    batch = random_batch(2)._replace(**{name: image.byte() for name, image in flat.items()})
    small = batch._replace(templates=batch.templates[:, :, :32, :32], search=batch.search[:, :64, :64])
    alone = MixFormer(student, None, Distillation(), ()).eval()(small, 0.0)
    found = method.eval()(batch, 0.0)
    torch.testing.assert_close(found["l1"], alone["l1"])
    assert found["edge"] > 0


def test_samples_without_a_target_teach_no_box() -> None:
    """Only the features are compared there."""
    student, batch = network(), random_batch(3)
    method = MixFormer(student, network(replace(STUDENT, blocks=4)), Distillation("teacher")).eval()
    torch.nn.init.normal_(student.prediction_tokens)
    absent = method(batch._replace(present=torch.zeros(3, dtype=torch.bool)), 0.0)
    assert absent["l1"] == absent["ciou"] == absent["edge"] == 0 < absent["feature"]


@pytest.mark.parametrize(
    ("student", "teacher", "switches", "message"),
    [
        ({}, {"bins": 32}, {}, "the teacher has edge_bins = 32, the student 16"),
        ({}, {"width": 96}, {}, "the teacher has width = 96, the student 48"),
        ({}, {"head": "pyramid"}, {}, "the teacher has head = pyramid, the student tokens"),
        ({}, {"search_factor": 4.0}, {}, "the teacher has search_factor = 4.0, the student 4.5"),
        ({"blocks": 2}, {}, {}, "matched_blocks = 4, but a network has only 2 blocks"),
        ({"blocks": 5}, {}, {"kept_blocks": 2}, "the teacher has blocks = 4, the student 5"),
        ({}, {}, {"kept_blocks": 4}, "kept_blocks = 4 must be fewer than the student's 4"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(
    student: Mapping[str, object], teacher: Mapping[str, object], switches: Mapping[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MixFormer(
            replace(STUDENT, **student).build(),
            replace(STUDENT, **teacher).build(),
            Distillation("t", **switches),
        )


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"matched_blocks": 0}, "matched_blocks = 0 must be at least 1"),
        ({"faded_at": 0.0}, "faded_at = 0.0 must lie above 0"),
        ({"kept_blocks": 2}, "kept_blocks = 2 needs a teacher"),
        ({"teacher": "t", "score_only": True}, "score_only has no teacher"),
    ],
)
def test_wrong_switches_are_refused(switches: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**switches)  # type: ignore[arg-type]


def test_a_recipe_says_which_stage_it_is(tmp_path: Path) -> None:
    teacher = saved(tmp_path, network(TEACHER))
    weights = {"l1": 5.0, "ciou": 2.0, "edge": 5.0, "feature": 0.0}

    def built(config: MixFormerConfig, distillation: Distillation) -> MixFormer | ScoreHead:
        recipe = small_recipe(
            method="mixformer", student=config, distillation=distillation, loss_weights=weights
        )
        return build(config.build(), recipe)

    sparse = built(STUDENT, Distillation(teacher))
    assert isinstance(sparse, MixFormer) and sparse.branches == ("edge",)
    alone = built(TEACHER, Distillation())
    assert isinstance(alone, MixFormer) and alone.branches == ()
    assert set(alone(random_batch(2), 0.0)) == {"l1", "ciou"}
    assert isinstance(built(STUDENT, Distillation(score_only=True)), ScoreHead)
    with pytest.raises(ValueError, match="head = 'pyramid' has no score head to train"):
        built(TEACHER, Distillation(score_only=True))
    with pytest.raises(FileNotFoundError, match="teacher = 'nowhere.pt' is no file"):
        built(STUDENT, Distillation("nowhere.pt"))


def test_the_stages_of_a_chain_fit_one_another(tmp_path: Path) -> None:
    """Every stage begins with, and learns from, what those before it left; its losses are finite."""
    recipes = [read_recipe(RECIPES / f"{name}.yaml") for name in STAGES]
    check_order(recipes, tmp_path)
    batch = Batch(pixels(2, 2, 32, 32, 3), pixels(2, 64, 64, 3, seed=1), *random_batch(2)[2:])
    for recipe in recipes:
        student = recipe.student.build()
        start, teacher = (
            str(tmp_path / file) if file else ""
            for file in (recipe.start.checkpoint, recipe.distillation.teacher)
        )
        report = initialise(student, Start(checkpoint=start))
        assert all(name.startswith(("head.", "prediction_")) for name in report.fresh) and not report.idle
        method = build(student, replace(recipe, distillation=replace(recipe.distillation, teacher=teacher)))
        losses = method.train()(batch, 0.5)
        assert set(losses) == {name for name, weight in recipe.loss_weights.items() if weight}
        assert all(loss.isfinite() for loss in losses.values())
        saved(tmp_path / recipe.name, student)


@pytest.mark.parametrize(
    "names",
    [
        ["teacher_vit_large", "b_12", "b_12to8", "b_8", "b"],
        ["teacher_vit_large", "s_12", "s_12to8", "s_8", "s_8to4", "s_4", "s_mlp", "s"],
    ],
)
def test_the_paper_is_a_list_of_recipes(names: list[str], tmp_path: Path) -> None:
    """In order; edges have the bins of the teacher's, and what has not faded is the next network."""
    recipes = {r.name: r for r in (read_recipe(RECIPES / f"mixformer_{name}.yaml") for name in names)}
    check_order(list(recipes.values()), tmp_path)
    for recipe in recipes.values():
        if file := recipe.distillation.teacher:
            teacher = recipes[Path(file).parent.name]
            assert recipe.student.edge_bins == teacher.student.edge_bins == 96
        if file := recipe.start.checkpoint:
            before = recipes[Path(file).parent.name]
            assert recipe.student.blocks == (before.distillation.kept_blocks or before.student.blocks)
