"""Nodes as processes: none of them outlives its owner."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from distill_tracker_ros.processes import NodeProcess


def test_an_interrupt_while_a_node_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C can come when the process is there and its `Popen` is not yet."""

    class Interrupted(subprocess.Popen):
        def _execute_child(self, *arguments, **keywords):
            super()._execute_child(*arguments, **keywords)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), NodeProcess("video_node", tmp_path, path=str(tmp_path)):
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    children = psutil.Process().children()
    assert not any("distill_tracker_ros.nodes.video_node" in child.cmdline() for child in children)


def test_a_node_ends_with_its_block(tmp_path: Path):
    with NodeProcess("video_node", tmp_path, path=str(tmp_path)) as node:
        assert psutil.pid_exists(node.pid)
    assert node.ended
