"""Python and its packages, GPU, ROS packages, models."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..runtime.load import load_engine, shipped_models
from ..runtime.manifest import BundleError
from ..runtime.tensorrt import compat, cuda
from .finding import Finding

_INSTALL = "run: make setup (or install requirements/hashed/runtime.txt)"
_SOURCE_ROS = "source ROS 2, or in a checkout: . install/setup.bash"
_BUILD = "build the workspace and source it: make setup && . install/setup.bash"
_PYTHON_PACKAGES = {  # import name -> name of the distribution
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "yaml": "pyyaml",
    "onnxruntime": "onnxruntime",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "skimage": "scikit-image",
}
_ROS_PACKAGES = {
    "rclpy": _SOURCE_ROS,
    "sensor_msgs": _SOURCE_ROS,
    "diagnostic_msgs": _SOURCE_ROS,
    "lifecycle_msgs": _SOURCE_ROS,
    "vision_msgs": _BUILD,
    "distill_tracker_msgs": _BUILD,
}


def packages() -> Iterator[Finding]:
    """Everything but the models."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 10), f"{python} (3.10 or newer is needed)")
    for module, distribution in _PYTHON_PACKAGES.items():
        yield _python_package(module, distribution)
    yield _providers()
    yield from _gpu()
    for package, advice in _ROS_PACKAGES.items():
        place = _installed(package)
        yield Finding(f"ROS package {package}", place is not None, place or advice)


def _installed(package: str) -> str | None:
    """The folder of an importable package; a folder of that name without Python in it does not count."""
    spec = importlib.util.find_spec(package)
    return str(Path(spec.origin).parent) if spec and spec.origin else None


def _python_package(module: str, distribution: str) -> Finding:
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        return Finding(module, False, f"{error}; {_INSTALL}")
    try:
        found = version(distribution)
    except PackageNotFoundError:  # of the system, or of another build
        found = str(getattr(imported, "__version__", "unknown version"))
    if module == "cv2" and found.startswith("5"):
        return Finding(module, False, f"{found}: OpenCV 5 renumbered its types, install a 4.x")
    return Finding(module, True, found)


def _providers() -> Finding:
    try:
        import onnxruntime
    except ImportError:
        return Finding("onnxruntime providers", False, _INSTALL)
    return Finding("onnxruntime providers", True, ", ".join(onnxruntime.get_available_providers()))


def _gpu() -> Iterator[Finding]:
    """What a GPU needs; nothing is wrong without it."""
    try:
        found = cuda.device(0)
    except ValueError as error:
        yield Finding("GPU", True, f"models run on the CPU: {error}")
    else:
        capability = ".".join(map(str, found.compute_capability))
        about = f"{found.name}, compute capability {capability}, {found.memory_mb} MB"
        yield Finding("GPU", True, f"{about}{', shared with the processor' if found.integrated else ''}")
    try:
        trt = compat.find()
    except ValueError as error:
        yield Finding("TensorRT", True, f"onnxruntime is used: {error}")
    else:
        yield Finding("TensorRT", True, f"{trt.__name__} {trt.__version__}")


def models() -> Iterator[Finding]:
    """Each shipped model, loaded and run."""
    shipped = shipped_models()
    if not shipped:
        yield Finding("models", False, "no folder in models/ has a manifest.yaml")
    for name, folder in sorted(shipped.items()):
        try:
            load_engine(folder).close()
        except (BundleError, ValueError, ImportError) as error:
            yield Finding(f"model {name}", False, str(error))
        else:
            yield Finding(f"model {name}", True, f"loads and runs ({folder})")
