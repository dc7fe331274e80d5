"""The file of a node's targets, after a disk or a person had its way with it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import changed_tree, mutated
from stub_engine import StubEngine

from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session
from distill_tracker_ros.nodes.state_file import StateFileError, load, save

# A member that claims 30 GB.
HUGE = b"{'descr': '|u1', 'fortran_order': False, 'shape': (30000000000,), }".ljust(117) + b"\n"


def test_state_files(fuzz: Callable[..., None], tmp_path: Path) -> None:
    engine, path = StubEngine(template_size=16, search_size=16, grid=4), tmp_path / "node.npz"
    session = Session(engine)
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    session.set_target(ArrayFrame(rgb), (10, 10, 20, 20), 10**9, "a", "b")
    save(path, "stub", session.saved)
    whole = path.read_bytes()
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}

    def packed(about: bytes) -> bytes:
        content = io.BytesIO()
        np.savez(content, **{**arrays, "about": np.frombuffer(about, np.uint8)})
        return content.getvalue()

    def of_tree(tree: Any) -> bytes:
        return packed(json.dumps(tree, default=str).encode("utf-8", "replace"))

    header = whole.index(b"\x93NUMPY")
    huge = whole[:header] + b"\x93NUMPY\x01\0v\0" + HUGE + whole[header + 128 :]
    structured = changed_tree(json.loads(arrays["about"].tobytes())).map(of_tree)
    odd = st.sampled_from([whole, huge, packed(b"[" * 100_000), b""])

    def restore(content: bytes) -> None:
        path.write_bytes(content)
        Session(engine).resume(load(path, "stub"))

    fuzz("state_files", "files of a node's targets", structured | mutated([whole]) | odd, restore,
         (StateFileError, ValueError), share=0.02)  # fmt: skip
