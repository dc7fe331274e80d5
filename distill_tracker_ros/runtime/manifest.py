"""manifest.yaml: the description of a model bundle, read strictly and written so that it reads back equal."""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..core.calibration import Calibration
from ..core.config import UPDATE_RULES, UpdateConfig
from ..core.engine import ModelSpec, TensorSpec
from ..core.texts import InputError, shown
from .plain_yaml import read_yaml

FORMAT = 1
FILE_NAME = "manifest.yaml"

_KEYS = (
    *("format", "name", "method", "template", "search", "output", "states", "update", "confidence"),
    *("graphs", "opset", "provenance", "scores", "parity"),
)
LONGEST_NAME = 100  # characters
LARGEST_GRAPH = 2**31 - 1  # bytes; more is no ONNX file
# The text `location` as ONNX stores the name of another file, whichever way its lengths are written.
_OUTSIDE = re.compile(rb"(\x0a|\x8a\x80*\x00)(\x08|\x88\x80*\x00)location")
_CONFIDENCE_KEYS = ("kind", "lost_threshold", "tracking_threshold", "redetect_threshold", "calibration")
_DTYPES = ("float32", "float16")
_KINDS = ("probability", "peakedness")
_MOST = 100.0  # of the numbers of a calibration, far beyond any that is fitted


class BundleError(InputError):
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

    def read(self, folder: Path) -> bytes:
        """The file, whole and unchanged. What is loaded are these bytes: the file is not looked at again.

        Raises:
            BundleError: it cannot be read, has another digest, or wants data that lie outside of it.
        """
        path = folder / self.file
        try:
            size = path.stat().st_size
            if size > LARGEST_GRAPH:
                raise BundleError(f"{path} has {size} bytes: accepted are up to {LARGEST_GRAPH}")
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise BundleError(
                f"{path} has the sha256 {found[:12]}..., but by {FILE_NAME} it is {self.sha256[:12]}...: "
                "the file was changed or did not arrive whole"
            )
        if _OUTSIDE.search(content):
            raise BundleError(f"{path} keeps weights in another file (external data): export it as one file")
        return content


@dataclass(frozen=True)
class Calibrated:
    """How the calibration of the confidence came about; the errors are expected calibration errors."""

    error_before: float  # 0..1, of the scores
    error_after: float  # 0..1, of the confidences, on videos that had no part in the calibration
    frames: int
    data: str  # in words


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
    calibrated: Calibrated | None = None  # None = its calibration was not measured with these graphs


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
        content = read_yaml(path)
    except ValueError as error:
        raise BundleError(str(error)) from error
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise BundleError(f"{path}: format = {shown(content['format'])}: this release reads format {FORMAT}")
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
        "confidence": _confidence(manifest),
        "graphs": {"template": asdict(manifest.template), "search": asdict(manifest.search)},
        "opset": manifest.opset,
        "provenance": manifest.provenance,
        "scores": manifest.scores,
        "parity": manifest.parity,
    }
    content = _plain(content)
    _manifest(_Section(path, content))
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    aside = path.with_name(f".{path.name}.{os.getpid()}")  # then renamed: nobody finds half a file
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _manifest(top: _Section) -> Manifest:
    top.accepts(_KEYS)
    top.integer("format", FORMAT, FORMAT)
    template = top.section("template", ("slots", "size", "factor"))
    search = top.section("search", ("size", "factor"))
    output = top.section("output", ("grid", "window_weight", "embedding"))
    update_section = top.section("update", None)
    update = _update(update_section)
    confidence = top.section("confidence", _CONFIDENCE_KEYS)
    calibration, calibrated = _calibration(confidence)
    graphs = top.section("graphs", ("template", "search"))
    spec = ModelSpec(
        name=top.name("name"),
        method=top.name("method"),
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
        tracking_threshold=confidence.number("tracking_threshold", 0.0, 1.0, default=0.0),
        redetect_threshold=confidence.number("redetect_threshold", 0.0, 1.0, default=0.0),
        calibration=calibration,
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
        calibrated=calibrated,
    )


def _confidence(manifest: Manifest) -> dict[str, Any]:
    """The section, without what is as by default."""
    spec, calibrated = manifest.spec, manifest.calibrated
    section: dict[str, Any] = {"kind": spec.confidence_kind, "lost_threshold": spec.lost_threshold}
    for key in ("tracking_threshold", "redetect_threshold"):
        if value := getattr(spec, key):
            section[key] = value
    if calibrated or spec.calibration != Calibration():
        section["calibration"] = {**asdict(spec.calibration), **(asdict(calibrated) if calibrated else {})}
    return section


def _calibration(confidence: _Section) -> tuple[Calibration, Calibrated | None]:
    """The map, and what was measured of it: all of it or nothing."""
    if "calibration" not in confidence:
        return Calibration(), None
    numbers, measured = ([f.name for f in fields(kind)] for kind in (Calibration, Calibrated))
    section = confidence.section("calibration", (*numbers, *measured))
    low, high = (section.number(name, 0.0, _MOST) for name in ("low", "high"))
    if low == high == 0:
        raise section.error("high", high, "low or high must be above 0")
    calibration = Calibration(low, high, section.number("offset", -_MOST, _MOST))
    if not any(name in section for name in measured):
        return calibration, None
    return calibration, Calibrated(
        section.number("error_before", 0.0, 1.0),
        section.number("error_after", 0.0, 1.0),
        section.integer("frames", 1, 10**9),
        section.text("data"),
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
    file, digest = section.name("file"), section.text("sha256")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise section.error("sha256", digest, "accepted are 64 lower-case hexadecimal digits")
    return Graph(file, digest)


class _Section:
    """A mapping of the file that knows where it stands, so that every error can say so."""

    def __init__(self, file: Path, content: Any, at: str = "") -> None:
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            place = f"{file}: {at} = {shown(content)}" if at else f"{file} holds {shown(content)}"
            raise BundleError(f"{place}: accepted is a mapping of keys to values")
        self._file, self._content, self._at = file, content, at

    def error(self, key: str, value: object, accepted: str) -> BundleError:
        return BundleError(f"{self._file}: {self._path(key)} = {shown(value)}: {accepted}")

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def accepts(self, keys: Iterable[str]) -> None:
        """Raise BundleError for the first key that is not one of these."""
        accepted = tuple(keys)
        for key in self._content:
            if key not in accepted:
                names = ", ".join(accepted)
                raise BundleError(f"{self._file}: unknown key {self._path(key)}: accepted are {names}")

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

    def name(self, key: str) -> str:
        """A text that becomes the name of a file, or a part of one."""
        value = self.text(key)
        if Path(value).name != value or value == ".." or not value.isprintable() or len(value) > LONGEST_NAME:
            raise self.error(
                key, value, f"accepted is a name of up to {LONGEST_NAME} characters, without '/'"
            )
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

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number in a range; `default` if there is one and the key is missing."""
        if default is not None and key not in self:
            return default
        value = self.value(key, (int, float), f"a number from {low:g} to {high:g}")
        if not low <= value <= min(high, sys.float_info.max):  # whole numbers may be larger than that, too
            raise self.error(key, value, f"accepted is a finite number from {low:g} to {high:g}")
        return float(value)

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
        key = key if key.isprintable() and len(key) <= LONGEST_NAME else shown(key)
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
        f"a manifest cannot hold {shown(value)} of type {type(value).__name__}: "
        "accepted are texts, numbers, lists and mappings of these"
    )
