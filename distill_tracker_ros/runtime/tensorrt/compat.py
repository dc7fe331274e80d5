"""What differs between TensorRT 8.6, 10, 11 and TensorRT-RTX 1; all else that is used of them is the same."""

from __future__ import annotations

import importlib
import re
from collections import deque
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

MODULES = ("tensorrt", "tensorrt_rtx")
OLDEST = (8, 6)
_ERROR_LINES = 4  # the last ones, which go into an error


class TensorRtError(ValueError):
    """TensorRT cannot do what is asked of it; the text is one sentence, with its own words if it has any."""


def find(names: Sequence[str] = MODULES) -> ModuleType:
    """The first of these modules that works here.

    Raises:
        TensorRtError: none can be imported, or it is older than OLDEST.
    """
    found = []
    for name in names:
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: its libraries do not load
            found.append(f"{name}: {' '.join(str(error).split())}")
            continue
        if is_rtx(trt) or _version(trt) >= OLDEST:
            return trt
        found.append(f"{name} is {trt.__version__}, older than {'.'.join(map(str, OLDEST))}")
    raise TensorRtError(
        f"no TensorRT works in this Python ({'; '.join(found)}): NVIDIA's TensorRT 8.6 or newer is needed, "
        "on a Jetson it comes with JetPack 6 or newer, and a virtual environment needs --system-site-packages"
    )


def is_rtx(trt: ModuleType) -> bool:
    """TensorRT-RTX: for desktop GPUs; it compiles for a GPU that is not there, and keeps no timing cache."""
    return trt.__name__ == "tensorrt_rtx"


def is_weakly_typed(trt: ModuleType) -> bool:
    """8.6, where the builder chooses the types of tensors as flags allow, whatever the graph says."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def reports_progress(trt: ModuleType) -> bool:
    """Whether a build tells how far it is, and can be stopped."""
    return hasattr(trt, "IProgressMonitor")


def network_flags(trt: ModuleType) -> int:
    """For `Builder.create_network`; the value of STRONGLY_TYPED is not the same in all versions."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.EXPLICIT_BATCH if is_weakly_typed(trt) else flags.STRONGLY_TYPED)


def set_types(trt: ModuleType, network: Any, config: Any) -> None:
    """Allow the types that a network holds where flags have to; what float16 spoils stays in float32."""
    if not is_weakly_typed(trt):
        return
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    dtypes = {layer.get_output(i).dtype for layer in layers for i in range(layer.num_outputs)}
    if any(layer.type in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE) for layer in layers):
        config.set_flag(trt.BuilderFlag.INT8)
    if trt.DataType.HALF in dtypes:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in layers:
            if layer.type in (trt.LayerType.NORMALIZATION, trt.LayerType.SOFTMAX):
                layer.precision = trt.DataType.FLOAT


def set_compute_capabilities(trt: ModuleType, config: Any, capabilities: Sequence[tuple[int, int]]) -> None:
    """Compile for these GPUs and not for the one that is here.

    Raises:
        TensorRtError: this TensorRT cannot, or does not know such a GPU.
    """
    if not is_rtx(trt):
        raise TensorRtError(
            f"{trt.__name__} {trt.__version__} builds for the GPU that is here: "
            "to build for another one, TensorRT-RTX (tensorrt_rtx) is needed"
        )
    config.num_compute_capabilities = len(capabilities)
    for index, (major, minor) in enumerate(capabilities):
        check_capability(trt, (major, minor))
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{major}{minor}"], index)


def check_capability(trt: ModuleType, capability: tuple[int, int]) -> None:
    """Whether TensorRT-RTX knows such a GPU; TensorRT is asked by building.

    Raises:
        TensorRtError: it does not.
    """
    if not is_rtx(trt):
        return
    known, (major, minor) = trt.ComputeCapability.__members__, capability
    if f"SM{major}{minor}" not in known:
        accepted = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in known if name.startswith("SM"))
        raise TensorRtError(
            f"tensorrt_rtx {trt.__version__} does not compile for compute capability {major}.{minor}: "
            f"accepted are {accepted}"
        )


@cache
def log(trt: ModuleType) -> Any:
    """The logger for everything of TensorRT in this process, which takes no second one.

    `log.reason()` is what it complained of since `log.errors.clear()`.
    """

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_ERROR_LINES)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(message.split()))

        def reason(self) -> str:
            return "; ".join(dict.fromkeys(self.errors)) or "it gave no reason"

    return Log()


def _version(trt: ModuleType) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", trt.__version__)[:2])
