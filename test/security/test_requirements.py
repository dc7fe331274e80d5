"""Every Python package that is installed is an exact version whose files are known by their sha256."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
HASHED = ROOT / "requirements" / "hashed"
PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([\w.+]+)")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(file: Path) -> list[str]:
    """Its lines without comments, continued ones joined."""
    text = re.sub(r"(?m)^#.*\n", "", file.read_text()).replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip()]


def pins(file: Path) -> dict[str, str]:
    found = [PIN.fullmatch(line.split(" ")[0]) for line in requirements(file)]
    assert all(found), f"{file.name}: only name==version, in lower case with hyphens"
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_version_is_exact_and_every_file_known(file: Path) -> None:
    hashed = HASHED / file.name
    assert pins(hashed) == pins(file), "run scripts/pin.sh"
    assert len(pins(file)) == len(requirements(file)), "a package stands there twice"
    for line in requirements(hashed):
        name, *hashes = line.split()
        assert hashes and all(HASH.fullmatch(each) for each in hashes), name


def test_there_is_nothing_else() -> None:
    assert [file.name for file in sorted(HASHED.iterdir())] == [file.name for file in FILES]


def test_a_package_has_one_version_and_the_same_files_everywhere() -> None:
    seen = defaultdict(set)
    for file in HASHED.iterdir():
        for line in requirements(file):
            seen[line.split("==")[0]].add(" ".join(line.split()))
    assert {name: lines for name, lines in seen.items() if len(lines) > 1} == {}


def test_where_they_come_from_is_for_the_user_to_choose() -> None:
    """No address but that of this machine, and no option that leads anywhere else."""
    elsewhere = re.compile(r"://(?!127\.0\.0\.1)|--(extra-)?index-url|--find-links|--trusted-host")
    for file in [*FILES, *HASHED.iterdir(), *(ROOT / "scripts").iterdir()]:
        assert not elsewhere.search(file.read_text()), file
