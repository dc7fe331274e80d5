"""Training tests need torch; a robot does not have it."""

import pytest

torch = pytest.importorskip(
    "torch", reason="training tests need requirements/training.txt (make test installs it)"
)
# Tests are small: more threads would wait for each other longer than they work, minutes on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)
