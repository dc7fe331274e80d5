"""TensorRT as its versions are: which names there are, and the values that matter.

Read in the sources of NVIDIA's Python bindings (8.6.1, 10.3.0, 10.13.0, 10.16, 11.1), and from TensorRT-RTX
1.7.1.116 itself: of the objects that building takes, the names that one might use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

# The same in all six.
EVERYWHERE = {
    "Builder": "create_network create_builder_config create_optimization_profile build_serialized_network "
    "is_network_supported num_DLA_cores max_threads error_recorder gpu_allocator logger reset",
    "IBuilderConfig": "add_optimization_profile avg_timing_iterations builder_optimization_level clear_flag "
    "create_timing_cache engine_capability flags get_flag get_memory_pool_limit get_timing_cache "
    "hardware_compatibility_level max_aux_streams num_optimization_profiles profile_stream "
    "profiling_verbosity reset set_flag set_memory_pool_limit set_tactic_sources set_timing_cache",
    "OnnxParser": "clear_errors clear_flag flags get_error get_flag num_errors parse parse_from_file "
    "set_flag supports_operator",
    "INetworkDefinition": "get_input get_layer get_output name num_inputs num_layers num_outputs mark_output "
    "remove_tensor",
    "ILayer": "get_input get_output get_output_type metadata name num_inputs num_outputs set_input type",
    "ITensor": "allowed_formats dtype is_network_input is_network_output is_shape_tensor name shape",
    "IOptimizationProfile": "extra_memory_target get_shape get_shape_input set_shape set_shape_input",
    "ITimingCache": "combine reset serialize",
    "BuilderFlag": "DEBUG DIRECT_IO DISABLE_TIMING_CACHE EXCLUDE_LEAN_RUNTIME GPU_FALLBACK REFIT "
    "SAFETY_SCOPE SPARSE_WEIGHTS TF32 VERSION_COMPATIBLE",
    "LayerType": "CAST CONSTANT DEQUANTIZE MATRIX_MULTIPLY NORMALIZATION QUANTIZE SOFTMAX",
    "MemoryPoolType": "DLA_GLOBAL_DRAM DLA_LOCAL_DRAM DLA_MANAGED_SRAM TACTIC_DRAM WORKSPACE",
    "DataType": "BOOL FLOAT FP8 HALF INT32 INT8 UINT8",
}
_WEAK = {
    "ILayer": "precision precision_is_set reset_precision set_output_type",
    "BuilderFlag": "FP16 INT8 FP8 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS",
    "Builder": "platform_has_fast_fp16 platform_has_fast_int8 platform_has_tf32",
    "OnnxParser": "supports_model",
    "IBuilderConfig": "algorithm_selector int8_calibrator",
}
_OLD = {
    "Builder": "max_batch_size build_engine",
    "IBuilderConfig": "max_workspace_size min_timing_iterations",
}
_TEN = {
    "IBuilderConfig": "progress_monitor runtime_platform",
    "BuilderFlag": "STRIP_PLAN WEIGHT_STREAMING REFIT_IDENTICAL",
    "IProgressMonitor": "phase_start phase_finish step_complete",
    "DataType": "BF16 INT4 INT64",
    "OnnxParser": "supports_model_v2",
}
_LATE = {
    "IBuilderConfig": "tiling_optimization_level max_num_tactics",
    "BuilderFlag": "EDITABLE_TIMING_CACHE STRICT_NANS MONITOR_MEMORY",
    "ITimingCache": "query update",
}
_RTX = {
    "IBuilderConfig": "num_compute_capabilities set_compute_capability get_compute_capability",
    "BuilderFlag": "REQUIRE_USER_ALLOCATION",
}
_PLUGINS_10 = {"PREFER_JIT_PYTHON_PLUGINS": 2, "PREFER_AOT_PYTHON_PLUGINS": 3}
_PLUGINS_11 = {"PREFER_JIT_PYTHON_PLUGINS": 1, "PREFER_AOT_PYTHON_PLUGINS": 2}


@dataclass(frozen=True)
class Version:
    module: str
    number: str
    network_flags: dict[str, int]
    more: tuple[dict[str, str], ...]  # names besides EVERYWHERE

    @property
    def names(self) -> dict[str, set[str]]:
        """Class or enumeration -> its names."""
        kinds = {kind for part in (EVERYWHERE, *self.more) for kind in part}
        return {
            kind: {name for part in (EVERYWHERE, *self.more) for name in part.get(kind, "").split()}
            for kind in kinds
        }


_BATCH = {"EXPLICIT_BATCH": 0}
VERSIONS = {
    "8.6": Version("tensorrt", "8.6.1", {**_BATCH, "EXPLICIT_PRECISION": 1}, (_WEAK, _OLD)),
    "10.3": Version("tensorrt", "10.3.0", {**_BATCH, "STRONGLY_TYPED": 1}, (_WEAK, _TEN)),
    "10.13": Version(
        "tensorrt", "10.13.0.35", {**_BATCH, "STRONGLY_TYPED": 1, **_PLUGINS_10}, (_WEAK, _TEN, _LATE)
    ),
    "10.16": Version(
        "tensorrt", "10.16.0", {**_BATCH, "STRONGLY_TYPED": 1, **_PLUGINS_10}, (_WEAK, _TEN, _LATE)
    ),
    "11.1": Version("tensorrt", "11.1.0", {"STRONGLY_TYPED": 0, **_PLUGINS_11}, (_TEN, _LATE)),
    "RTX 1.7": Version("tensorrt_rtx", "1.7.1.116", {"STRONGLY_TYPED": 0}, (_TEN, _LATE, _RTX)),
}
CAPABILITIES = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


class Thing:
    """An object of TensorRT: names that its class has not in this version can be neither read nor set."""

    def __init__(self, names: set[str], **values: Any) -> None:
        object.__setattr__(self, "_names", names)
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._names:
            raise AttributeError(f"this version has no {name}")
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Layer:
    """A layer of the network that the parser makes: names of LayerType and of DataType."""

    type: str
    dtype: str = "FLOAT"


class Recorded(ModuleType):
    """A version as a module; `build_serialized_network` notes what it was given, and does what is asked.

    After a build, `network_flags` (int), `flags` (names set), `cleared`, `config`, `layers`, `profile`
    (name -> shapes), `capabilities` and `timings` (contents of the timing caches tried) tell of it.
    """

    def __init__(
        self,
        version: str,
        layers: Sequence[Layer] = (),
        build: Callable[[Recorded], bytes | None] = lambda trt: b"plan",
        errors: Sequence[str] = (),
        shape: tuple[int, ...] = (-1, 64, 64, 3),
    ) -> None:
        """
        Args:
            build: what the builder gives, or raises.
            errors: of the parser.
            shape: of the network's inputs `search` and `state_0`.
        """
        about = VERSIONS[version]
        super().__init__(about.module)
        names = self.names = about.names
        self.__version__ = about.number
        self.ILogger = _Logger
        self.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", about.network_flags)
        for kind in ("BuilderFlag", "LayerType", "MemoryPoolType", "DataType"):
            setattr(self, kind, IntEnum(kind, {name: i for i, name in enumerate(sorted(names[kind]))}))
        if "IProgressMonitor" in names:
            self.IProgressMonitor = type("IProgressMonitor", (), {})
        if about.module == "tensorrt_rtx":
            self.ComputeCapability = IntEnum(
                "ComputeCapability",
                {"NONE": 0, "CURRENT": 1, **{name: int(name[2:]) for name in CAPABILITIES}},
            )
        self.flags: list[str] = []
        self.cleared: list[str] = []
        self.profile: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.capabilities: list[str] = []
        self.timings: list[bytes] = []
        self.layers = [self._layer(layer) for layer in layers]
        self._build, self._errors, self._shape = build, errors, shape

    def Builder(self, log: Any) -> Thing:
        self.log = log
        return Thing(
            self.names["Builder"],
            create_network=self._create_network,
            create_builder_config=self._create_config,
            create_optimization_profile=lambda: Thing(
                self.names["IOptimizationProfile"],
                set_shape=lambda name, *shapes: self.profile.update({name: shapes}),
            ),
            build_serialized_network=lambda network, config: self._build(self),
        )

    def OnnxParser(self, network: Thing, log: Any) -> Thing:
        return Thing(
            self.names["OnnxParser"],
            parse=lambda graph: not self._errors,
            num_errors=len(self._errors),
            get_error=lambda i: self._errors[i],
        )

    def _layer(self, layer: Layer) -> Thing:
        output = Thing(self.names["ITensor"], dtype=self.DataType[layer.dtype])
        kind = self.LayerType[layer.type]
        return Thing(self.names["ILayer"], type=kind, num_outputs=1, get_output=lambda i: output)

    def _create_network(self, flags: int) -> Thing:
        self.network_flags = flags
        inputs = [Thing(self.names["ITensor"], name=n, shape=self._shape) for n in ("search", "state_0")]
        return Thing(
            self.names["INetworkDefinition"],
            num_inputs=len(inputs),
            get_input=lambda i: inputs[i],
            num_layers=len(self.layers),
            get_layer=lambda i: self.layers[i],
        )

    def _create_config(self) -> Thing:
        def create(content: bytes) -> Thing | None:
            self.timings.append(content)
            if content == b"junk":
                return None
            return Thing(self.names["ITimingCache"], serialize=lambda: b"measured " + content)

        def keep(timings: Thing, ignore_mismatch: bool) -> bool:
            self._timings = timings
            return timings.serialize() != b"measured foreign"

        methods: dict[str, Any] = {
            "set_flag": lambda flag: self.flags.append(flag.name),
            "clear_flag": lambda flag: self.cleared.append(flag.name),
            "set_memory_pool_limit": lambda pool, size: setattr(self, "pool", (pool.name, size)),
            "add_optimization_profile": lambda profile: 0,
            "create_timing_cache": create,
            "set_timing_cache": keep,
            "get_timing_cache": lambda: self._timings,
        }
        if "set_compute_capability" in self.names["IBuilderConfig"]:
            methods["set_compute_capability"] = lambda each, i: self.capabilities.insert(i, each.name)
        self.config = Thing(self.names["IBuilderConfig"], **methods)
        return self.config


class _Logger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
