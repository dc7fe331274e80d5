"""All options of the tracker node in one value, and that value as flat names: `tracker.lost_threshold`, ...

Names, defaults, descriptions and ranges come from the dataclasses' fields; they are written nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

from ..camera_info import BearingConfig
from ..core.config import SessionConfig, TrackerConfig, choice, option
from ..core.texts import shown
from ..runtime.load import AUTO, BACKENDS, ON_CPU, ON_GPU
from ..runtime.onnx_engine import OnnxOptions
from ..runtime.tensorrt.options import TensorRtOptions
from .history import HistoryConfig
from .overlay import OverlayConfig
from .state_file import RestoreConfig
from .thresholds import DiagnosticsConfig
from .watchdog import WatchdogConfig


@dataclass(frozen=True)
class Options:
    """Everything that can be set on the tracker node."""

    model: str = option(
        AUTO,
        f"model bundle: the name of one in models/, or a folder with a manifest.yaml; {AUTO} = {ON_GPU} on a "
        f"GPU, {ON_CPU} on the CPU",
    )
    backend: str = choice(
        "runtime that executes the model; auto takes tensorrt where it works, else onnxruntime with CUDA (or "
        "another onnx.execution_provider), else on the CPU",
        *BACKENDS,
    )
    image_transport: str = choice(
        "raw takes sensor_msgs/Image on image; compressed takes CompressedImage on image/compressed",
        "raw",
        "compressed",
    )
    image_reliability: str = choice(
        "QoS of the image subscription: best_effort fits every camera; reliable loses nothing on the way, "
        "but gets nothing from a camera that is best effort",
        "best_effort",
        "reliable",
    )
    service_timeout_s: float = option(5.0, "longest time a service call waits for the tracker, s", 0.1, 600.0)
    latency_budget_ms: float = option(
        100.0, "median age of the results, ms, above which diagnostics warn; 0 = never", 0.0, 60_000.0
    )
    autostart: bool = option(False, "configure and activate at start, without a lifecycle manager")
    tracker: TrackerConfig = TrackerConfig()
    session: SessionConfig = SessionConfig()
    onnx: OnnxOptions = OnnxOptions()
    tensorrt: TensorRtOptions = TensorRtOptions()
    history: HistoryConfig = HistoryConfig()
    overlay: OverlayConfig = OverlayConfig()
    bearing: BearingConfig = BearingConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    restore: RestoreConfig = RestoreConfig()


# Names, and beginnings of names. Who may set parameters must not choose where files are written.
FIXED_AT_START = ("restore.", "tensorrt.cache_folder")
FIXED_WHILE_CONFIGURED = ("model", "backend", "onnx.", "tensorrt.")
FIXED_WHILE_ACTIVE = ("image_transport", "image_reliability")


class Option(NamedTuple):
    """One option under its flat name."""

    value: Any
    help: str
    low: float | None
    high: float | None
    accepted: tuple[str, ...]  # empty: any

    @property
    def constraint(self) -> str:
        """What is accepted, in words; empty if anything is."""
        if self.accepted:
            return f"accepted is {' or '.join(self.accepted)}"
        return "" if self.low is None else f"accepted is {self.low} to {self.high}"


def flat(options: Any, prefix: str = "") -> dict[str, Option]:
    """Flat name -> option, in the order of the fields."""
    found: dict[str, Option] = {}
    for f in fields(options):
        value = getattr(options, f.name)
        if is_dataclass(value):
            found |= flat(value, f"{prefix}{f.name}.")
        else:
            m = f.metadata
            found[prefix + f.name] = Option(value, m["help"], m["low"], m["high"], m["accepted"])
    return found


def changed(options: Any, values: Mapping[str, Any]) -> Any:
    """The options with some values replaced, by flat name.

    Raises:
        ValueError: a name is unknown, or a value is not accepted, also for its type; the text names it and
            what is.
    """
    known = flat(options)
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"there is no parameter {shown(name)}")
        kind = type(known[name].value)
        if type(value) is not kind:
            raise ValueError(f"{name} = {shown(value)}: accepted is a value of type {kind.__name__}")
        low, high, accepted = known[name].low, known[name].high, known[name].accepted
        # A nan fails every comparison, so ask whether the value is inside.
        inside = low is None or high is None or low <= value <= high
        if not inside or (accepted and value not in accepted):
            raise ValueError(f"{name} = {shown(value)}: {known[name].constraint}")
    return _replaced(options, values)


def _replaced(options: Any, values: Mapping[str, Any]) -> Any:
    own = {name: value for name, value in values.items() if "." not in name}
    for f in fields(options):
        prefix = f"{f.name}."
        if below := {name[len(prefix) :]: v for name, v in values.items() if name.startswith(prefix)}:
            own[f.name] = _replaced(getattr(options, f.name), below)
    return replace(options, **own)
