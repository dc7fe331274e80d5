"""The network of MixFormerV2: M-1, M-2, M-10, M-12, M-13, and the published counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training_samples import SMALL

from training.checkpoint import save_student
from training.export import export_bundle
from training.models.eatrack import EATrackStudent
from training.models.mixformer import (
    EDGES,
    HEADS,
    MixFormerConfig,
    MixFormerResult,
    MixFormerStudent,
    TokenHead,
    sine_table,
)
from training.recipe import RECIPES, read_recipe
from training.spec import model_spec
from training.start import Start, initialise

STUDENT = MixFormerConfig(
    search_size=64, template_size=32, stem="conv", width=48, heads=3, blocks=4, bins=16, drop_path=0.0
)
TEACHER = replace(STUDENT, head="pyramid", head_channels=32)
TEMPLATE_TOKENS = 2 * 2 * 2


def network(config: MixFormerConfig = STUDENT) -> MixFormerStudent:
    torch.manual_seed(1)
    built = config.build().eval()
    for parameter in built.parameters():  # biases, gains and tables that are not those of a fresh network
        if parameter.dim() != 2:
            nn.init.normal_(parameter, parameter.mean().item(), 0.2)
    if config.head == "tokens":
        nn.init.normal_(built.head.score[-1].weight)
    return built


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, 3, 32, 32, generator=generator), torch.randn(2, 3, 64, 64, generator=generator)


def with_masks(net: MixFormerStudent, templates: Tensor, search: Tensor) -> tuple[Tensor, list[Tensor]]:
    """timm's own blocks on the joint sequence, where a mask keeps templates from seeing the rest."""
    z = net.stem(templates.flatten(0, 1)).flatten(2).transpose(1, 2) + net.template_table
    x = net.stem(search).flatten(2).transpose(1, 2) + net.search_table
    parts = [z.reshape(2, TEMPLATE_TOKENS, -1), x]
    if net.config.head == "tokens":
        parts.append((net.prediction_tokens + net.prediction_positions).expand(2, -1, -1))
    joint = torch.cat(parts, dim=1)
    mask = torch.ones(joint.shape[1], joint.shape[1], dtype=torch.bool)
    mask[:TEMPLATE_TOKENS, TEMPLATE_TOKENS:] = False
    outputs = []
    for block in net.blocks:
        joint = nn.Module.__call__(block, joint, attn_mask=mask)
        outputs.append(joint)
    return joint, outputs


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("config", [STUDENT, TEACHER], ids=["student", "teacher"])
@torch.no_grad()
def test_cached_templates_give_what_the_whole_sequence_gives(
    config: MixFormerConfig, distinct: bool, fused: bool
) -> None:
    """M-1: keys and values from the cache equal the full forward, for one and for two distinct templates."""
    net, (templates, search) = network(config), images()
    for block in net.blocks:
        block.attn.fused_attn = fused
    if not distinct:
        templates = templates[:, :1].expand(-1, 2, -1, -1, -1)
    (state,) = net.encode_template(templates)
    assert state.shape[1:] == config.state_shapes[0]
    cached, full = net.search(search, state), net(templates, search, keep_blocks=True)
    joint, blocks = with_masks(net, templates, search)
    for found in (cached, full):
        seen = joint[:, -EDGES:] if config.head == "tokens" else joint[:, TEMPLATE_TOKENS:]
        torch.testing.assert_close(found.tokens, seen, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cached.boxes, full.boxes, atol=1e-5, rtol=0)
    for found, expected in zip(full.blocks, blocks, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_templates_do_not_see_the_search_region() -> None:
    """M-2: template outputs are bit-identical under a change of search image and prediction tokens."""
    net, (templates, search) = network(), images()
    before = net(templates, search, keep_blocks=True).blocks
    nn.init.normal_(net.prediction_tokens)
    after = net(templates, images(1)[1], keep_blocks=True).blocks
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, :TEMPLATE_TOKENS], other[:, :TEMPLATE_TOKENS])
        assert not torch.equal(one[:, TEMPLATE_TOKENS:], other[:, TEMPLATE_TOKENS:])


