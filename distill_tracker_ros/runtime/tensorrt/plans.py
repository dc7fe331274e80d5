"""The folder of built plans: a plan is used again only by who would build the very same.

Beside every plan lies a sidecar with what it was built from in clear text, its size and its digest. It is
written last: a plan without it is no plan. A plan holds code, so the folder belongs to its user alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...core.texts import LONGEST_VALUE, one_line
from .builder import BuildCancelled, Built
from .cuda import Device
from .options import TensorRtOptions

FORMAT = 1  # of the folder, and of how we build: a new number, and every plan is built anew
_LOCK = ".lock"
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True)
class Key:
    """All that a plan depends on."""

    graph: str  # its name, for people
    parts: Mapping[str, Any]  # plain JSON

    @property
    def stem(self) -> str:
        """Of the names of its files."""
        return f"{self.graph}-{_digest(self.parts)[:16]}"

    @property
    def timings(self) -> str:
        """The file of the timing cache, which all graphs on a GPU share."""
        return f"timings-{_digest([self.parts[part] for part in ('tensorrt', 'device')])[:16]}.bin"


@dataclass(frozen=True)
class Plan:
    """One that may be used."""

    plan: bytes
    about: Mapping[str, Any]  # what `store` was given


@dataclass(frozen=True)
class Miss:
    """There is none that may be used."""

    reason: str


@dataclass(frozen=True)
class Entry:
    """A plan in the folder, as its sidecar describes it; unchecked."""

    file: Path
    parts: Mapping[str, Any]  # of its key
    size: int
    built: float  # seconds since 1970
    used: float  # likewise, the last time


def key(
    name: str,
    graph: bytes,
    max_batch: int,
    options: TensorRtOptions,
    trt: ModuleType,
    device: Device | tuple[tuple[int, int], ...],
) -> Key:
    """The key of the plan of a graph.

    Args:
        name: of the graph, for people.
        graph: the ONNX file.
        max_batch: largest batch of the plan.
        device: the GPU, or the compute capabilities that it is built for ahead of time.
    """
    parts = {
        "format": FORMAT,
        "graph": hashlib.sha256(graph).hexdigest(),
        "tensorrt": f"{trt.__name__} {trt.__version__}",
        "device": asdict(device) if isinstance(device, Device) else device,
        "precision": options.precision,
        "max_batch": max_batch,
        "optimisation_level": options.optimisation_level,
        "workspace_mb": options.workspace_mb,
    }
    return Key(name, json.loads(json.dumps(parts)))


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "distill_tracker_ros", "plans")


class Plans:
    """What lies in a folder. If it cannot be written, a warning says so: it saves time, no more."""

    def __init__(self, folder: str | Path, limit_mb: int) -> None:
        """
        Args:
            folder: empty = `default_folder()`; made by the first plan.
            limit_mb: above this, the plans used longest ago leave.
        """
        self.folder = Path(folder).expanduser() if folder else default_folder()
        self._limit = limit_mb * 1_000_000

    @contextlib.contextmanager
    def locked(self, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
        """Look up, build and store under this lock: who waits for it finds what the other one has built.

        Raises:
            BuildCancelled: `cancelled` said so while waiting.
        """
        with contextlib.ExitStack() as held:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = held.enter_context((self.folder / _LOCK).open("w"))
                while not _try_lock(lock.fileno()):
                    if cancelled is not None and cancelled():
                        raise BuildCancelled("the build was cancelled while another program was building")
                    time.sleep(_LOOK_AGAIN_S)
            except OSError as error:
                self._warn(error)
            yield

    def look_up(self, key: Key) -> Plan | Miss:
        """The plan that was built for this key, whole and unchanged."""
        file = self.folder / f"{key.stem}.plan"
        try:
            if self.folder.stat().st_mode & stat.S_IWOTH:
                return Miss(f"anybody may write into {self.folder}, and a plan holds code: chmod o-w")
            about = _read(file)
            if about is None:
                return Miss(f"{_sidecar(file)} is damaged")
            content = file.read_bytes()
        except FileNotFoundError:
            return Miss(self._nearest(key))
        except OSError as error:
            return Miss(f"{file} cannot be read: {error.strerror}")
        if about["key"] != key.parts:
            return Miss(f"{file} is another plan: {_difference(about['key'], key.parts)}")
        if len(content) != about["size"]:
            return Miss(f"{file} has {len(content)} bytes, but {about['size']} were written")
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            return Miss(f"{file} was changed: its sha256 is not the one that was written")
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(file)
        return Plan(content, about["about"])

    def store(self, key: Key, built: Built, about: Mapping[str, Any]) -> None:
        """Keep a plan and what is to be known of it: plain JSON, such as the seconds that it took."""
        file = self.folder / f"{key.stem}.plan"
        sidecar = {
            "key": key.parts,
            "size": len(built.plan),
            "sha256": hashlib.sha256(built.plan).hexdigest(),
            "built": time.time(),
            "about": about,
        }
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sidecar(file).unlink(missing_ok=True)
            _write(file, built.plan)
            _write(_sidecar(file), json.dumps(sidecar, indent=1).encode())
            if built.timing_cache:
                _write(self.folder / key.timings, built.timing_cache)
            self._make_room(file)
        except OSError as error:
            self._warn(error)

    def timing_cache(self, key: Key) -> bytes:
        """What earlier builds for this GPU have measured; empty if there was none."""
        try:
            return (self.folder / key.timings).read_bytes()
        except OSError:
            return b""

    def entries(self) -> list[Entry]:
        """All plans, the one used last first."""
        found = []
        for file in self.folder.glob("*.plan"):
            with contextlib.suppress(OSError):  # it leaves just now
                if about := _read(file):
                    used = file.stat().st_mtime
                    found.append(Entry(file, about["key"], about["size"], about["built"], used))
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def _make_room(self, newest: Path) -> None:
        for torn in self.folder.glob("*.part"):  # of a program that was killed
            torn.unlink(missing_ok=True)
        plans = sorted(self.folder.glob("*.plan"), key=lambda file: file.stat().st_mtime)
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        for file in plans:
            if size > self._limit and file != newest:
                size -= file.stat().st_size
                _sidecar(file).unlink(missing_ok=True)
                file.unlink(missing_ok=True)

    def _nearest(self, key: Key) -> str:
        """Why there is no plan for a key: in what the one that comes nearest differs."""
        others = [e for e in self.entries() if e.parts.get("graph") == key.parts["graph"]]
        if not others:
            return f"no plan of it in {self.folder}"
        best = max(others, key=lambda e: sum(e.parts.get(k) == v for k, v in key.parts.items()))
        return f"none of the plans of it in {self.folder} fits: {_difference(best.parts, key.parts)}"

    def _warn(self, error: OSError) -> None:
        warnings.warn(
            f"{self.folder} cannot be written ({error.strerror}): "
            "plans are used from memory, and built again at the next start",
            stacklevel=3,
        )


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """The first part in which a key differs from the wanted one."""
    found = found if isinstance(found, dict) else {}
    part = next((part for part in wanted if found.get(part) != wanted[part]), "format")
    there, here = (one_line(value)[:LONGEST_VALUE] for value in (found.get(part), wanted[part]))
    return f"{part} is {there} there and {here} here"


def _sidecar(file: Path) -> Path:
    return file.with_suffix(".json")


def _read(file: Path) -> dict[str, Any] | None:
    """The sidecar of a plan; None if it does not hold what `store` writes."""
    try:
        about = json.loads(_sidecar(file).read_bytes())
        kinds = {"key": dict, "size": int, "sha256": str, "built": float, "about": dict}
        whole = all(isinstance(about[name], kind) for name, kind in kinds.items())
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return about if whole else None


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, even if the power fails."""
    aside = file.with_name(f"{file.name}.part")
    try:
        with aside.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
