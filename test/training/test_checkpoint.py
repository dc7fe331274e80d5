"""Files that outlive what happens to a run: written whole or not at all, read without running code."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from training_samples import SMALL, small_student

from training.checkpoint import differing, load, load_student, load_weights, save, save_student


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk looks like from inside."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = save(tmp_path / "resume.pt", {"step": 1, "weights": torch.zeros(100_000)})
    content = path.read_bytes()
    with (
        files_no_larger_than(100_000),
        pytest.raises(OSError, match=r"resume.pt could not.*before it is intact"),
    ):
        save(path, {"step": 2, "weights": torch.ones(100_000)})
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["resume.pt"]
    assert load(save(path, {"step": 2}))["step"] == 2


def test_a_first_file_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with files_no_larger_than(1000), pytest.raises(OSError, match="there was none before it"):
        save(tmp_path / "resume.pt", {"weights": torch.ones(100_000)})
    assert not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("code ran",)


def test_reading_a_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("evil.pt", "evil.pickle"):
        with pytest.raises(ValueError, match=f"{name} is not a file that training writes"):
            load(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


def test_files_that_are_no_student_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="student.pt does not exist"):
        load_student(tmp_path / "student.pt")
    path = save_student(tmp_path, small_student(), SMALL, {"steps": 3})
    whole = path.read_bytes()
    for part in (b"", whole[:100], whole[: len(whole) // 2], b"no archive"):
        path.write_bytes(part)
        with pytest.raises(
            ValueError, match="student.pt is not a file that training writes, or it is damaged"
        ):
            load_student(path)
    save(path, {"step": 3})
    with pytest.raises(ValueError, match="holds no student: about, config, weights is missing"):
        load_student(path)


def test_a_student_comes_back_as_it_was(tmp_path: Path) -> None:
    student = small_student()
    loaded, about = load_student(save_student(tmp_path, student, SMALL, {"steps": 3}))
    assert about == {"steps": 3} and loaded.config == SMALL
    assert not differing(loaded.state_dict(), student.state_dict())
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_differing_tensors_are_listed_with_both_shapes() -> None:
    found = {"same": torch.zeros(2), "wide": torch.zeros(3, 4), "old": torch.zeros(())}
    needed = {"same": torch.ones(2), "wide": torch.zeros(3, 8), "new": torch.zeros(5)}
    assert differing(found, needed) == [
        "wide: [3, 4] in the file, [3, 8] in the network",
        "new: none in the file, [5] in the network",
        "old: [] in the file, none in the network",
    ]


def test_weights_of_another_architecture_are_refused() -> None:
    module = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(8)))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    other = torch.nn.Sequential(*(torch.nn.Linear(2, 3) for _ in range(8))).state_dict()
    with pytest.raises(
        ValueError, match=r"x.pt is of another architecture:\n  0.weight: \[3, 2\] in.*"
    ) as error:
        load_weights(module, other, "x.pt")
    assert str(error.value).endswith("and 8 more")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
