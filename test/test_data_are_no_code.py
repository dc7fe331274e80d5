"""Nothing that comes from outside is ever run: no pickle on the drone, checkpoints by their weights alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DRONE = [*ROOT.glob("distill_tracker_ros/**/*.py"), *ROOT.glob("launch/*.py")]
DESK = [path for name in ("training", "benchmarks", "scripts") for path in ROOT.glob(f"{name}/**/*.py")]
MAKE_CODE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def calls(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Name of each function that is called, with its module, and the arguments that are constants."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords if k.arg}
            yield ast.unparse(node.func), given


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def complaints(path: Path) -> Iterator[str]:
    for name, given in calls(path):
        if name in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"):
            yield f"{name}()"
        if given.get("shell"):
            yield f"{name}(shell=True)"
        if given.get("allow_pickle") or (name == "np.load" and given.get("allow_pickle") is not False):
            yield f"{name}() without allow_pickle=False"
        if name == "torch.load" and given.get("weights_only") is not True:
            yield f"{name}() without weights_only=True"
        if name.startswith("pickle."):
            yield f"{name}()"
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") and path.stem != "plain_yaml":
            yield f"{name}()"


def test_nothing_runs_what_it_reads() -> None:
    assert {str(path): found for path in DRONE + DESK if (found := list(complaints(path)))} == {}


def test_the_drone_has_no_pickle() -> None:
    assert {str(path): found for path in DRONE if (found := imports(path) & MAKE_CODE)} == {}


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "pickle.loads(x)",
        "yaml.load(x, L)",
        "run(x, shell=True)",
    ],
)
def test_the_scan_finds_what_it_looks_for(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(line)
    assert list(complaints(path))
    path.write_text("import pickle\nfrom marshal import loads\nfrom . import shelve\n")
    assert imports(path) & MAKE_CODE == {"pickle", "marshal"}
