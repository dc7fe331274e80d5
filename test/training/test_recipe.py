"""Recipes: strict reading, and the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.recipe import RECIPES, check_order, read_recipe

SHIPPED = sorted(RECIPES.glob("*.yaml"))
CHAINS = [
    ("small", "teacher_nano", "nano"),
    ("small", "teacher_nano", "nano", "release_narrow", "release", "teacher_gpu", "gpu"),
]
TRACKING = {"focal", "l1", "giou"}
LOSSES = {
    "tracking": TRACKING,
    "eatrack": TRACKING | {"feature", "prediction"},
    "loretrack": TRACKING | {"qkv", "disc", "kept"},
    "compresstracker": TRACKING | {"feature", "prediction"},
    "mixformer": {"l1", "ciou", "edge", "feature", "score"},
    "asymtrack": {"l1", "giou", "edge"},
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert set(recipe.loss_weights) <= LOSSES[recipe.method] and any(recipe.loss_weights.values())


def test_the_published_student_and_schedule() -> None:
    """EATrack and OSTrack: AdamW, batch 128, 300 epochs of 60,000, a tenth of the rate after 240."""
    recipe = read_recipe(RECIPES / "eatrack_deit_tiny.yaml")
    o = recipe.optimiser
    assert recipe.steps * o.batch_size == 300 * 60_000
    assert (o.learning_rate, o.backbone_factor, o.weight_decay, o.clip_norm) == (4e-4, 0.1, 1e-4, 0.1)
    assert (o.schedule, o.decay_from, o.batch_size) == ("step", 240 / 300, 128)
    assert recipe.data.sampling == "trident" and recipe.data.kinds == {"video": 0.75, "still": 0.25}
    assert (recipe.student.stage1_blocks, recipe.student.stage2_blocks) == (3, 5)
    assert recipe.loss_weights == {"focal": 1, "l1": 5, "giou": 2, "feature": 1, "prediction": 1}
    teacher = read_recipe(RECIPES / "eatrack_teacher_deit_tiny.yaml")
    assert (teacher.student.stage1_blocks, teacher.student.stage2_blocks) == (0, 12)
    assert recipe.distillation.teacher == recipe.start.checkpoint == f"{teacher.name}/student.pt"


@pytest.mark.parametrize("chain", CHAINS)
def test_the_shipped_chains_are_in_order(chain: tuple[str, ...], tmp_path: Path) -> None:
    recipes = [read_recipe(RECIPES / f"eatrack_{name}.yaml") for name in chain]
    check_order(recipes, tmp_path)
    with pytest.raises(ValueError, match="student.pt"):
        check_order(recipes[::-1], tmp_path)


def test_a_recipe_can_extend_another(tmp_path: Path) -> None:
    """Mappings are merged key by key; all else is replaced."""
    (tmp_path / "base.yaml").write_text("name: base\nsteps: 5\nstudent: {width: 96, heads: 3}\n")
    path = tmp_path / "more.yaml"
    path.write_text("extends: base.yaml\nname: more\nstudent: {width: 48}\n")
    recipe = read_recipe(path)
    assert (recipe.name, recipe.steps, recipe.student.width, recipe.student.heads) == ("more", 5, 48, 3)
    path.write_text("extends: none.yaml\nname: more\n")
    with pytest.raises(FileNotFoundError, match="none.yaml does not exist"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nstep: 3\n", r"unknown key 'step', did you mean 'steps'\? accepted are .*steps"),
        (
            "name: x\nstudent: {widht: 3}\n",
            r"student: unknown key 'widht', did you mean 'width'\? accepted are",
        ),
        ("name: x\nsteps: many\n", "steps must be a whole number; got 'many'"),
        ("name: x\noptimiser: {learning_rate: fast}\n", "learning_rate must be a number; got 'fast'"),
        ("name: x\noptimiser: {learning_rate: 1e-3}\n", "YAML reads 1e-3 as a text; write 1.0e-3"),
        ("name: x\nstudent: 4\n", "student must be a mapping; got 4"),
        ("name: x\nstudent: {heads: 7}\n", "width = 192 must be a multiple of heads = 7"),
        ("steps: 4\n", "at least the key 'name'"),
    ],
)
def test_wrong_recipes_name_the_key_and_what_is_accepted(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_a_missing_recipe_says_where_the_shipped_ones_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="shipped ones are in .*recipes"):
        read_recipe(tmp_path / "none.yaml")
