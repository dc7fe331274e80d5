"""Processors, memory shared between processes, kernel limits, clock, and the folders that are written."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ..nodes.state_file import RestoreConfig, state_folder
from ..runtime.tensorrt import plans
from .finding import Finding

LEAST_SHM_BYTES = 64 * 2**20  # twice the segment of config/fastdds_large_images.xml
LEAST_FREE_BYTES = 200 * 10**6
LEAST_RMEM_BYTES = 2**21  # that the DDS tuning guide of ROS 2 asks for at least
PROC = Path("/proc/sys")
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
RELEASED_S = 1_735_689_600  # 2025-01-01: no clock that is right shows an earlier time


def examine() -> Iterator[Finding]:
    """Look at this machine, as this process and this user see it."""
    yield _processors()
    yield _shared_memory(Path("/dev/shm"))
    yield _receive_buffer(PROC / "net/core/rmem_max")
    yield _fragments(PROC / "net/ipv4")
    yield _clock(time.time(), SYNCHRONISED.exists())
    yield _folder("logs", _log_folder())
    yield _folder("state", state_folder(RestoreConfig()))
    yield _plans(plans.default_folder())


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0))
    text = f"{usable} of {os.cpu_count()} may be used"
    try:
        quota, period = CPU_LIMIT.read_text().split()
        if quota != "max":
            text += f", the container's limit is {int(quota) / int(period):.1f}"
    except (OSError, ValueError):  # another kind of container, or none
        pass
    return Finding("processors", True, text)


def _shared_memory(folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(str(folder), False, "not there: large images between processes will be slow or lost")
    size = shutil.disk_usage(folder).total
    text = f"{size / 2**20:.0f} MiB"
    if size < LEAST_SHM_BYTES:
        return Finding(str(folder), False, f"{text}: give the container --shm-size={LEAST_SHM_BYTES >> 20}m")
    return Finding(str(folder), True, text)


def _receive_buffer(file: Path) -> Finding:
    name, size = "net.core.rmem_max", _number(file)
    if size is None:
        return Finding(name, True, "cannot be read here")
    if size >= LEAST_RMEM_BYTES:
        return Finding(name, True, f"{size} bytes")
    text = f"{size} bytes: large images of a camera on another machine may be lost"
    return Finding(name, True, f"{text}, sudo sysctl -w {name}={LEAST_RMEM_BYTES} helps")


def _fragments(folder: Path) -> Finding:
    name, size, seconds = (
        "net.ipv4.ipfrag",
        _number(folder / "ipfrag_high_thresh"),
        _number(folder / "ipfrag_time"),
    )
    if size is None or seconds is None:
        return Finding(name, True, "cannot be read here")
    text = f"{size} bytes for pieces of images that came over the network, kept for {seconds} s"
    return Finding(name, True, f"{text}; where pieces get lost, ipfrag_time=3 helps" if seconds > 3 else text)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # not on this kernel, or not in this container
        return None


def _clock(now_s: float, synchronised: bool) -> Finding:
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < RELEASED_S:
        advice = "set it (timedatectl set-ntp true), or stamps of other machines never fit"
        return Finding("clock", False, f"{text} is past: {advice}")
    return Finding("clock", True, f"{text}{', synchronised' if synchronised else ''}")


def _log_folder() -> Path:
    home = os.environ.get("ROS_HOME") or Path.home() / ".ros"
    return Path(os.environ.get("ROS_LOG_DIR") or Path(home, "log")).expanduser()


def _plans(folder: Path) -> Finding:
    if folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
        text = f"anybody may write into {folder}, so its plans are not used: chmod o-w {folder}"
        return Finding("plan cache", False, text)
    return _folder("plan cache", folder)


def _folder(name: str, folder: Path) -> Finding:
    """Whether files can be written into a folder, which may have to be made."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(name, False, f"{folder} cannot be written: {there} must be a folder of this user")
    free = shutil.disk_usage(there).free
    text = f"{folder}, {free / 1e9:.1f} GB free"
    return Finding(name, free >= LEAST_FREE_BYTES, text if free >= LEAST_FREE_BYTES else f"{text}: make room")
