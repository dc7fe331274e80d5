"""AsymTrack: its network, its modules and its method. Identities A-1 to A-12."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from overfitting import learn, mean_iou
from torch import Tensor, nn
from torchvision.ops import box_convert
from training_samples import pixels, small_recipe

from training.checkpoint import save_student
from training.data.sampler import Batch
from training.methods.asymtrack import AsymTrackMethod, Distillation, build
from training.models.asym_modules import (
    DifferenceConvolution,
    ObjectPerception,
    TemplateModulation,
    dynamic_convolution,
    prototypes,
    unit_scale,
)
from training.models.asymtrack import AsymTrack, AsymTrackConfig, AsymTrackResult
from training.models.corner_head import CornerLogits, corner_boxes
from training.models.efficient_mod import AttentionBlock, Context, Embedding, ModulationBlock
from training.models.layers import normalise
from training.recipe import RECIPES, Recipe, read_recipe
from training.start import Start, initialise
from training.train import use_plain_attention

SMALL = AsymTrackConfig(
    search_size=96, template_size=48, width=16, stage_blocks=(1, 1, 2), heads=2, head_channels=32
)


def awake(module: nn.Module) -> nn.Module:
    """In eval mode; what starts silent, all norms and all biases random."""
    torch.manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.dim() == 1 and "num_batches" not in name:
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.5, 0.5)
            nn.init.uniform_(tensor, low, high)
    return module.eval()


def small_network(config: AsymTrackConfig = SMALL) -> AsymTrack:
    torch.manual_seed(0)
    return awake(config.build())


def images(config: AsymTrackConfig = SMALL, count: int = 2) -> tuple[Tensor, Tensor]:
    """Normalised templates and search regions."""
    torch.manual_seed(2)
    z, x = config.template_size, config.search_size
    return torch.randn(count, 1, 3, z, z), torch.randn(count, 3, x, x)


def small_batch(count: int = 4) -> Batch:
    torch.manual_seed(3)
    boxes = torch.cat([torch.empty(count, 2).uniform_(0.4, 0.6), torch.empty(count, 2).uniform_(0.2, 0.4)], 1)
    present, templates = torch.ones(count, dtype=torch.bool), torch.full((count, 1, 4), 0.5)
    return Batch(pixels(count, 1, 48, 48, 3), pixels(count, 96, 96, 3, seed=1), boxes, present, templates)


def assert_same(found: AsymTrackResult, expected: AsymTrackResult) -> None:
    for name in AsymTrackResult._fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-4)


# The network


def joint_features(network: AsymTrack, templates: Tensor, search: Tensor) -> Tensor:
    """What the head reads, from both branches side by side and by the formulas of the paper."""
    z, x = templates[:, 0].permute(0, 2, 3, 1), search.permute(0, 2, 3, 1)
    for stage in network.stages:
        z, x = (stage.blocks(stage.embedding(each)) for each in (z, x))
        if stage.modulation is not None:
            x = modulated(stage.modulation, x, z)
        z, x = (perceived(stage.perception, each) for each in (z, x))
    return network.neck(network.reduction(attended(network.attention, x, z)))


def modulated(etm: TemplateModulation, x: Tensor, z: Tensor) -> Tensor:
    """ETM with the roles of the released code, one sample after the other."""
    rows = []
    for own, other in zip(x, z, strict=True):
        s_z, s_x = etm.template_weights(other), etm.search_weights(own)
        p_z, p_x = (torch.einsum("hwn,hwc->nc", *pair) for pair in ((s_z, other), (s_x, own)))
        kernels = etm.kernels(p_z)
        depth, point = kernels[:, None, :3], kernels[:, 3:, None]
        mixed = F.conv1d(F.conv1d(p_x[None], depth, padding=1, groups=len(p_x)).relu(), point)[0]
        mixed = etm.mixed_norm(mixed)
        gate = torch.einsum("no,nc->c", etm.importance(mixed), mixed).sigmoid()
        rows.append(own + etm.norm(gate * torch.einsum("hwn,nc->hwc", s_x, mixed)).relu())
    return torch.stack(rows)


def perceived(ope: ObjectPerception, x: Tensor) -> Tensor:
    y = branchwise(ope.conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x + ope.scale * ope.norm(y).relu()


def branchwise(conv: DifferenceConvolution, x: Tensor) -> Tensor:
    """The difference convolution as it is defined, branch by branch."""
    shares = conv.theta.sigmoid()
    return sum(
        F.conv2d(x, branch.weight, padding=1) - shares * F.conv2d(x, branch.weight.sum((2, 3), keepdim=True))
        for branch in conv.branches
    )


def attended(block: AttentionBlock, x: Tensor, z: Tensor) -> Tensor:
    """The rows of x of a plain self-attention over [x; z]."""
    own, tokens = x.flatten(1, 2), torch.cat([x.flatten(1, 2), z.flatten(1, 2)], 1)
    parts = block.qkv(block.norm1(tokens)).chunk(3, -1)
    q, k, v = (part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in parts)
    seen = F.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1) @ v
    own = own + block.proj(seen.transpose(1, 2).flatten(2)[:, : own.shape[1]])
    return (own + block.mlp(block.norm2(own))).reshape(x.shape)


def test_the_cached_template_equals_the_joint_pass() -> None:
    """A-1, by the formulas of the paper; the states come from the template alone."""
    network = small_network()
    templates, search = images()
    states = network.encode_template(templates)
    features = joint_features(network, templates, search)
    found = network.search(search, *states)
    torch.testing.assert_close(found.features, features, atol=1e-5, rtol=1e-4)
    assert_same(found, network(templates, search))
    other = network.search(search.flip(0), *states)
    assert not torch.allclose(other.features, features, atol=1e-2)
    again = network.encode_template(templates)
    assert all(torch.equal(a, b) for a, b in zip(states, again, strict=True))


@pytest.mark.parametrize("kernels_from", ["template", "search"])
def test_states_have_the_shapes_that_the_configuration_tells(kernels_from: str) -> None:
    config = replace(SMALL, kernels_from=kernels_from)
    network = small_network(config)
    templates, search = images(config)
    states = network.encode_template(templates)
    assert tuple(tuple(state.shape[1:]) for state in states) == config.state_shapes
    outputs = network.outputs(search, *states)
    assert [tuple(each.shape) for each in outputs] == [(2, 1, 1), (2, 4, 1, 1), (2, 128)]
    assert ((outputs.score_map > 0) & (outputs.score_map <= 1)).all()
    assert (outputs.box_map[:, 2:] > 0).all()
    torch.testing.assert_close(outputs.embedding.norm(dim=1), torch.ones(2))


def test_the_published_states() -> None:
    t = AsymTrackConfig()
    assert t.state_shapes == ((2, 5), (4, 7), (2, 8, 64, 32))
    assert replace(t, kernels_from="search").state_shapes[:2] == ((2, 64), (4, 128))
    assert replace(t, search_size=384, template_size=192).state_shapes[2] == (2, 8, 144, 32)


@pytest.mark.parametrize(
    ("blocks", "trained", "deployed"), [((2, 2, 1), 3_440_351, 3_053_276), ((2, 2, 3), 3_750_495, 3_363_420)]
)
def test_the_published_networks_have_their_published_sizes(
    blocks: tuple[int, ...], trained: int, deployed: int
) -> None:
    """A-10: T, then S and B."""
    network = AsymTrackConfig(stage_blocks=blocks).build()
    assert sum(p.numel() for p in network.parameters()) == trained
    assert sum(p.numel() for p in network.deployed().parameters()) == deployed


def test_every_parameter_learns() -> None:
    """A-10: no layer is built that is not used."""
    network = small_network()
    network(*images()).boxes.sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_the_deployed_network_gives_the_same() -> None:
    network = small_network().train()
    deployed = network.deployed()
    assert network.training and not deployed.training
    assert not any(isinstance(module, DifferenceConvolution) for module in deployed.modules())
    assert_same(deployed(*images()), network.eval()(*images()))
    assert_same(deployed.deployed()(*images()), network(*images()))


def test_both_ways_of_attention_give_the_same() -> None:
    network = small_network()
    fused = network(*images())
    use_plain_attention(network)
    assert not network.attention.fused_attn
    assert_same(network(*images()), fused)


@pytest.mark.parametrize(
    ("template", "search", "grid"), [(128, 256, 8), (192, 384, 12)], ids=["T and S", "B"]
)
def test_the_published_shapes_of_the_stages(template: int, search: int, grid: int) -> None:
    """A-12; on no device, as shapes need no numbers."""
    with torch.device("meta"):
        network = AsymTrackConfig(template_size=template, search_size=search).build()
        shapes: list[tuple[int, ...]] = []
        for stage in network.stages:
            stage.perception.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape)))
        result = network(torch.empty(1, 1, 3, template, template), torch.empty(1, 3, search, search))
    widths = [(4, 32), (8, 64), (16, 128)]
    assert shapes[:3] == [(1, template // s, template // s, d) for s, d in widths]
    assert shapes[3:] == [(1, search // s, search // s, d) for s, d in widths]
    assert result.features.shape == (1, grid, grid, 256) and result.logits.shape == (1, 4, grid)


@pytest.mark.parametrize("side", [32, 96, 160])
def test_any_multiple_of_32_is_a_search_size(side: int) -> None:
    """A-12."""
    config = replace(SMALL, search_size=side, template_size=side // 2)
    assert small_network(config)(*images(config, 1)).logits.shape == (1, 4, side // 32)


def test_one_hot_and_uniform_corners() -> None:
    """A-9."""
    logits = CornerLogits(torch.zeros(2, 8, 8), torch.zeros(2, 8, 8))
    logits.top_left[0, 2, 1] = logits.bottom_right[0, 6, 5] = 1e4  # row, column
    found = corner_boxes(logits)
    torch.testing.assert_close(found[0], torch.tensor([1, 2, 5, 6]) / 8)
    torch.testing.assert_close(found[1], torch.full((4,), 7 / 16))
    torch.testing.assert_close(corner_boxes(logits, half_cell=True), found + 1 / 16)


@pytest.mark.parametrize(
    ("switches", "same_template"),
    [
        ({"kernels_from": "search"}, False),
        ({"shared_weights": True}, False),
        ({"half_cell": True}, True),
        ({"detach_template": True}, True),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_switches_change_what_they_name(switches: dict[str, object], same_template: bool) -> None:
    plain, switched = small_network(), small_network(replace(SMALL, **switches))
    one, other = (network.encode_template(images()[0])[0] for network in (plain, switched))
    assert (one.shape == other.shape and torch.equal(one, other)) == same_template
    shift = switched(*images()).boxes - plain(*images()).boxes
    if "half_cell" in switches:
        torch.testing.assert_close(shift, torch.full((2, 4), 0.5 / 3))
    elif "detach_template" in switches:
        assert not shift.any()
    count = sum(p.numel() for p in switched.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == (-(33 + 65 * 2) if "shared_weights" in switches else 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_size": 80}, "search_size = 80 must be a multiple of 32"),
        ({"template_size": 56}, "template_size = 56 must be a multiple of 16"),
        ({"width": 24}, "width = 24 must be a multiple of 16"),
        ({"stage_blocks": (2, 2)}, r"stage_blocks = \[2, 2\] must be three numbers of at least 1"),
        ({"heads": 0}, "heads = 0 must be at least 1"),
        ({"template_slots": 2}, "template_slots = 2 must be 1"),
        ({"kernels_from": "both"}, "kernels_from = 'both' is unknown; accepted are 'template' and 'search'"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AsymTrackConfig(**changes)  # type: ignore[arg-type]


# Its modules


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_branches_are_one_convolution(share: float, kind: torch.dtype, tolerance: float) -> None:
    """A-2."""
    conv, x = DifferenceConvolution(8).to(kind), torch.randn(2, 8, 6, 5, dtype=kind)
    nn.init.constant_(conv.theta, {0.0: -1e4, 0.5: 0.0, 1.0: 1e4}[share])
    expected = branchwise(conv, x)
    for found in (conv(x), conv.folded()(x)):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_object_perception_starts_as_the_identity() -> None:
    """A-2."""
    x = torch.randn(2, 5, 6, 8)
    assert torch.equal(ObjectPerception(8)(x), x)


def test_a_constant_map_has_no_differences() -> None:
    """A-3: away from the border all that is common cancels."""
    conv = DifferenceConvolution(8)
    nn.init.constant_(conv.theta, 1e4)
    response = conv(torch.randn(1, 8, 1, 1).expand(1, 8, 6, 6))
    torch.testing.assert_close(response[..., 1:-1, 1:-1], torch.zeros(1, 8, 4, 4), atol=1e-5, rtol=0)
    assert response[..., 0, :].abs().max() > 0.01
    torch.testing.assert_close(conv.kernel().sum((2, 3)), torch.zeros(8, 8), atol=1e-5, rtol=0)


def test_dynamic_convolution_equals_a_loop_of_convolutions() -> None:
    """A-4."""
    values, kernels = torch.randn(3, 4, 10), torch.randn(3, 4, 7)
    for value, kernel, found in zip(values, kernels, dynamic_convolution(values, kernels), strict=True):
        moved = F.conv1d(value, kernel[:, None, :3], padding=1, groups=4).relu()
        torch.testing.assert_close(found, F.conv1d(moved, kernel[:, 3:, None]))


def test_prototypes_add_up_and_grow_with_the_square() -> None:
    """A-5."""
    attention, cells = nn.Linear(8, 2, bias=False), torch.randn(3, 20, 8)

    def found(part: Tensor) -> Tensor:
        return prototypes(attention(part), part)

    torch.testing.assert_close(found(cells[:, :7]) + found(cells[:, 7:]), found(cells))
    torch.testing.assert_close(found(3 * cells), 9 * found(cells))


def test_modulation_without_search_weights_adds_the_bias_alone() -> None:
    """A-6."""
    etm, x = awake(TemplateModulation(64)), torch.randn(2, 6, 6, 64)
    state = etm.encode_template(torch.randn(2, 3, 3, 64))
    for parameter in etm.search_weights.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(etm(x, state), x + etm.norm.bias.relu())
    nn.init.zeros_(etm.norm.bias)
    assert torch.equal(etm(x, state), x)


@pytest.mark.parametrize("kernels_from", ["template", "search"])
def test_the_scale_of_the_prototypes_is_forgotten(kernels_from: str) -> None:
    """States have unit scale, and the kernels' own does not matter: half precision holds them all."""
    etm, x, z = (
        awake(TemplateModulation(64, kernels_from)),
        torch.randn(2, 6, 6, 64),
        torch.randn(2, 3, 3, 64),
    )
    state = etm.encode_template(z)
    torch.testing.assert_close(state.abs().mean((1, 2)), torch.ones(2))
    expected = etm(x, state)
    for parameter in etm.kernels.parameters():
        parameter.data *= 100
    torch.testing.assert_close(etm(x, etm.encode_template(z)), expected, atol=1e-5, rtol=1e-4)
    assert not unit_scale(torch.zeros(1, 2, 3)).any()


