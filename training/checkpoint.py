"""Everything that a run needs to go on, in one file; the student's weights apart from it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .models.eatrack import EATrackConfig, EATrackStudent

RESUME_FILE = "resume.pt"
STUDENT_FILE = "student.pt"


def save_resume(folder: Path, state: dict[str, Any]) -> None:
    """Write atomically, so that an interruption leaves the last good file."""
    _save(folder / RESUME_FILE, state)


def load_resume(folder: Path) -> dict[str, Any] | None:
    """The state of an unfinished run, or None."""
    path = folder / RESUME_FILE
    return torch.load(path, map_location="cpu", weights_only=False) if path.is_file() else None


def save_student(folder: Path, student: nn.Module, config: EATrackConfig, about: dict[str, Any]) -> Path:
    """The averaged weights with their configuration and provenance: what is exported."""
    path = folder / STUDENT_FILE
    _save(path, {"config": asdict(config), "weights": student.state_dict(), "about": about})
    return path


def load_student(path: Path) -> tuple[EATrackStudent, dict[str, Any]]:
    """A student in eval mode, and what is known of its training.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: a finished validation of `python -m training train` writes it"
        )
    content = torch.load(path, map_location="cpu", weights_only=True)
    student = EATrackStudent(EATrackConfig(**content["config"]))
    student.load_state_dict(content["weights"])
    return student.eval(), content["about"]


def _save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)
