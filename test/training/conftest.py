"""Training tests need torch; a robot does not have it."""

import pytest

torch = pytest.importorskip(
    "torch", reason="training tests need requirements/training.txt (make test installs it)"
)


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)