@pytest.mark.parametrize("kernels_from", ["template", "search"])
def test_the_template_learns_unless_it_is_detached(kernels_from: str) -> None:
    """A-7."""
    for detached in (False, True):
        network = small_network(replace(SMALL, kernels_from=kernels_from, detach_template=detached))
        network(*images()).boxes.sum().backward()
        gradients = [stage.modulation.template_weights.weight.grad for stage in network.stages[1:]]
        assert all(gradient is None if detached else gradient.any() for gradient in gradients)


@pytest.mark.parametrize("fused", [True, False])
def test_cached_keys_and_values_equal_attention_over_both(fused: bool) -> None:
    """A-8: the order of the keys does not matter, only rows of the search are wanted."""
    block = awake(AttentionBlock(24, 3))
    block.fused_attn = fused
    x, z = torch.randn(2, 4, 4, 24), torch.randn(2, 2, 3, 24)
    keys_values = block.keys_values(z)
    assert keys_values.shape == (2, 2, 3, 6, 32)  # heads have at least 32 channels
    torch.testing.assert_close(block(x, keys_values), attended(block, x, z), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ratio", [1, 6])
def test_a_modulation_block_without_gain_is_the_identity(ratio: int) -> None:
    """A-11."""
    block, x = ModulationBlock(8, ratio), torch.randn(2, 5, 6, 8)
    assert torch.equal(block.gamma, torch.full((8,), 1e-4))
    assert not torch.equal(block(x), x)
    nn.init.zeros_(block.gamma)
    assert torch.equal(block(x), x)


def test_a_modulation_block_repeats_its_context_along_the_channels() -> None:
    block, x = awake(ModulationBlock(8, 6)), torch.randn(2, 5, 6, 8)
    normed = block.norm(x)
    hidden = F.gelu(block.fc1(normed)) * block.context(normed).repeat(1, 1, 1, 6)
    torch.testing.assert_close(block(x), x + block.gamma * block.fc2(hidden))


def test_the_context_reaches_three_cells_far() -> None:
    """A-11: a delta has a 7 x 7 response."""
    context, x = awake(Context(8)), torch.zeros(2, 15, 15, 8)
    x[1, 7, 7] = torch.randn(8)
    without, with_delta = context(x)
    touched = (with_delta - without).abs().amax(2) > 1e-6
    expected = torch.zeros(15, 15, dtype=torch.bool)
    expected[4:11, 4:11] = True
    assert torch.equal(touched, expected)


# The published backbone


def published_checkpoint(config: AsymTrackConfig) -> dict[str, Tensor]:
    """A file with the names and the layers of EfficientMod-xxs up to stage 3, at the width of `config`."""

    def named(prefix: str, module: nn.Module, names: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in awake(module).state_dict().items():
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            yield prefix + name, tensor

    block_names = {
        "context.before": "mlp.context_layer.f",
        "context.conv": "mlp.context_layer.context_list.0",
        "context.after": "mlp.context_layer.g",
        "fc": "mlp.fc",
        "gamma": "gamma_1",
    }
    state = dict(named("patch_embed.", Embedding(3, config.width, 7, 4), {}))
    for stage, (width, depth) in enumerate(zip(config.stage_widths, (2, 2, 6), strict=True)):
        state |= named(f"layers.{stage}.downsample.", Embedding(width, 2 * width, 3, 2), {})
        for i in range(depth):
            state |= named(
                f"layers.{stage}.blocks.{i}.", ModulationBlock(width, 1 + 5 * (i % 2)), block_names
            )
    attention = AttentionBlock(config.stage_widths[2], config.heads)
    state |= named("layers.2.blocks.6.", attention, {"qkv": "attn.qkv", "proj": "attn.proj"})
    return state | {"layers.3.blocks.0.gamma_1": torch.zeros(1), "head.weight": torch.zeros(1000, 8)}


@pytest.mark.parametrize("blocks", [(2, 2, 1), (2, 2, 3)])
def test_the_backbone_starts_from_a_published_classifier(blocks: tuple[int, ...], tmp_path: Path) -> None:
    """The first blocks of stage 3 and the attention; template modulation, perception and head are fresh."""
    config = replace(SMALL, stage_blocks=blocks)
    state = published_checkpoint(config)
    torch.save(state, tmp_path / "xxs.pt")
    network = config.build()
    report = initialise(network, Start(timm=str(tmp_path / "xxs.pt")))
    parts = {name.split(".")[2] if name.startswith("stages") else name.split(".")[0] for name in report.fresh}
    assert parts == {"modulation", "perception", "neck", "head"}
    block = f"blocks.{blocks[2] - 1}"
    for ours, theirs in {
        "stages.0.embedding.proj.weight": "patch_embed.proj.weight",
        "stages.2.embedding.norm.bias": "layers.1.downsample.norm.bias",
        "reduction.proj.bias": "layers.2.downsample.proj.bias",
        f"stages.2.{block}.context.conv.bias": f"layers.2.{block}.mlp.context_layer.context_list.0.bias",
        "stages.1.blocks.1.fc2.weight": "layers.1.blocks.1.mlp.fc2.weight",
        "stages.0.blocks.1.gamma": "layers.0.blocks.1.gamma_1",
        "attention.qkv.weight": "layers.2.blocks.6.attn.qkv.weight",
        "attention.mlp.fc1.weight": "layers.2.blocks.6.mlp.fc1.weight",
    }.items():
        assert torch.equal(network.state_dict()[ours], state[theirs]), ours


def test_a_classifier_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"pos_embed": torch.zeros(1, 5, 8), "norm.weight": torch.ones(8)}, tmp_path / "vit.pt")
    with pytest.raises(ValueError, match="stages.0.embedding.proj.weight: none in the file"):
        initialise(SMALL.build(), Start(timm=str(tmp_path / "vit.pt")))


