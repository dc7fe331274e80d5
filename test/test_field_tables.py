"""The tables of docs/field.md, made of what tests and benchmarks have written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = "before\n<!-- faults -->\nold\n<!-- end of faults -->\n"
OTHERS = "".join(f"<!-- {name} -->\nkept\n<!-- end of {name} -->\n" for name in ("inputs", "load", "soak"))


def test_results_go_between_the_markers(tmp_path: Path) -> None:
    """In order, in one cell each whatever they hold; what has no results stays."""
    rows = [
        ("b", "LOST > TRACKING; a | b\n<i> /tmp/x/y.npz", 0.123, 4),
        ("a", "none", None, 9),
        ("c", "TRACKING", None, None),
    ]
    (tmp_path / "faults").mkdir()
    for index, values in enumerate(rows):
        row = dict(zip(("fault", "happens", "recovered_s", "frames_lost"), values, strict=True))
        (tmp_path / "faults" / f"{index}.json").write_text(json.dumps(row))
    document = tmp_path / "field.md"
    document.write_text(DOCUMENT + OTHERS)
    command = [sys.executable, ROOT / "scripts" / "field_tables.py"]
    subprocess.run([*command, "--results", tmp_path, "--document", document], check=True)
    text = document.read_text()
    assert text.endswith(OTHERS) and "old" not in text
    assert text.splitlines()[4:7] == [
        "| a | none | not followed again | 9 |",
        "| b | LOST > TRACKING; a \\| b &lt;i> .../y.npz | 0.12 | 4 |",
        "| c | TRACKING |  |  |",
    ]


def test_the_document_has_every_table() -> None:
    text = (ROOT / "docs" / "field.md").read_text(encoding="utf-8")
    for name in ("faults", "inputs", "load", "soak"):
        between = text.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
        assert len([line for line in between.splitlines() if line.startswith("| ")]) > 2
