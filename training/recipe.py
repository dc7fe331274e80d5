"""A recipe: one YAML file that says what is trained, on what, by which method and for how long."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from .data.config import DataConfig
from .methods import method_module
from .models.eatrack import EATrackConfig
from .models.network import NetworkConfig
from .models.networks import config_kind
from .schedule import SCHEDULES
from .start import Start

RECIPES = Path(__file__).parent / "recipes"
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
PRECISIONS = ("no", "bf16")
BOX_CELLS = ("peak", "around")


@dataclass(frozen=True)
class Optimiser:
    """AdamW. Biases, norms and position tables do not decay."""

    learning_rate: float = 4e-4
    backbone_factor: float = 1.0  # of the learning rate, for all but the head (0.1 from pre-trained weights)
    weight_decay: float = 1e-4
    batch_size: int = 128  # of all processes together
    warmup_steps: int = 500
    schedule: str = "linear"  # after the warm-up: linear, cosine or step; see training.schedule
    decay_from: float = 0.8  # progress at which linear and step leave the full learning rate
    clip_norm: float = 0.1  # of the gradient of all parameters
    ema_decay: float = 0.9995  # of the averaged weights that are validated and exported

    def __post_init__(self) -> None:
        _at_least(self, 0, "weight_decay", "backbone_factor", "warmup_steps", "decay_from", "ema_decay")
        _at_least(self, 1, "batch_size")
        _positive(self, "learning_rate", "clip_norm")
        _one_of(self, "schedule", SCHEDULES)
        for name in ("decay_from", "ema_decay"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be below 1")


@dataclass(frozen=True)
class Recipe:
    """Unknown keys are errors, here and in every part.

    What `student` accepts depends on its key `network`, what `distillation` accepts on the method.
    """

    name: str  # also of the run's folder
    method: str = "tracking"
    student: NetworkConfig = field(default_factory=EATrackConfig)  # what is trained: a student or a teacher
    start: Start = field(default_factory=Start)
    distillation: Any = None  # the Distillation of the method's module; None = its defaults
    data: DataConfig = field(default_factory=DataConfig)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss_weights: dict[str, float] = field(default_factory=lambda: {"focal": 1.0, "l1": 5.0, "giou": 2.0})
    box_cells: str = "peak"  # which cells learn the box: peak (published) or around; see training.losses
    steps: int = 100_000
    seed: int = 0
    mixed_precision: str = "bf16"  # or no
    share_batch_norm: bool = True  # among processes, so that N train as one; costs speed on CPUs
    workers: int = 2  # processes that make samples, for each process that trains
    log_every: int = 50  # steps, as all that follow
    checkpoint_every: int = 500
    validate_every: int = 2000
    validation_flights: int = 12  # synthetic videos, beside the held-out tracks

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name = {self.name!r} must be the name of a folder")
        kind = method_module(self.method).Distillation
        if self.distillation is None:
            object.__setattr__(self, "distillation", kind())  # as dataclasses do for frozen fields
        if not isinstance(self.distillation, kind):
            raise ValueError(f"distillation is not that of the method {self.method!r}")
        _one_of(self, "box_cells", BOX_CELLS)
        _one_of(self, "mixed_precision", PRECISIONS)
        _at_least(self, 1, "steps", "log_every", "checkpoint_every", "validate_every")
        _at_least(self, 0, "workers", "validation_flights", "seed")


def read_recipe(path: Path) -> Recipe:
    """A recipe from YAML. With `extends: FILE` (beside it) only what differs from that recipe is written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key (the accepted ones are named), a missing name or a wrong value.
    """
    content = _content(path)
    if "name" not in content:
        raise ValueError(f"{path}: a recipe is a mapping with at least the key 'name'")
    kinds = {}
    try:
        if isinstance(student := content.get("student"), dict):
            kinds["student"] = config_kind(student)
        method = method_module(content.get("method", "tracking"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    kinds["distillation"] = method.Distillation
    recipe: Recipe = _build(Recipe, {"distillation": {}, **content}, str(path), kinds)
    return recipe


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"recipe {path} does not exist; shipped ones are in {RECIPES}")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a recipe is a mapping with at least the key 'name'")
    base = content.pop("extends", None)
    return content if base is None else _over(_content(path.parent / str(base)), content)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with changes, mapping by mapping; a student of another network begins anew."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not _of_another_network(old, value):
            value = _over(old, value)
        found[key] = value
    return found


def _of_another_network(base: dict[str, Any], changes: dict[str, Any]) -> bool:
    return "network" in changes and config_kind(changes) is not config_kind(base)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """A recipe as YAML, with all its defaults, for read_recipe."""
    path.write_text(yaml.safe_dump(_plain(recipe), sort_keys=False))


def beside(recipe: Recipe, runs: Path) -> Recipe:
    """The recipe with the files that it takes from other runs as paths into the folder of the runs."""

    def found(file: str) -> str:
        return str(runs / file) if file else ""

    return replace(
        recipe,
        start=replace(recipe.start, checkpoint=found(recipe.start.checkpoint)),
        distillation=replace(recipe.distillation, teacher=found(recipe.distillation.teacher)),
    )


def check_order(recipes: Sequence[Recipe], runs: Path) -> None:
    """That recipes can be run one after the other.

    Raises:
        ValueError: two have the same name, or one needs a file that neither is there nor will be.
    """
    made: set[Path] = set()
    for recipe in recipes:
        if (folder := runs / recipe.name) in made:
            raise ValueError(f"two recipes have the name {recipe.name!r}")
        found = beside(recipe, runs)
        for key, file in (("start", found.start.checkpoint), ("distillation", found.distillation.teacher)):
            if file and not Path(file).is_file() and Path(file).parent not in made:
                raise ValueError(
                    f"{recipe.name}: {key} needs {file}, which is not there: first comes what makes it"
                )
        made.add(folder)


def _build(kind: type, content: Any, where: str, kinds: Mapping[str, type] | None = None) -> Any:
    """A dataclass from a mapping, its parts likewise; `kinds` are of parts that have a choice of types."""
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be a mapping; got {content!r}")
    accepted = [f.name for f in fields(kind)]
    for key in content:
        if key not in accepted:
            close = get_close_matches(str(key), accepted, 1)
            guess = f", did you mean {close[0]!r}?" if close else ";"
            raise ValueError(f"{where}: unknown key {key!r}{guess} accepted are {', '.join(accepted)}")
    hints = {**get_type_hints(kind), **(kinds or {})}
    values = {key: _checked(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _checked(hint: Any, value: Any, where: str) -> Any:
    """The value as the type that a dataclass wants."""
    if is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    kind = get_origin(hint) or hint
    if kind is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a mapping; got {value!r}")
        of_values = get_args(hint)[1]
        return {str(key): _checked(of_values, each, f"{where}: {key}") for key, each in value.items()}
    if kind is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list; got {value!r}")
        return tuple(_checked(get_args(hint)[0], each, where) for each in value)
    types = get_args(hint) if kind is UnionType else (hint,)
    if type(value) in types:
        return value
    if float in types and type(value) is int:
        return float(value)
    hint_on_yaml = " (YAML reads 1e-3 as a text; write 1.0e-3)" if _is_number(value) else ""
    raise ValueError(f"{where} must be {' or '.join(_WORDS[t] for t in types)}; got {value!r}{hint_on_yaml}")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def _plain(value: Any) -> Any:
    """Dataclasses as mappings and tuples as lists, for YAML."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _at_least(config: Any, low: float, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= low:
            raise ValueError(f"{name} = {getattr(config, name)} must be at least {low:g}")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} = {getattr(config, name)} must be positive")


def _one_of(config: Any, name: str, accepted: Collection[str]) -> None:
    if getattr(config, name) not in accepted:
        raise ValueError(f"{name} = {getattr(config, name)!r} is unknown; accepted are {', '.join(accepted)}")
