#!/usr/bin/env python3
"""Writes the tables of docs/field.md from what the tests and benchmarks measured into build/field.

python3 scripts/field_tables.py            # the tables for which there are results; others stay
python3 scripts/field_tables.py --results build/field --document docs/field.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "field")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "field.md")
    arguments = parser.parse_args()
    text = arguments.document.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        lines = make(arguments.results)
        print(f"{name}: {f'{len(lines)} lines' if lines else 'no results, left as it is'}")
        if lines:
            text = put(text, name, lines)
    arguments.document.write_text(text, encoding="utf-8")
    return 0


def put(text: str, name: str, lines: Sequence[str]) -> str:
    """The text with these lines between the markers of a table.

    Raises:
        ValueError: the text has no such markers.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document has no place {begin} ... {end}")
    return "\n".join([before + begin, *lines, end + after])


def faults(results: Path) -> list[str]:
    """A row a fault."""
    found = [_read(path) for path in sorted((results / "faults").glob("*.json"))]
    rows = [
        (each["fault"], each["happens"], _recovery(each), _number(each["frames_lost"]))
        for each in sorted(found, key=lambda each: each["fault"])
    ]
    return _table(
        ("fault", "states of the target, and what the node said", "to recover, s", "images lost"), rows
    )


def inputs(results: Path) -> list[str]:
    """A row a kind of input."""
    found = [_read(path) for path in sorted((results / "inputs").glob("*.json"))]
    rows = [
        (
            each["input"],
            f"{each['cases']:,}",
            f"{each['accepted']:,}",
            f"{each['refused']:,}",
            f"{each['slowest_ms']:.0f}",
            f"{each['growth_mb']:.1f}",
        )
        for each in found
    ]
    if rows:
        total = (f"{sum(each[key] for each in found):,}" for key in ("cases", "accepted", "refused"))
        rows.append(("all", *total, f"{max(each['slowest_ms'] for each in found):.0f}", ""))
    head = ("input", "cases", "worked", "refused with a sentence", "slowest, ms", "memory growth, MB")
    return _table(head, rows)


def load(results: Path) -> list[str]:
    """A row a load."""
    return _measured(
        results / "load.json",
        {
            "cameras": "cameras",
            "targets": "targets",
            "lost_on_purpose": "all lost",
            "processed_hz": "images/s a camera",
            "least_to_most": "least / most of them",
            "dropped_percent": "dropped, %",
            "latency_ms_median": "age of results, ms",
            "latency_ms_p95": "95 %, ms",
            "latency_growth_median": "last third / first",
            "cores_of_all_nodes": "processors of all nodes",
            "tracking_at_end": "TRACKING at the end",
        },
    )


def soak(results: Path) -> list[str]:
    """A row a measure."""
    return _measured(
        results / "soak.json",
        {
            "measure": "measure",
            "after_warm_up": "after warm-up",
            "at_end": "at the end",
            "trend_per_hour": "trend an hour",
            "bound": "bound",
            "flat": "flat",
        },
    )


def _measured(path: Path, columns: Mapping[str, str]) -> list[str]:
    """The conditions, and the rows with the columns of these keys under these names."""
    if not path.is_file():
        return []
    content = _read(path)
    rows = [[_number(row[key]) for key in columns] for row in content["rows"]]
    return [content["conditions"], "", *_table(list(columns.values()), rows)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown; none without rows."""
    lines = [[_cell(cell) for cell in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)] if lines else []


def _cell(text: str) -> str:
    """Text as it is, in one cell; folders of a test run say nothing to a reader."""
    text = re.sub(r"/tmp/\S*/", ".../", " ".join(text.split()))
    return text.replace("|", "\\|").replace("<", "&lt;")


def _recovery(fault: Mapping[str, Any]) -> str:
    if fault["frames_lost"] is None:  # the node was told to end
        return ""
    return "not followed again" if fault["recovered_s"] is None else f"{fault['recovered_s']:.2f}"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


TABLES: dict[str, Callable[[Path], list[str]]] = {
    "faults": faults,
    "inputs": inputs,
    "load": load,
    "soak": soak,
}

if __name__ == "__main__":
    sys.exit(main())
