"""The tables of the README against the running node."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python
from ros_harness import ROOT, Client, running
from tiny_bundle import write_tiny_bundle
from waiting import wait_until

pytestmark = pytest.mark.ros

OF_EVERY_NODE = ("/rosout", "/parameter_events", "/tracker/transition_event")


def rows(header: str) -> list[list[str]]:
    """The cells of the README's table that begins with this header, without backquotes."""
    text = (ROOT / "README.md").read_text()
    lines = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("readme")
    bundle = write_tiny_bundle(folder / "tiny")
    with running("tracker_node", folder, model=str(bundle), autostart=True):
        client = Client()
        try:
            wait_until(lambda: topics(client, "subscribers").get("/image"), "an active node")
            yield client
        finally:
            client.close()


def topics(client: Client, side: str) -> dict[str, str]:
    """Topic -> type, of the tracker's publishers or subscribers."""
    ask = client.node.get_publisher_names_and_types_by_node
    if side == "subscribers":
        ask = client.node.get_subscriber_names_and_types_by_node
    try:
        return {name: types[0] for name, types in ask("tracker", "/") if name not in OF_EVERY_NODE}
    except RuntimeError:  # the node is not discovered yet
        return {}


def test_topics(client: Client) -> None:
    written = {name: (kind, direction) for name, kind, direction, _ in rows("| name | type | direction")}
    found = {name: (kind, "in") for name, kind in topics(client, "subscribers").items()}
    found |= {name: (kind, "out") for name, kind in topics(client, "publishers").items()}
    del written["/image/compressed"]  # in place of /image, with another parameter
    assert written == found


def test_services(client: Client) -> None:
    written = {name: kind for name, kind, _ in rows("| service | type |")}
    offered = client.node.get_service_names_and_types_by_node("tracker", "/")
    assert written == {name: kinds[0] for name, kinds in offered if "distill_tracker_msgs" in kinds[0]}


def test_parameters(client: Client) -> None:
    names = [name for name in client.call(ListParameters, "/tracker/list_parameters").result.names]
    names = sorted(
        name for name in names if not re.match(r"use_sim_time|start_type_description|qos_overrides", name)
    )
    described = client.call(DescribeParameters, "/tracker/describe_parameters", names=names).descriptors
    values = client.call(GetParameters, "/tracker/get_parameters", names=names).values
    found = {}
    for descriptor, message in zip(described, values, strict=True):
        value = parameter_value_to_python(message)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found[descriptor.name] = (type(value).__name__, text, descriptor.description)
    written = {name: (kind, default, what) for name, kind, default, _, what in rows("| parameter | type |")}
    assert sorted(written) == names
    for name, row in written.items():
        if name not in ("model", "autostart"):  # set by this test
            assert row == found[name], name