# The method


def test_the_losses_are_those_of_the_box() -> None:
    """Absent targets count nothing."""
    method, batch = AsymTrackMethod(small_network(), None), small_batch()
    losses = method(batch, 0.0)
    assert list(losses) == ["l1", "giou"]
    found = method.student(normalise(batch.templates), normalise(batch.search)).boxes
    truth = box_convert(batch.box, "cxcywh", "xyxy")
    assert losses["l1"].item() == pytest.approx((found - truth).abs().mean().item(), rel=1e-5)
    half = method(batch._replace(present=torch.tensor([True, True, False, False])), 0.0)
    first = method(Batch(*(field[:2] for field in batch)), 0.0)
    for name in losses:
        assert half[name].item() == pytest.approx(first[name].item(), rel=1e-4)


def test_corners_that_cross_have_a_finite_loss() -> None:
    """An untrained head gives such boxes; the gradient opens them."""
    network = small_network()
    head = network.head
    head.top_left.load_state_dict(head.bottom_right.state_dict())
    nn.init.zeros_(head.top_left[-1].weight)
    network(*images())
    losses = AsymTrackMethod(network, None)(small_batch(), 0.0)
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.isfinite() and value < 3 for value in losses.values())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_a_teacher_adds_the_edges_of_its_box() -> None:
    """Zero for a student that is its teacher, of which it learns nothing where the target is absent."""
    batch, teacher = small_batch(), small_network(replace(SMALL, stage_blocks=(1, 1, 1)))
    method = AsymTrackMethod(small_network(), teacher)
    losses = method(batch, 0.0)
    assert list(losses) == ["l1", "giou", "edge"] and losses["edge"] > 0
    assert method(batch._replace(present=torch.zeros(4, dtype=torch.bool)), 0.0)["edge"] == 0
    same = AsymTrackMethod(small_network(), small_network())
    assert same(batch, 0.0)["edge"].item() == pytest.approx(0, abs=1e-6)
    losses["edge"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert {name.split(".")[0] for name in method.state_dict()} == {"student"}


def recipe_with(teacher: str, **weights: float) -> Recipe:
    return small_recipe(
        method="asymtrack", student=SMALL, distillation=Distillation(teacher), loss_weights=weights
    )


def test_a_recipe_may_name_a_teacher(tmp_path: Path) -> None:
    file = str(save_student(tmp_path, small_network(), SMALL, {}))
    student = small_network()
    assert build(student, recipe_with("", l1=5.0, giou=2.0)).teacher is None
    assert build(student, recipe_with(file, l1=5.0, giou=2.0, edge=0.0)).teacher is None
    assert build(student, recipe_with(file, l1=5.0, giou=2.0, edge=1.0)).teacher is not None
    with pytest.raises(ValueError, match="loss_weights lacks 'edge'"):
        build(student, recipe_with(file, l1=5.0, giou=2.0))
    with pytest.raises(FileNotFoundError, match="teacher = 'none.pt' is no file"):
        build(student, recipe_with("none.pt", edge=1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_size": 128}, "teacher has search_size = 128, the student 96"),
        ({"search_factor": 5.0}, "teacher has search_factor = 5.0, the student 4.0"),
        ({"half_cell": True}, "teacher has half_cell = True, the student False"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AsymTrackMethod(small_network(), small_network(replace(SMALL, **changes)))


def test_half_precision_gives_the_same_losses_in_float32() -> None:
    method, batch = AsymTrackMethod(small_network(), small_network()), small_batch()
    full = method(batch, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        half = method(batch, 0.0)
    for name, value in half.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full[name].item(), rel=0.1, abs=0.02), name


def test_one_batch_is_learnt_by_heart() -> None:
    """Mean IoU above 0.9 on samples of noise."""
    batch, student = small_batch(), replace(SMALL, stage_blocks=(1, 1, 1), half_cell=True).build()
    assert mean_iou(student, batch) < 0.5
    learn(AsymTrackMethod(student, None), batch, {"l1": 5.0, "giou": 2.0}, steps=100)
    assert mean_iou(student, batch) > 0.9


# Recipes


def test_the_published_recipes() -> None:
    """500 epochs of 60,000 pairs, batch 128, a tenth of the rate after 400 and for the backbone."""
    t, s, b = (read_recipe(RECIPES / f"asymtrack_{size}.yaml") for size in "tsb")
    for recipe in (t, s, b):
        o = recipe.optimiser
        assert recipe.steps * o.batch_size == 500 * 60_000
        assert (o.learning_rate, o.backbone_factor, o.weight_decay, o.clip_norm) == (4e-4, 0.1, 1e-4, 0.1)
        assert (o.schedule, o.decay_from) == ("step", 400 / 500)
        assert (recipe.data.centre_jitter, recipe.data.scale_jitter) == (3.5, 0.5)
        assert recipe.loss_weights == {"l1": 5, "giou": 2} and not recipe.distillation.teacher
    assert t.student == AsymTrackConfig()
    assert s.student == AsymTrackConfig(stage_blocks=(2, 2, 3))
    assert b.student == AsymTrackConfig(stage_blocks=(2, 2, 3), search_size=384, template_size=192)
