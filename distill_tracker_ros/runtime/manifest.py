"""manifest.yaml: the description of a model bundle, read strictly and written so that it reads back equal."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..core.config import UPDATE_RULES, UpdateConfig
from ..core.engine import ModelSpec, TensorSpec

FORMAT = 1
FILE_NAME = "manifest.yaml"

_KEYS = (
    *("format", "name", "method", "template", "search", "output", "states", "update", "confidence"),
    *("graphs", "opset", "provenance", "scores", "parity"),
)
_DTYPES = ("float32", "float16")
_KINDS = ("probability", "peakedness")


class BundleError(ValueError):
    """A model bundle that cannot be used; the text names the file, what is wrong, and what is accepted."""


@dataclass(frozen=True)
class Graph:
    """One ONNX file of a bundle."""

    file: str  # name within the bundle's folder
    sha256: str  # lower-case hex digest of the file

    @classmethod
    def of_file(cls, path: Path) -> Graph:
        """The entry for a file as it is now."""
        return cls(path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """Everything that stands in a manifest."""

    spec: ModelSpec
    template: Graph
    search: Graph
    opset: int = 17
    provenance: Mapping[str, Any] = field(default_factory=dict)  # where the weights come from
    scores: Mapping[str, Any] = field(default_factory=dict)  # measured, with their conditions
    parity: Mapping[str, float] = field(default_factory=dict)  # error of the graphs against training


@dataclass(frozen=True)
class Signature:
    """The tensors of the two graphs; shapes are without the batch axis."""

    template_inputs: tuple[TensorSpec, ...]
    template_outputs: tuple[TensorSpec, ...]
    search_inputs: tuple[TensorSpec, ...]
    search_outputs: tuple[TensorSpec, ...]


def signature(spec: ModelSpec) -> Signature:
    """What the graphs of a model take and give: the same for every method, exporter and runtime."""
    side_z, side_x, grid = spec.template_size, spec.search_size, spec.grid
    embedding = [TensorSpec("embedding", (spec.embedding_size,), "float32")] if spec.embedding_size else []
    return Signature(
        template_inputs=(TensorSpec("templates", (spec.template_slots, side_z, side_z, 3), "uint8"),),
        template_outputs=spec.states,
        search_inputs=(TensorSpec("search", (side_x, side_x, 3), "uint8"), *spec.states),
        search_outputs=(
            TensorSpec("score_map", (grid, grid), "float32"),
            TensorSpec("box_map", (4, grid, grid), "float32"),
            *embedding,
        ),
    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.yaml.

    Raises:
        BundleError: the file is missing or not YAML, a key is unknown, missing, of the wrong type or out of
            range, or the format is one that this release does not read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise BundleError(f"{path}: format = {content['format']!r}: this release reads format {FORMAT}")
    return _manifest(_Section(path, content))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest.yaml that reads back equal.

    The free mappings may hold numpy numbers and tuples; they become plain numbers and lists.

    Raises:
        BundleError: `read_manifest` would refuse the content; nothing is written.
    """
    spec = manifest.spec
    content = {
        "format": FORMAT,
        "name": spec.name,
        "method": spec.method,
        "template": {
            "slots": spec.template_slots,
            "size": spec.template_size,
            "factor": spec.template_factor,
        },
        "search": {"size": spec.search_size, "factor": spec.search_factor},
        "output": {
            "grid": spec.grid,
            "window_weight": spec.window_weight,
            "embedding": spec.embedding_size,
        },
        "states": [{"name": s.name, "shape": list(s.shape), "dtype": s.dtype} for s in spec.states],
        "update": {"rule": spec.update.rule, **asdict(spec.update)},
        "confidence": {"kind": spec.confidence_kind, "lost_threshold": spec.lost_threshold},
        "graphs": {"template": asdict(manifest.template), "search": asdict(manifest.search)},
        "opset": manifest.opset,
        "provenance": manifest.provenance,
        "scores": manifest.scores,
        "parity": manifest.parity,
    }
    content = _plain(content)
    _manifest(_Section(path, content))
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    path.write_text(text, encoding="utf-8")


def _manifest(top: _Section) -> Manifest:
    top.accepts(_KEYS)
    top.integer("format", FORMAT, FORMAT)
    template = top.section("template", ("slots", "size", "factor"))
    search = top.section("search", ("size", "factor"))
    output = top.section("output", ("grid", "window_weight", "embedding"))
    update_section = top.section("update", None)
    update = _update(update_section)
    confidence = top.section("confidence", ("kind", "lost_threshold"))
    graphs = top.section("graphs", ("template", "search"))
    spec = ModelSpec(
        name=top.text("name"),
        method=top.text("method"),
        template_slots=template.integer("slots", 1, 16),
        template_size=template.integer("size", 16, 1024),
        template_factor=template.number("factor", 1.0, 16.0),
        search_size=search.integer("size", 16, 2048),
        search_factor=search.number("factor", 1.0, 16.0),
        grid=output.integer("grid", 1, 256),
        window_weight=output.number("window_weight", 0.0, 1.0),
        states=tuple(_state(section, i) for i, section in enumerate(top.sections("states"))),
        embedding_size=output.integer("embedding", 0, 65536),
        update=update,
        confidence_kind=confidence.one_of("kind", _KINDS),  # type: ignore[arg-type]
        lost_threshold=confidence.number("lost_threshold", 0.0, 1.0),
    )
    if spec.template_slots < update.least_slots or spec.embedding_size < update.least_embedding:
        raise update_section.error(
            "rule", update.rule, f"it needs template.slots >= {update.least_slots} "
            f"(here {spec.template_slots}) and output.embedding >= {update.least_embedding} "
            f"(here {spec.embedding_size})"
        )  # fmt: skip
    return Manifest(
        spec=spec,
        template=_graph(graphs.section("template", ("file", "sha256"))),
        search=_graph(graphs.section("search", ("file", "sha256"))),
        opset=top.integer("opset", 17, 25),
        provenance=top.free("provenance"),
        scores=top.free("scores"),
        parity=top.numbers("parity"),
    )


