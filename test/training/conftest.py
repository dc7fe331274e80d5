"""Training tests need torch; a robot does not have it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

torch = pytest.importorskip(
    "torch", reason="training tests need requirements/training.txt (make test installs it)"
)
# Tests are small: more threads would wait for each other longer than they work, minutes on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def random_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a method's network with random weights; made once."""
    from random_bundles import write_random_bundle

    return cache(lambda method: write_random_bundle(method, tmp_path_factory.mktemp(method)))
