"""Identities of the networks: B-1, B-7, B-8, B-9, E-1, E-2, E-3, E-14."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_samples import SMALL, small_student

from training.describe import describe
from training.models.centre_head import CentreMaps
from training.models.eatrack import EATrackConfig, target_embedding
from training.models.layers import ConvStem, resize_position_table
from training.recipe import Recipe, read_recipe

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


def test_a_raised_cell_without_offset_decodes_to_its_corner() -> None:
    """B-1."""
    maps = CentreMaps(torch.zeros(1, 8, 8), torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 0.25))
    assert torch.allclose(maps.boxes[0, :, 5, 3], torch.tensor([3 / 8, 5 / 8, 0.25, 0.25]))


@pytest.mark.parametrize("grid", [4, 8, 16, 20])
def test_a_constant_position_table_stays_constant(grid: int) -> None:
    """B-7."""
    table = torch.arange(3.0).expand(1, 64, 3)
    assert torch.allclose(
        resize_position_table(table, grid), torch.arange(3.0).expand(1, grid * grid, 3), atol=1e-6
    )


def test_a_position_table_with_prefix_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="square number of rows; got 65"):
        resize_position_table(torch.zeros(1, 65, 3), 8)


def test_the_published_student_has_its_published_size() -> None:
    """B-8, E-14: parameters without position tables, linear MACs of one frame."""
    found = describe(read_recipe(RECIPES / "eatrack_deit_tiny.yaml"))
    assert found["parameters"] == 6_199_749
    assert found["linear_macs"] == pytest.approx(1.8639e9, rel=1e-4)
    assert found["macs"] == pytest.approx(2.22e9, rel=2e-3)
    assert found["tokens"] == {"search": 256, "template": 128}
    assert found["states"] == [{"name": "state_0", "shape": [128, 192], "dtype": "float32", "bytes": 98304}]

    assert found["template_macs"] == pytest.approx(0.099e9, rel=0.01)


def test_the_published_teacher_has_its_published_size() -> None:
    """B-8: 12 joint blocks; its template graph is the patch embedding alone."""
    teacher = EATrackConfig(stage1_blocks=0, stage2_blocks=12)
    found = describe(Recipe(name="teacher", student=teacher))
    assert found["parameters"] == 7_979_205
    assert found["position_table_parameters"] == 61_440
    assert found["template_macs"] == 64 * 768 * 192


def test_the_small_student_is_described_too() -> None:
    found = describe(Recipe(name="small", student=SMALL))
    assert found["tokens"] == {"search": 16, "template": 8}
    assert 0 < found["linear_macs"] < found["macs"] and 0 < found["template_macs"] < found["macs"]


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    """B-9: a permuted batch gives permuted outputs, equal items equal rows."""
    student, order = small_student(), torch.tensor([2, 0, 1])
    templates, search = torch.randn(3, 2, 3, 32, 32), torch.randn(3, 3, 64, 64)
    straight, permuted = student(templates, search), student(templates[order], search[order])
    assert torch.allclose(straight.maps.boxes[order], permuted.maps.boxes, atol=1e-5)
    assert torch.allclose(straight.maps.score[order], permuted.maps.score, atol=1e-5)
    same = student(templates[:1].expand(2, -1, -1, -1, -1), search[:1].expand(2, -1, -1, -1))
    assert torch.allclose(same.maps.boxes[0], same.maps.boxes[1], atol=1e-6)


def test_cached_template_equals_the_joint_pass() -> None:
    """E-1: the state of the template pass, used in the search pass, is the full forward."""
    student = small_student()
    templates, search = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 3, 64, 64)
    (state,) = student.encode_template(templates)
    one_by_one = torch.cat([student.encode_template(templates[:, i : i + 1])[0] for i in range(2)], dim=1)
    assert torch.allclose(state, one_by_one, atol=1e-5)
    cached, joint = student.search(search, one_by_one), student(templates, search)
    assert torch.allclose(cached.maps.boxes, joint.maps.boxes, atol=1e-5)
    assert torch.allclose(cached.maps.score_logits, joint.maps.score_logits, atol=1e-5)


def test_a_template_slot_depends_on_its_own_crop_alone() -> None:
    """E-2: changing template 2 leaves the tokens of template 1 untouched, and changes its own."""
    student = small_student()
    templates = torch.randn(1, 2, 3, 32, 32)
    changed = torch.stack([templates[:, 0], torch.randn(1, 3, 32, 32)], dim=1)
    (before,), (after,) = student.encode_template(templates), student.encode_template(changed)
    tokens = SMALL.template_grid**2
    assert torch.equal(before[:, :tokens], after[:, :tokens])
    assert not torch.allclose(before[:, tokens:], after[:, tokens:])


def test_template_slots_are_symmetric() -> None:
    """E-3: with one position table for both, swapping the slots changes nothing."""
    student = small_student()
    templates, search = torch.randn(1, 2, 3, 32, 32), torch.randn(1, 3, 64, 64)
    straight, swapped = student(templates, search), student(templates.flip(1), search)
    assert torch.allclose(straight.maps.boxes, swapped.maps.boxes, atol=1e-5)
    assert torch.allclose(straight.maps.score, swapped.maps.score, atol=1e-5)


def test_the_outputs_of_the_joint_blocks_are_kept_on_demand() -> None:
    """Templates first, before any norm: the final norm of the last one gives the tokens of the head."""
    student = small_student()
    templates, search = torch.randn(2, 2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    plain, kept = student(templates, search), student(templates, search, keep_blocks=True)
    assert plain.blocks == () and [tuple(b.shape) for b in kept.blocks] == [(2, 8 + 16, 48)] * 2
    assert torch.equal(plain.tokens, kept.tokens)
    assert torch.equal(student.norm(kept.blocks[-1][:, 8:]), kept.tokens)


def test_the_embedding_is_normalised_and_follows_the_peak() -> None:
    student = small_student()
    result = student(torch.randn(2, 2, 3, 32, 32), torch.randn(2, 3, 64, 64))
    assert torch.allclose(target_embedding(result).norm(dim=1), torch.ones(2), atol=1e-5)
    logits = torch.full((2, 4, 4), -9.0)
    logits[:, 1, 2] = 9.0
    peaked = result._replace(maps=result.maps._replace(score_logits=logits))
    token = result.tokens[:, 1 * 4 + 2]
    assert torch.allclose(target_embedding(peaked), token / token.norm(dim=1, keepdim=True), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_size": 100}, "search_size = 100 must be a multiple of stride = 16"),
        ({"stage2_blocks": 0}, "stage2_blocks = 0 must be at least 1"),
        ({"stem": "mlp"}, "stem = 'mlp' is unknown; accepted are 'patch' and 'conv'"),
        ({"heads": 5}, "width = 192 must be a multiple of heads = 5"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EATrackConfig(**changes)  # type: ignore[arg-type]


def test_a_stem_needs_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two; got 12"):
        ConvStem(48, 12)
