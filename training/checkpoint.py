"""Everything that a run needs to go on, in one file; the student's weights apart from it."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .models.network import Network, NetworkConfig
from .models.networks import config_kind

RESUME_FILE = "resume.pt"
STUDENT_FILE = "student.pt"  # the averaged weights at the last validation
BEST_FILE = "best.pt"  # those of the best validation
SHOWN = 8  # differing tensors in an error


def save(path: Path, content: Mapping[str, Any]) -> Path:
    """Write aside, then rename: whatever happens, the file is the old one or the new one, and whole.

    Raises:
        OSError: it could not be written; the file of before is as it was.
    """
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        partial.unlink(missing_ok=True)
        kept = "the one before it is intact" if path.exists() else "there was none before it"
        raise OSError(
            f"{path} could not be written ({error}); {kept}. Make room, then give the same command again"
        ) from error
    return path


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not one that training writes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: `python -m training train` writes such a file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        kind = type(error).__name__
        raise ValueError(f"{path} is not a file that training writes, or it is damaged ({kind})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a file that training writes: it holds a {type(content).__name__}")
    return content


def load_resume(folder: Path) -> dict[str, Any] | None:
    """The state of the run in a folder, or None where there is none."""
    path = folder / RESUME_FILE
    return load(path) if path.is_file() else None


def save_student(
    folder: Path,
    student: nn.Module,
    config: NetworkConfig,
    about: Mapping[str, Any],
    name: str = STUDENT_FILE,
) -> Path:
    """The averaged weights with their configuration and provenance: what is exported."""
    content = {"config": asdict(config), "weights": student.state_dict(), "about": dict(about)}
    return save(folder / name, content)


def load_student(path: Path) -> tuple[Network, dict[str, Any]]:
    """A student in eval mode, and what is known of its training.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no student.
    """
    content = load(path)
    if missing := {"config", "weights", "about"} - set(content):
        raise ValueError(f"{path} holds no student: {', '.join(sorted(missing))} is missing in it")
    try:
        student = config_kind(content["config"])(**content["config"]).build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version of training: {error}") from error
    load_weights(student, content["weights"], str(path))
    return student.eval(), content["about"]


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """load_state_dict that tells what does not fit.

    Raises:
        ValueError: weights of another architecture (the differing tensors are named).
    """
    if lines := differing(weights, module.state_dict()):
        more = f"\n  and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        raise ValueError(f"{where} is of another architecture:\n  " + "\n  ".join(lines[:SHOWN]) + more)
    module.load_state_dict(weights)


def differing(found: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> list[str]:
    """A sentence for each tensor that two sets of weights do not share, with both shapes."""

    def shape(tensors: Mapping[str, Tensor], name: str) -> str:
        return f"[{', '.join(map(str, tensors[name].shape))}]" if name in tensors else "none"

    names = [*needed, *(name for name in found if name not in needed)]
    pairs = [(name, shape(found, name), shape(needed, name)) for name in names]
    return [
        f"{name}: {has} in the file, {needs} in the network" for name, has, needs in pairs if has != needs
    ]
