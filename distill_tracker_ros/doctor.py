"""What this machine has of what the tracker needs, and what to do about the rest."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .runtime.load import load_engine, shipped_models
from .runtime.manifest import BundleError
from .runtime.tensorrt import compat, cuda

_INSTALL = "run: make setup (or install requirements/runtime.txt)"
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
_LEAST_SHM_BYTES = 64 * 2**20  # twice the segment of config/fastdds_large_images.xml


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for."""

    name: str
    ok: bool
    detail: str  # what was found, or what to do


def examine() -> Iterator[Finding]:
    """Look for everything, cheap things first."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", sys.version_info >= (3, 10), f"{python} (3.10 or newer is needed)")
    for module, distribution in _PYTHON_PACKAGES.items():
        yield _python_package(module, distribution)
    yield _providers()
    yield from _gpu()
    for package, advice in _ROS_PACKAGES.items():
        place = _installed(package)
        yield Finding(f"ROS package {package}", place is not None, place or advice)
    yield _shared_memory()
    yield from _models()


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


def _shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    if not folder.is_dir():
        return Finding(str(folder), False, "not there: large images between processes will be slow or lost")
    size = shutil.disk_usage(folder).total
    text = f"{size / 2**20:.0f} MiB"
    if size < _LEAST_SHM_BYTES:
        return Finding(str(folder), False, f"{text}: give the container --shm-size={_LEAST_SHM_BYTES >> 20}m")
    return Finding(str(folder), True, text)


def _models() -> Iterator[Finding]:
    models = shipped_models()
    if not models:
        yield Finding("models", False, "no folder in models/ has a manifest.yaml")
    for name, folder in sorted(models.items()):
        try:
            load_engine(folder).close()
        except (BundleError, ValueError, ImportError) as error:
            yield Finding(f"model {name}", False, str(error))
        else:
            yield Finding(f"model {name}", True, f"loads and runs ({folder})")
