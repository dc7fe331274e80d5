"""How the C library keeps the memory of images, which one thread takes and another one lets go."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's malloc.h


def use_one_arena() -> None:
    """Let all threads of this process take memory from one place.

    To be called before they begin, which importing rclpy makes them do: an arena that is there stays.

    glibc gives each thread an arena of its own, and the images of a few seconds leave holes in all of them: a
    node that keeps 170 MB of images held 120 MB more than it needed, in steps that looked like a leak. Other
    C libraries are left as they are.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
