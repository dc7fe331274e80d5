"""A tiny bundle with one linear layer, for what quantises such layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_bundle import SPEC, search_nodes, write_tiny_bundle


def write_linear_bundle(folder: Path) -> Path:
    """The layer is behind the embedding, so that rounding changes no box."""
    return _with_layer(folder, "embedding", np.eye(SPEC.embedding_size))


def write_fragile_bundle(folder: Path) -> Path:
    """The layer enlarges the boxes, and with them what they are rounded by."""
    return _with_layer(folder, "box_map", 20 * np.eye(SPEC.grid))


def _with_layer(folder: Path, output: str, matrix: np.ndarray) -> Path:
    search = search_nodes(SPEC)
    search.wrap(output, "MatMul", matrix.astype(np.float32))
    return write_tiny_bundle(folder, search=search)
