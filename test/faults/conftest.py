"""A node to fly with, shared by the faults that leave it as it was."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

from collections.abc import Iterator
from pathlib import Path

import pytest
from flight import Flight, begin_anew
from ros_harness import Client, NodeProcess, running


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that follows colours, and fails or hangs when it is shown certain ones."""
    pytest.importorskip("onnx", reason="onnx is missing: it is among the test requirements")
    from faulty_bundle import write_faulty_bundle

    return write_faulty_bundle(tmp_path_factory.mktemp("models") / "faulty")


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def node(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    with running("tracker_node", folder, model=str(bundle), autostart=True) as process:
        yield process
        assert process.stop() == 0, process.output


@pytest.fixture
def flight(client: Client, node: NodeProcess) -> Iterator[Flight]:
    """One that has just begun to follow its target."""
    begin_anew(client)
    flight = Flight(client, node)
    flight.follow()
    yield flight
    assert node.alive, node.output
