"""Processes that are killed, and disks that take no more."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from flight import Flight
from ros_harness import ROOT, Client, NodeProcess, running
from waiting import DEADLINE_S, wait_until

from distill_tracker_ros.nodes.state_file import RestoreConfig, path_of

pytestmark = pytest.mark.ros

MOST_BYTES = 4096  # that a file may have on a disk that is full


@contextmanager
def launched(folder: Path, *settings: str) -> Iterator[NodeProcess]:
    """The node, and what starts it again."""
    process = NodeProcess.of(
        [sys.executable, str(Path(__file__).parent / "respawning.py"), *settings], folder
    )
    try:
        yield process
    finally:
        process.stop()
        print(process.output)


def node_of(process: NodeProcess) -> psutil.Process:
    """The process of the node itself."""

    def found() -> psutil.Process | None:
        children = psutil.Process(process.pid).children(recursive=True)
        return next((c for c in children if "tracker_node" in " ".join(c.cmdline())), None)

    return wait_until(found, "the node's process")


def test_a_node_that_is_killed_goes_on_with_its_target(client: Client, bundle: Path, tmp_path: Path) -> None:
    """SIGKILL in flight: it is started again, and finds its target without an operator."""
    settings = [f"model:={bundle}", "autostart:=true", "restore.targets:=true", f"restore.folder:={tmp_path}"]
    with launched(tmp_path, *settings) as process:
        flight = Flight(client, process)
        flight.follow(id="the one")
        flight.fly(1.0)
        before = node_of(process).pid

        def kill() -> None:
            os.kill(before, signal.SIGKILL)
            flight.fly(0.2)

        passed = flight.through(kill, deadline_s=60.0)
        assert node_of(process).pid != before
        (target,) = flight.statuses[-1].targets
        assert target.id == "the one"
        passed.record("the node is killed (SIGKILL) and started again, restore.targets on")
    assert not list(tmp_path.glob("*.npz")), "an end that was asked for leaves nothing to restore"


def test_without_being_asked_nothing_is_restored(client: Client, bundle: Path, tmp_path: Path) -> None:
    with launched(tmp_path, f"model:={bundle}", "autostart:=true", f"restore.folder:={tmp_path}") as process:
        flight = Flight(client, process)
        flight.follow()
        os.kill(node_of(process).pid, signal.SIGKILL)
        known = len(flight.statuses)
        wait_until(lambda: flight.fly(0.2) or flight.statuses[known + 5 :], "the new process", 60.0)
        assert not flight.statuses[-1].targets and not list(tmp_path.glob("*.npz"))
        passed = flight.through(flight.follow)
        passed.record("the node is killed and started again, restore.targets off: the operator marks it anew")


@pytest.mark.parametrize("what", ["a disk that is full", "a folder that cannot be written"])
def test_targets_that_cannot_be_kept(what: str, client: Client, bundle: Path, tmp_path: Path) -> None:
    """Tracking goes on, and diagnostics tell."""
    folder, is_full = tmp_path / "state", what == "a disk that is full"
    if not is_full:
        folder.write_text("no folder")  # root may write everywhere else
    # Without shared memory, which takes files, images come in pieces, and some get lost if they may.
    settings = {"restore__targets": True, "restore__folder": str(folder), "image_reliability": "reliable"}
    with running("tracker_node", tmp_path, model=str(bundle), autostart=True, **settings) as process:
        if is_full:  # of any file that the process writes, its log among them
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
        flight = Flight(client, process)
        flight.follow()
        passed = flight.through(lambda: flight.fly(1.0))
        assert any("targets cannot be kept for a restart" in said for said in flight.everything_said())
        assert passed.states[-1] == "TRACKING"
        passed.record(f"{what}: targets cannot be kept" + ", nor logs be written" * is_full)


def test_a_frozen_process_ends_itself() -> None:
    """Also when something holds Python's lock, as this regular expression does for longer than a flight."""
    code = (
        "import re, sys; from distill_tracker_ros.nodes.watchdog import sign_of_life; "
        "sign_of_life(1.0); re.match('(a+)+$', 'a' * 60 + 'b')"
    )
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S * 3
    )
    assert ended.returncode == 1 and time.monotonic() - began > 1
    assert "Timeout (0:00:01)!" in ended.stderr and "re/__init__.py" in ended.stderr


def test_the_file_belongs_to_one_node(tmp_path: Path) -> None:
    config = RestoreConfig(folder=str(tmp_path))
    assert path_of(config, "/front/tracker") != path_of(config, "/rear/tracker")
    assert path_of(config, "/front/tracker").parent == tmp_path
