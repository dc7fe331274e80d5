"""What this machine has of what the tracker needs, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Iterator

from . import installation, machine, ros_settings
from .finding import Finding

__all__ = ["Finding", "examine"]


def examine() -> Iterator[Finding]:
    """Look at everything but the camera, cheap things first."""
    yield from installation.packages()
    yield from ros_settings.examine()
    yield from machine.examine()
    yield from installation.models()
