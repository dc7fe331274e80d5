"""Recipes: strict reading, and the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.recipe import read_recipe

SHIPPED = sorted((Path(__file__).parents[2] / "training" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_recipes_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert set(recipe.loss_weights) == {"focal", "l1", "giou"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nstep: 3\n", "unknown key 'step'; accepted are .*steps"),
        ("name: x\nstudent: {widht: 3}\n", "student: unknown key 'widht'; accepted are .*width"),
        ("name: x\nsteps: many\n", "steps must be of type int; got 'many'"),
        ("name: x\noptimiser: {learning_rate: fast}\n", "learning_rate must be a number; got 'fast'"),
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
