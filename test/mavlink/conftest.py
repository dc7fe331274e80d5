"""The clip and the model of every flight."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mavlink_flight import prepare  # needs ROS

    folder = tmp_path_factory.mktemp("mavlink")
    prepare(folder)
    return folder
