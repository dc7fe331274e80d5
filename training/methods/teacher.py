"""What the methods that learn from another network share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import load_student
from ..models.network import Network, NetworkConfig

if TYPE_CHECKING:  # the recipe knows the switches of every method
    from ..recipe import Recipe


def load_teacher(file: str) -> Network:
    """student.pt of the teacher's run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no network.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(
            f"distillation: teacher = {file!r} is no file; it is the student.pt of the teacher's run"
        )
    return load_student(Path(file))[0]


def check_network(accepted: str, student: Network, teacher: Network) -> None:
    """Raises ValueError unless both are of the network, by its key, that a method is made for."""
    for who, network in (("student", student), ("teacher", teacher)):
        if network.config.network != accepted:
            raise ValueError(
                f"the {who}'s network is {network.config.network!r}; this method is made for {accepted!r}"
            )


# What two networks agree in that see the same crops and have the same tokens.
SAME_TOKENS = (
    "search_size",
    "template_size",
    "search_factor",
    "template_factor",
    "stride",
    "template_slots",
)


def check_same(student: NetworkConfig, teacher: NetworkConfig, *names: str) -> None:
    """Raises ValueError for the first of these fields in which the two differ, with both values."""
    for name in names:
        own, other = getattr(student, name), getattr(teacher, name)
        if own != other:
            raise ValueError(
                f"the teacher has {name} = {other}, the student {own}: this method needs them equal"
            )


def teacher_and_branches(
    accepted: str, student: Network, recipe: Recipe, names: tuple[str, ...]
) -> tuple[Network, tuple[str, ...]]:
    """The teacher of a recipe, of the same network as its student, and the branches that are not left out.

    Raises:
        FileNotFoundError: there is no teacher.
        ValueError: a network is not `accepted`, or a branch has no weight.
    """
    branches = branches_with_weight(names, recipe.loss_weights)
    teacher = load_teacher(recipe.distillation.teacher)
    check_network(accepted, student, teacher)
    return teacher, branches


def branches_with_weight(names: tuple[str, ...], loss_weights: Mapping[str, float]) -> tuple[str, ...]:
    """The branches of a distillation that are not left out, those whose weight is not 0.

    Raises:
        ValueError: one has no weight.
    """
    if missing := [name for name in names if name not in loss_weights]:
        raise ValueError(f"loss_weights lacks {missing[0]!r}; 0 leaves this branch of the distillation out")
    return tuple(name for name in names if loss_weights[name])
