"""One module a method: `Distillation`, its section of a recipe, `BRANCHES`, the losses that distil, and
`build(student, recipe)`.

`build` gives a torch module with the attributes `student` and `sizes` (the crops that it wants) that maps
(batch, progress) to named, unweighted losses. It owns its frozen teacher and its schedule; progress is the
share of the recipe's steps that is done. A module that leaves trained parameters out of some steps says so
to DDP by `SKIPS_PARAMETERS = True`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

METHODS = ("tracking", "eatrack", "loretrack", "compresstracker", "mixformer", "asymtrack")


def method_module(name: str) -> ModuleType:
    """Raises ValueError for an unknown method."""
    if name not in METHODS:
        raise ValueError(f"method = {name!r} is unknown; accepted are {', '.join(METHODS)}")
    return importlib.import_module(f".{name}", __package__)


def skips_parameters(name: str) -> bool:
    """Whether there are steps of a method that give some of the trained parameters no gradient."""
    return getattr(method_module(name), "SKIPS_PARAMETERS", False)
