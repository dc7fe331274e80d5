"""A wider network starts as the narrower one that it comes from, and all that is new can learn."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from training_samples import SMALL, small_student

from training.models.eatrack import EATrackConfig, EATrackStudent
from training.widen import widened

WIDE = replace(SMALL, width=80, heads=5, head_channels=48)


def narrow_student(config: EATrackConfig = SMALL) -> EATrackStudent:
    """With norms and biases that are not those of a fresh network, and a stream with a mean."""
    student = small_student(config)
    for module in student.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    nn.init.normal_(student.search_positions, 1.0)
    return student


def outputs(network: EATrackStudent) -> list[Tensor]:
    """Score logits, boxes and tokens."""
    generator = torch.Generator().manual_seed(5)
    slots = network.config.template_slots
    with torch.no_grad():
        templates = torch.randn(2, slots, 3, 32, 32, generator=generator)
        result = network(templates, torch.randn(2, 3, 64, 64, generator=generator))
    return [result.maps.score_logits, result.maps.boxes, result.tokens]


@pytest.mark.parametrize(
    "config",
    [SMALL, replace(SMALL, stem="patch", stage1_blocks=0), replace(SMALL, mlp_ratio=2.0, template_slots=1)],
    ids=["conv", "patch_one_stream", "narrow_mlp"],
)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_wider_network_gives_the_same(config: EATrackConfig, training: bool) -> None:
    """Also with the statistics of the batch; the new channels of the tokens are 0."""
    narrow = narrow_student(config)
    wide = widened(narrow, WIDE)
    assert wide.config == replace(config, width=80, heads=5, head_channels=48, mlp_ratio=WIDE.mlp_ratio)
    *before, tokens = outputs(narrow.train(training))
    *after, wide_tokens = outputs(wide.train(training))
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(old, new, atol=1e-5), (old - new).abs().max()
    assert torch.allclose(tokens, wide_tokens[..., :48], atol=1e-5)
    assert wide_tokens[..., 48:].abs().max() < 1e-5


def test_the_depth_and_the_crops_stay_those_of_the_source() -> None:
    wide = widened(narrow_student(), replace(WIDE, stage2_blocks=5, search_size=96))
    assert wide.config == WIDE


def test_a_dead_stream_keeps_the_epsilon_of_the_norms() -> None:
    """Tokens as small as the epsilon are where a rescaled gain alone would be wrong."""
    narrow = narrow_student()
    for name, parameter in narrow.named_parameters():
        if name.endswith("_positions") or name.startswith("stem.12.") or "proj" in name or "fc2" in name:
            parameter.data *= 1e-3
    for old, new in zip(outputs(narrow)[:2], outputs(widened(narrow, WIDE))[:2], strict=True):
        assert torch.allclose(old, new, atol=1e-5)


def test_all_that_is_new_learns() -> None:
    """After one step every writer of the stream writes the new channels, and what is new is listened to."""
    torch.manual_seed(2)
    wide = widened(narrow_student(), WIDE).train()
    optimiser = torch.optim.SGD(wide.parameters(), 0.1)
    result = wide(torch.randn(4, 2, 3, 32, 32), torch.randn(4, 3, 64, 64))
    (result.maps.boxes.square().sum() + result.maps.score_logits.square().sum()).backward()
    optimiser.step()
    state = wide.state_dict()
    new_rows = ["stem.12.weight", "stage1.0.attn.proj.weight", "stage2.1.mlp.fc2.weight"]
    new_columns = {  # of the old outputs: heads, hidden units and channels that are new
        "stem.12.weight": 48,
        "stage1.0.attn.proj.weight": 48,
        "stage2.1.mlp.fc2.weight": 192,
        "head.score.3.weight": 32,
        "head.score.12.weight": 4,
    }
    for name in new_rows:
        assert state[name][48:].flatten(1).any(1).all(), name
    for name, old in new_columns.items():
        assert state[name][:1, old:].transpose(0, 1).flatten(1).any(1).any(), name
    for name in ("template_positions", "search_positions"):
        assert state[name][..., 48:].any(-1).all(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 4}, r"heads of 16 channels cannot become heads of 20 \(48 / 3 to 80 / 4\)"),
        ({"width": 32, "heads": 2}, "does not narrow: width = 48 to 32"),
        ({"mlp_ratio": 2.0}, "hidden width of the MLP = 192 to 160"),
        ({"head_channels": 16}, "head_channels = 32 to 16"),
    ],
)
def test_what_would_not_be_the_same_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widened(narrow_student(), replace(WIDE, **changes))  # type: ignore[arg-type]
