"""What tests of all parts share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_harness import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A node of the test's own."""
    from ros_harness import Client  # needs ROS

    client = Client()
    yield client
    client.close()
