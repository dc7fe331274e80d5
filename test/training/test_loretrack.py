"""LoReTrack: L-1 to L-11, the method, and its composition with the split network of EATrack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from overfitting import learn, mean_iou
from torch import Tensor
from training_samples import SMALL, random_batch, small_recipe, small_student, write_source

from training.checkpoint import load_student, save_student
from training.cross_resolution import (
    channel_divergence,
    discriminative_loss,
    energy_mask,
    qkv_loss,
    resize_images,
    resize_tokens,
    squared_distance,
)
from training.describe import describe
from training.losses import target_heat_map
from training.methods.loretrack import Distillation, LoReTrack, build, last_qkv, search_qkv
from training.methods.tracking import Tracking
from training.models.eatrack import EATrackConfig, EATrackStudent
from training.models.networks import sizes_of
from training.recipe import RECIPES, read_recipe
from training.records import SCORE
from training.start import Start, initialise
from training.train import train

TEACHER = replace(SMALL, stage1_blocks=0, stage2_blocks=3)
STUDENT = replace(TEACHER, search_size=32, template_size=16)
SPLIT = replace(STUDENT, stage1_blocks=1, stage2_blocks=2)
DISTANCES = [channel_divergence, squared_distance]
NAMES = ["channel-divergence", "mse"]


def method_of(
    student: EATrackConfig = STUDENT, teacher: EATrackConfig = TEACHER, **switches: object
) -> LoReTrack:
    return LoReTrack(small_student(student), small_student(teacher), Distillation(**switches), "around")  # type: ignore[arg-type]


def enlarged(crops: Tensor, size: int) -> Tensor:
    return resize_images(crops.movedim(-1, -3).float(), size).round().byte().movedim(-3, -1)


# The losses


@pytest.mark.parametrize("grid", [2, 4, 6])
def test_resizing_tokens_is_linear_and_keeps_constants(grid: int) -> None:
    """L-2: a constant stays that constant, a map on its own grid itself; U(a x + y) = a U(x) + U(y)."""
    x, y = torch.randn(2, 16, 5), torch.randn(2, 16, 5)
    resize = partial(resize_tokens, count=grid * grid)
    constant = torch.randn(2, 1, 5)
    assert torch.allclose(resize(constant.expand(2, 16, 5)), constant.expand(2, grid * grid, 5), atol=1e-6)
    assert torch.allclose(resize(3 * x + y), 3 * resize(x) + resize(y), atol=1e-5)
    if grid == 4:
        assert torch.equal(resize(x), x)


def test_tokens_are_resized_as_the_picture_of_a_channel() -> None:
    """Row-major, bilinear, corners not aligned, not antialiased: a ramp of columns of 2 on 4 columns."""
    columns = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 4, 1)
    assert resize_tokens(columns, 16).flatten().tolist() == [0.0, 0.25, 0.75, 1.0] * 4
    image = torch.arange(4.0).expand(1, 1, 4, 4)
    assert resize_images(image, 2)[0, 0, 0].tolist() == [0.5, 2.5]  # antialiasing would read 0.57 and 2.43
    assert resize_images(image.expand(3, 2, 1, 4, 4), 2).shape == (3, 2, 1, 2, 2)


def test_energy_knows_neither_sign_nor_scale() -> None:
    """L-5: A is even in F and scales with a^2; the mask is 0 or 1; per image, min-max ignores any scale."""
    features = torch.randn(3, 16, 6) * torch.rand(3, 16, 1)
    for rule in ("literal", "min-max"):
        mask = energy_mask(features, 0.25, rule)
        assert 0 < mask.mean() < 1 and set(mask.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(energy_mask(-features, 0.25, rule), mask)
        assert torch.equal(mask + (1 - mask), torch.ones(3, 16))
    assert torch.equal(energy_mask(2 * features, 1.0, "literal"), energy_mask(features, 0.25, "literal"))
    scaled = features * torch.tensor([1.0, 2.0, 8.0]).view(3, 1, 1)
    assert torch.equal(energy_mask(scaled, 0.25), energy_mask(features, 0.25))
    assert energy_mask(torch.ones(2, 4, 3), 0.2).sum() == 0  # nothing stands out


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
def test_weights_of_positions_are_the_masked_maps_of_the_paper(distance: Callable[..., Tensor]) -> None:
    """L-5, L-6: alpha d(M x, M y) + beta d((1-M) x, (1-M) y) literally; with alpha = beta it is alpha d."""
    x, y = torch.randn(3, 16, 6), torch.randn(3, 16, 6)
    mask = (torch.rand(3, 16) > 0.5).float()
    inside = mask.unsqueeze(2)
    literal = 0.6 * distance(inside * x, inside * y) + 0.4 * distance((1 - inside) * x, (1 - inside) * y)
    found = discriminative_loss(x, y, mask, distance)
    assert found.item() == pytest.approx(literal.sum().item() / 3, rel=1e-5)
    equal = discriminative_loss(x, y, mask, distance, 0.5, 0.5)
    assert equal.item() == pytest.approx(0.5 * distance(x, y).sum().item() / 3, rel=1e-5)


def test_the_divergence_ignores_constants_and_masked_positions() -> None:
    """L-6: a constant on all channels of a position changes nothing; a position without weight gives 0."""
    x, y, shift = torch.randn(3, 16, 6), torch.randn(3, 16, 6), torch.randn(3, 16, 1)
    expected = channel_divergence(x, y)
    assert (expected > 0).all() and channel_divergence(x, x).abs().max() < 1e-6
    assert torch.allclose(channel_divergence(x + shift, y - 2 * shift), expected, atol=1e-4)
    assert discriminative_loss(x, y, torch.zeros(3, 16), channel_divergence, outside=0.0) == 0
    zeros = torch.zeros(3, 16, 6)
    assert torch.equal(channel_divergence(zeros, zeros), torch.zeros(3, 16))


def test_near_maps_are_a_centred_squared_distance_apart() -> None:
    """Which says how to weigh the two forms: the divergence is || d - mean(d) ||^2 / (2 D)."""
    y = 0.1 * torch.randn(3, 16, 8)
    d = 0.1 * torch.randn(3, 16, 8)
    expected = (d - d.mean(2, keepdim=True)).square().sum(2) / (2 * 8)
    assert torch.allclose(channel_divergence(y + d, y), expected, rtol=0.05, atol=1e-5)


def test_a_temperature_squares_into_the_divergence() -> None:
    x, y = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    p, q = y.div(3).softmax(2), x.div(3).softmax(2)
    expected = 9 * (p * (p / q).log()).sum(2)
    assert torch.allclose(channel_divergence(x, y, 3.0), expected, atol=1e-5)


@pytest.mark.parametrize("distance", DISTANCES, ids=NAMES)
def test_positions_without_weight_teach_nothing(distance: Callable[..., Tensor]) -> None:
    """L-7: with beta = 0 no gradient where M = 0, but for the footprint of the resizing."""
    teacher = torch.randn(1, 16, 6)
    mask = torch.zeros(1, 16)
    mask[0, 0] = 1
    same = torch.randn(1, 16, 6, requires_grad=True)
    discriminative_loss(same, teacher, mask, distance, outside=0.0).backward()
    coarse = torch.randn(1, 9, 6, requires_grad=True)
    discriminative_loss(coarse, teacher, mask, distance, outside=0.0).backward()
    for tokens, footprint in ((same, [0]), (coarse, [0])):
        assert tokens.grad is not None
        assert tokens.grad.abs().sum(2).nonzero()[:, 1].tolist() == footprint
    mask = mask.roll(1, 1)  # column 1 of 4 reads columns 0 and 1 of 3
    coarse.grad = None
    discriminative_loss(coarse, teacher, mask, distance, outside=0.0).backward()
    assert coarse.grad is not None
    assert coarse.grad.abs().sum(2).nonzero()[:, 1].tolist() == [0, 1]


def test_the_losses_are_float32_from_half_precision() -> None:
    x, y = torch.randn(2, 4, 8).bfloat16(), torch.randn(2, 16, 8).bfloat16()
    for distance in DISTANCES:
        loss = qkv_loss([x], [y], distance)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(qkv_loss([x.float()], [y.float()], distance).item(), rel=0.05)


def test_one_box_has_one_centre_on_every_grid() -> None:
    """L-10: heat maps at G = 24 and 16 peak within half a cell of the box's centre."""
    boxes = torch.tensor([[0.52, 0.31, 0.2, 0.3], [0.11, 0.9, 0.1, 0.1]])
    for grid in (24, 16):
        peak = target_heat_map(boxes, torch.ones(2, dtype=torch.bool), grid).flatten(1).argmax(1)
        centre = (torch.stack([peak % grid, peak // grid], 1) + 0.5) / grid
        assert (centre - boxes[:, :2]).abs().max() <= 0.5 / grid + 1e-6


# What is read in the networks


def test_queries_keys_and_values_are_those_of_the_block() -> None:
    """L-3: fed through attention and the projection again, they give what the block's attention gives."""
    network = small_student(TEACHER)
    attention, given = network.stage2[-1].attn, []
    attention.register_forward_hook(lambda _layer, _inputs, output: given.append(output))
    with last_qkv(network) as passes:
        network(torch.randn(2, 2, 3, 32, 32), torch.randn(2, 3, 64, 64))
    assert len(passes) == 1 and not attention.qkv._forward_hooks
    q, k, v = (
        part.unflatten(2, (3, 16)).transpose(1, 2) for part in search_qkv(passes[0], torch.empty(2, 24, 48))
    )
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert torch.allclose(attention.proj(mixed), given[0], atol=1e-6)


def test_rows_of_the_search_region_come_last() -> None:
    """L-4: before attention, one changed patch changes its own row of Q, K and V, and no other."""
    config = replace(TEACHER, stem="patch", stage2_blocks=1)
    network = small_student(config)
    templates, search = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 3, 64, 64)
    changed = search.clone()
    changed[:, :, 16:32, 48:64] += 1  # row 1, column 3: patch 7
    projected = []
    for image in (search, changed):
        with last_qkv(network) as passes:
            tokens = network(templates, image).tokens
        projected.append(passes[0])
    template_tokens = config.template_slots * config.template_grid**2
    difference = (projected[0] - projected[1]).abs().sum(2)
    assert difference.nonzero().tolist() == [[0, template_tokens + 7]]
    for before, after in zip(*(search_qkv(p, tokens) for p in projected), strict=True):
        assert before.shape == (1, 16, 48)
        assert (before - after).abs().sum(2).nonzero().tolist() == [[0, 7]]


# The method


@pytest.mark.parametrize("distance", NAMES)
def test_the_teacher_has_nothing_to_teach_itself(distance: str) -> None:
    """L-1: at its own resolution, with its own weights, both losses are zero."""
    losses = method_of(TEACHER, distance=distance).eval()(random_batch(3), 0.0)
    assert losses["qkv"].item() == pytest.approx(0, abs=1e-6)
    assert losses["disc"].item() == pytest.approx(0, abs=1e-6)
    other = method_of(distance=distance).eval()(random_batch(3), 0.0)
    assert other["qkv"] > 1e-3 and other["disc"] > 1e-3


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("config", [STUDENT, SPLIT], ids=["one-stream", "eatrack"])
def test_every_loss_has_a_name_and_teaches(config: EATrackConfig, slots: int) -> None:
    """Also a split student of EATrack, and one template or two; crops have the teacher's size."""
    config, teacher = replace(config, template_slots=slots), replace(TEACHER, template_slots=slots)
    method, batch = method_of(config, teacher), random_batch(3)
    assert method.sizes == sizes_of(teacher)
    losses = method(batch._replace(templates=batch.templates[:, :slots]), 0.0)
    assert list(losses) == ["focal", "l1", "giou", "qkv", "disc", "kept"]
    assert all(value > 0 and value.isfinite() for value in losses.values())
    assert losses["kept"] < 1 and not losses["kept"].requires_grad
    last = method.student.stage2[-1]
    for name, learns in (("qkv", last.attn.qkv), ("disc", last.mlp.fc2)):
        (gradient,) = torch.autograd.grad(losses[name], learns.weight, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_the_student_sees_the_crop_of_the_teacher_at_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = EATrackStudent.forward

    def watched(self: EATrackStudent, *images: Tensor) -> object:
        seen.append([tuple(image.shape) for image in images])
        return forward(self, *images)

    monkeypatch.setattr(EATrackStudent, "forward", watched)
    method_of()(random_batch(2), 0.0)
    assert seen == [[(2, 2, 3, 16, 16), (2, 3, 32, 32)], [(2, 2, 3, 32, 32), (2, 3, 64, 64)]]


def test_the_teacher_stays_as_it_is() -> None:
    """L-8: no gradient reaches it, and the student's mode changes nothing in it."""
    method, batch = method_of(), random_batch(3)
    teacher = method.teacher.network
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    kept = {mode: method.train(mode)(batch, 0.0)["kept"] for mode in (True, False)}
    assert kept[True] == kept[False]
    torch.stack(list(method.train()(batch, 0.0).values())).sum().backward()
    assert not any(module.training for module in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert {name.split(".")[0] for name in method.state_dict()} == {"student"}


def test_a_branch_without_weight_is_left_out() -> None:
    """And without both the teacher is not asked: the losses are those of tracking, bit for bit."""
    method, batch = method_of(), random_batch(2)
    for branches, names in ((("qkv",), ["qkv"]), (("disc",), ["disc", "kept"]), ((), [])):
        method.branches = branches
        assert list(method(batch, 0.0))[3:] == names
    plain = LoReTrack(small_student(TEACHER), small_student(TEACHER), Distillation(), "around", ())
    expected = Tracking(small_student(TEACHER), "around")(batch, 0.0)
    assert all(torch.equal(plain(batch, 0.0)[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "switches",
    [{"distance": "mse"}, {"temperature": 1.0}, {"energy": "literal"}, {"threshold": 0.6}, {"inside": 0.9}],
    ids=lambda s: next(iter(s)),
)
def test_every_switch_changes_its_losses(switches: dict[str, object]) -> None:
    batch = random_batch(3)
    plain, switched = (method_of(**each)(batch, 0.0) for each in ({}, switches))
    changed = {name for name in plain if not torch.isclose(plain[name], switched[name], rtol=1e-4)}
    both = {"distance": {"qkv", "disc"}, "temperature": {"qkv", "disc"}, "inside": {"disc"}}
    assert changed == both.get(next(iter(switches)), {"disc", "kept"})


def test_half_precision_gives_the_same_losses_in_float32() -> None:
    method, batch = method_of(), random_batch(4)
    full = method(batch, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = method(batch, 0.0)
    assert all(value.dtype == torch.float32 for value in half.values())
    for name in ("focal", "l1", "giou", "qkv", "disc"):
        assert half[name].item() == pytest.approx(full[name].item(), rel=0.1, abs=0.02), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 24}, "teacher has width = 24, the student 48"),
        ({"template_slots": 1}, "teacher has template_slots = 1, the student 2"),
        ({"search_factor": 5.0}, "teacher has search_factor = 5.0, the student 4.0"),
        ({"search_size": 16}, "student has search_size = 32, the teacher 16"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_of(teacher=replace(TEACHER, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"distance": "l2"}, "distance = 'l2' is unknown; accepted are channel-divergence, mse"),
        ({"energy": "max"}, "energy = 'max' is unknown; accepted are min-max, literal"),
        ({"temperature": 0.0}, "temperature = 0.0 must be positive"),
        ({"inside": -1.0}, "inside = -1.0 must be at least 0"),
    ],
)
def test_impossible_switches_are_refused(switches: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distillation(**switches)  # type: ignore[arg-type]


def test_a_recipe_names_its_teacher_and_its_branches(tmp_path: Path) -> None:
    file = str(save_student(tmp_path, small_student(TEACHER), TEACHER, {}))
    weights = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "qkv": 0.1, "disc": 0.0}
    recipe = small_recipe(
        method="loretrack", student=STUDENT, distillation=Distillation(teacher=file), loss_weights=weights
    )
    method = build(small_student(STUDENT), recipe)
    assert method.branches == ("qkv",) and method.teacher.network.config == TEACHER
    with pytest.raises(FileNotFoundError, match="teacher = 'none.pt' is no file"):
        build(small_student(STUDENT), replace(recipe, distillation=Distillation(teacher="none.pt")))
    with pytest.raises(ValueError, match="loss_weights lacks 'disc'"):
        build(small_student(STUDENT), replace(recipe, loss_weights={"focal": 1.0, "qkv": 1.0}))


def test_samples_have_the_size_of_the_teacher_and_scores_that_of_the_student(tmp_path: Path) -> None:
    """One command: the student begins from its teacher, learns beside it and is validated at its own size."""
    data = write_source(tmp_path / "data" / "squares").parent
    (folder := tmp_path / "runs" / "teacher").mkdir(parents=True)
    save_student(folder, small_student(TEACHER), TEACHER, {})
    file = "teacher/student.pt"
    weights = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "qkv": 0.1, "disc": 0.1, "kept": 0.0}
    recipe = small_recipe(
        method="loretrack",
        student=SPLIT,
        start=Start(checkpoint=file),
        distillation=Distillation(teacher=file),
        loss_weights=weights,
        steps=2,
        validation_flights=0,
    )
    student, about = load_student(train(recipe, data, tmp_path / "runs" / "small"))
    assert student.config == SPLIT
    assert 0 <= about[SCORE] <= 1
    names = (tmp_path / "runs" / "small" / "log.csv").read_text()
    assert ",qkv," in names and ",kept," in names


# The published sizes


def test_resolutions_differ_in_their_position_tables_alone(tmp_path: Path) -> None:
    """L-9: all other tensors of the 384 px teacher have the shapes of the 96 px student, also in the head."""
    with torch.device("meta"):
        shapes = [
            {
                name: t.shape
                for name, t in read_recipe(RECIPES / f"{recipe}.yaml").student.build().state_dict().items()
            }
            for recipe in ("loretrack_teacher_vit_b", "loretrack_96")
        ]
    assert {name for name, _ in shapes[0].items() ^ shapes[1].items()} == {
        "template_positions",
        "search_positions",
    }
    teacher, student = small_student(TEACHER), EATrackStudent(STUDENT)
    report = initialise(student, Start(checkpoint=str(save_student(tmp_path, teacher, TEACHER, {}))))
    assert not report.fresh
    source = teacher.state_dict()
    assert all(
        torch.equal(t, source[name]) for name, t in student.state_dict().items() if "positions" not in name
    )


@pytest.mark.parametrize(
    ("name", "macs"), [("teacher_vit_b", 65.30), ("256", 29.02), ("192", 16.33), ("128", 7.26), ("96", 4.08)]
)
def test_the_published_costs(name: str, macs: float) -> None:
    """L-11: linear MACs of a frame and of the template's patch embedding, which is all that is cached."""
    with torch.device("meta"):
        found = describe(read_recipe(RECIPES / f"loretrack_{name}.yaml"))
    assert round((found["linear_macs"] + found["template_macs"]) / 1e9, 2) == macs


# The whole


def test_a_student_learns_one_batch_by_heart() -> None:
    """Mean IoU above 0.9 with all losses, and both branches bring it nearer to its teacher."""
    weights = {"focal": 1.0, "l1": 5.0, "giou": 2.0, "qkv": 0.02, "disc": 0.02, "kept": 0.0}
    student = replace(TEACHER, stem="patch", head_channels=128)
    method = method_of(student, replace(student, search_size=96, template_size=48))
    batch = random_batch(4)
    batch = batch._replace(templates=enlarged(batch.templates, 48), search=enlarged(batch.search, 96))
    before = {name: value.item() for name, value in method.eval()(batch, 0.0).items()}
    assert mean_iou(method.student, batch) < 0.5
    learn(method, batch, weights)
    assert mean_iou(method.student, batch) > 0.9
    after = {name: value.item() for name, value in method.eval()(batch, 0.0).items()}
    assert after["qkv"] < before["qkv"] / 2 and after["disc"] < before["disc"] / 2