def _state(section: _Section, index: int) -> TensorSpec:
    section.accepts(("name", "shape", "dtype"))
    sizes = "a list of positive whole numbers, without the batch axis"
    shape = section.value("shape", list, sizes)
    if not shape or not all(type(n) is int and n > 0 for n in shape):
        raise section.error("shape", shape, f"accepted is {sizes}")
    name = section.one_of("name", (f"state_{index}",))
    return TensorSpec(name, tuple(shape), section.one_of("dtype", _DTYPES))


def _update(section: _Section) -> UpdateConfig:
    kind = UPDATE_RULES[section.one_of("rule", tuple(UPDATE_RULES))]
    options = fields(kind)
    section.accepts(("rule", *(f.name for f in options)))
    values: dict[str, Any] = {}
    for f in options:
        read = section.integer if type(f.default) is int else section.number
        values[f.name] = read(f.name, f.metadata["low"], f.metadata["high"])
    return kind(**values)


def _graph(section: _Section) -> Graph:
    file, digest = section.text("file"), section.text("sha256")
    if Path(file).name != file:
        raise section.error("file", file, "accepted is the name of a file in the same folder")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise section.error("sha256", digest, "accepted are 64 lower-case hexadecimal digits")
    return Graph(file, digest)


class _Section:
    """A mapping of the file that knows where it stands, so that every error can say so."""

    def __init__(self, file: Path, content: Any, at: str = "") -> None:
        if not isinstance(content, dict):
            place = f"{file}: {at} = {_short(content)}" if at else f"{file} holds {_short(content)}"
            raise BundleError(f"{place}: accepted is a mapping of keys to values")
        self._file, self._content, self._at = file, content, at

    def error(self, key: str, value: object, accepted: str) -> BundleError:
        return BundleError(f"{self._file}: {self._path(key)} = {_short(value)}: {accepted}")

    def accepts(self, keys: Iterable[str]) -> None:
        """Raise BundleError for the first key that is not one of these."""
        accepted = tuple(keys)
        for key in self._content:
            if key not in accepted:
                names = ", ".join(accepted)
                raise BundleError(f"{self._file}: unknown key {self._path(str(key))}: accepted are {names}")

    def value(self, key: str, kind: type | tuple[type, ...], accepted: str) -> Any:
        if key not in self._content:
            raise BundleError(f"{self._file}: {self._path(key)} is missing: accepted is {accepted}")
        value = self._content[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, value, f"accepted is {accepted}")
        return value

    def text(self, key: str) -> str:
        value: str = self.value(key, str, "a text")
        if not value:
            raise self.error(key, value, "accepted is a text that is not empty")
        return value

    def one_of(self, key: str, accepted: tuple[str, ...]) -> str:
        choices = " or ".join(accepted)
        value: str = self.value(key, str, choices)
        if value not in accepted:
            raise self.error(key, value, f"accepted is {choices}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value: int = self.value(key, int, f"a whole number from {low} to {high}")
        if not low <= value <= high:
            raise self.error(key, value, f"accepted is a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = float(self.value(key, (int, float), f"a number from {low:g} to {high:g}"))
        if not (low <= value <= high and math.isfinite(value)):
            raise self.error(key, value, f"accepted is a finite number from {low:g} to {high:g}")
        return value

    def section(self, key: str, keys: Iterable[str] | None) -> _Section:
        """A mapping below this one; `keys` are those it may have (None: to be checked by the caller)."""
        found = _Section(self._file, self.value(key, dict, "a mapping of keys to values"), self._path(key))
        if keys is not None:
            found.accepts(keys)
        return found

    def sections(self, key: str) -> list[_Section]:
        """A list of mappings, at least one."""
        items = self.value(key, list, "a list of mappings, at least one")
        if not items:
            raise self.error(key, items, "accepted is a list of mappings, at least one")
        return [_Section(self._file, item, f"{self._path(key)}[{i}]") for i, item in enumerate(items)]

    def free(self, key: str) -> dict[str, Any]:
        """A mapping whose content is free; empty if it is missing."""
        return dict(self.value(key, dict, "a mapping")) if key in self._content else {}

    def numbers(self, key: str) -> dict[str, float]:
        """A mapping of numbers that are not negative; empty if it is missing."""
        found = _Section(self._file, self.free(key), self._path(key))
        return {name: found.number(name, 0.0, math.inf) for name in found._content}

    def _path(self, key: str) -> str:
        return f"{self._at}.{key}" if self._at else key


def _plain(value: Any) -> Any:
    """The value in YAML's own types: mappings, lists, texts, numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise BundleError(
        f"a manifest cannot hold {_short(value)} of type {type(value).__name__}: "
        "accepted are texts, numbers, lists and mappings of these"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