@torch.no_grad()
def test_the_order_of_the_templates_does_not_matter() -> None:
    """M-10: search and prediction outputs are the same, as both have the same position table."""
    net, (templates, search) = network(), images()
    one, other = net(templates, search, True), net(templates.flip(1), search, True)
    torch.testing.assert_close(one.boxes, other.boxes)
    for a, b in zip(one.blocks, other.blocks, strict=True):
        torch.testing.assert_close(a[:, TEMPLATE_TOKENS:], b[:, TEMPLATE_TOKENS:], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(a[:, :TEMPLATE_TOKENS], b[:, :TEMPLATE_TOKENS])


def test_logits_of_a_fresh_box_head_are_normalised() -> None:
    """M-12: zero mean and unit variance over the bins, whatever the tokens: no edge is certain at first."""
    logits = TokenHead(48, 16)(100 * torch.randn(5, EDGES, 48))
    torch.testing.assert_close(logits.mean(2), torch.zeros(5, EDGES), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.var(2, correction=0), torch.ones(5, EDGES), atol=1e-3, rtol=0)


def test_an_untrained_score_is_a_half() -> None:
    """Neither a lost target nor a view that may renew the template, which needs more than 0.5."""
    with torch.no_grad():
        assert torch.equal(STUDENT.build().eval()(*images()).score, torch.full((2,), 0.5))


def test_sine_tables() -> None:
    """M-13: neighbours in a row differ in the first half of the channels alone, in a column in the second."""
    grid, width = 5, 24
    table = sine_table(grid, width).reshape(grid, grid, width)
    columns, rows = table[..., : width // 2], table[..., width // 2 :]
    assert torch.equal(rows[:, 1:], rows[:, :-1]) and torch.equal(columns[1:], columns[:-1])
    assert (columns[:, 1:] != columns[:, :-1]).any(2).all() and (rows[1:] != rows[:-1]).any(2).all()
    rates = 10000.0 ** (-torch.arange(6) / 6)
    torch.testing.assert_close(
        table[3, 2], torch.cat([f(p * rates) for p in (2, 3) for f in (torch.sin, torch.cos)])
    )


def test_every_published_count() -> None:
    """58.5, 16.0 and 86.9 M parameters; 18.57 and 2.83 G multiplications by weights of cached blocks."""
    big = MixFormerConfig(bins=72)
    small = MixFormerConfig(search_size=224, template_size=112, blocks=4, mlp_ratio=1.0)
    found = {name: counted(c) for name, c in (("B", big), ("S", small), ("12", replace(big, blocks=12)))}
    assert {name: round(count[0] / 1e6, 1) for name, count in found.items()} == {
        "B": 58.5,
        "S": 16.0,
        "12": 86.9,
    }
    assert found["B"][1] == 12 * 768**2 * 328 * 8 == 18_572_378_112
    assert found["S"][1] == 6 * 768**2 * 200 * 4 == 2_831_155_200
    # with the patch embedding, the heads and attention
    assert {name: round(found[name][2] / 1e9, 1) for name in "BS"} == {"B": 20.6, "S": 3.3}
    assert big.state_shapes == ((8, 2, 12, 128, 64),) and small.state_shapes == ((4, 2, 12, 98, 64),)
    assert big.tokens == {"search": 328, "template": 128} and small.tokens["search"] == 200


def counted(config: MixFormerConfig) -> tuple[int, int, int]:
    """Parameters, multiplications by weights in the blocks, all of a frame; without weights or pixels."""
    linear = 0

    def count(layer: nn.Linear, _inputs: object, output: Tensor) -> None:
        nonlocal linear
        linear += output.numel() * layer.in_features

    with torch.device("meta"), FlopCounterMode(display=False) as flops:
        net = config.build().eval()
        for layer in net.blocks.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(count)
        net.outputs(
            torch.empty(1, 3, config.search_size, config.search_size), torch.empty(1, *config.state_shapes[0])
        )
    return sum(p.numel() for p in net.parameters()), linear, flops.get_total_flops() // 2


@torch.no_grad()
def test_what_the_drone_reads() -> None:
    """One score, one box and one unit vector a target; the teacher's confidence is that of its corners."""
    for config, kind in ((STUDENT, "probability"), (TEACHER, "peakedness")):
        net, (templates, search) = network(config), images()
        found = net.outputs(search, *net.encode_template(templates))
        assert [part.shape for part in found] == [(2, 1, 1), (2, 4, 1, 1), (2, 48)]
        assert ((found.score_map > 0) & (found.score_map < 1)).all()
        assert (found.box_map[:, 2:] > 0).all()
        torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(2))
        assert config.confidence_kind == kind and config.update_rule == "best_in_interval"
        assert config.output_grid == 1
        threshold = model_spec(config, "mix").lost_threshold
        assert threshold == (0.25 if kind == "probability" else 0)


def test_the_exported_graphs_give_what_pytorch_gives(tmp_path: Path) -> None:
    """X-1: export compares them, and would refuse."""
    config = replace(STUDENT, blocks=2)
    file = save_student(tmp_path, network(config), config, {"method": "mixformer"})
    assert (export_bundle(file, "mix", tmp_path / "bundle") / "search.onnx").is_file()


def test_both_precisions_agree_under_autocast() -> None:
    """Boxes and scores leave the network in float32, and bfloat16 moves boxes by less than a bin."""
    for config in (STUDENT, TEACHER):
        net, pair = network(config), images()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found: MixFormerResult = net(*pair)
        assert found.boxes.dtype == found.score.dtype == found.logits.dtype == torch.float32
        assert (found.boxes - net(*pair).boxes).abs().max() < 1 / config.edge_bins


def test_it_starts_from_a_one_stream_tracker(tmp_path: Path) -> None:
    """Blocks and stem are copied; what such a tracker lacks is fresh, what it has beyond is left out."""
    config = replace(SMALL, stage1_blocks=0, stage2_blocks=4)
    source, net = EATrackStudent(config), STUDENT.build()
    report = initialise(net, Start(checkpoint=str(save_student(tmp_path, source, config, {}))))
    assert {name.split(".")[0] for name in report.fresh} == {
        "head",
        "prediction_tokens",
        "prediction_positions",
    }
    own, other = net.state_dict(), source.state_dict()
    for name, tensor in own.items():
        if name not in report.fresh:
            assert torch.equal(tensor, other[name.replace("blocks.", "stage2.")]), name


@pytest.mark.parametrize("head", HEADS)
def test_it_starts_from_a_classifier(head: str, tmp_path: Path) -> None:
    """A ViT of timm gives its first blocks and its patch embedding; its tables and last norm are left."""
    source, file = timm.create_model("vit_tiny_patch16_224"), tmp_path / "vit.pth"
    torch.save(source.state_dict(), file)
    net = replace(STUDENT, stem="patch", width=192, head=head, head_channels=32).build()
    report = initialise(net, Start(timm=str(file)))
    assert {name.split(".")[0] for name in report.fresh} <= {
        "head",
        "prediction_tokens",
        "prediction_positions",
    }
    assert torch.equal(net.stem.proj.weight, source.patch_embed.proj.weight)
    for own, other in zip(net.blocks, source.blocks, strict=False):
        assert torch.equal(own.attn.qkv.weight, other.attn.qkv.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_size": 100}, "search_size = 100 must be a multiple of stride = 16"),
        ({"head": "centre"}, "head = 'centre' is unknown; accepted are tokens, corner, pyramid"),
        ({"width": 50}, "width = 50 must be a multiple of 4 and of heads = 3"),
        ({"bins": 0}, "bins = 0 must be at least 1"),
    ],
)
def test_wrong_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STUDENT, **changes)


def test_the_recipes_of_the_paper_are_its_networks() -> None:
    big, small = (read_recipe(RECIPES / f"mixformer_{name}.yaml").student for name in "bs")
    assert big == MixFormerConfig(bins=96)
    assert small == replace(big, search_size=224, template_size=112, blocks=4, mlp_ratio=1.0)
