"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool  # False: it must be mended
    detail: str  # what was found, and what to do about it
