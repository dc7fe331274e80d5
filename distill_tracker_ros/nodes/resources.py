"""What a process holds of the machine, read from /proc: no library is needed for three numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Resources(NamedTuple):
    """What a process holds now."""

    memory_mb: float  # resident, shared pages included; MB = 1e6 bytes
    descriptors: int  # open files, sockets, shared memory
    threads: int


def resources(pid: int | None = None) -> Resources | None:
    """Of a process, of this one if no id is given; None where /proc does not tell."""
    folder = Path("/proc", "self" if pid is None else str(pid))
    try:
        pages = int((folder / "statm").read_text().split()[1])
        descriptors, threads = (len(os.listdir(folder / name)) for name in ("fd", "task"))
    except (
        OSError,
        IndexError,
        ValueError,
    ):  # another system; or the process is another user's, or has ended
        return None
    return Resources(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, descriptors, threads)
