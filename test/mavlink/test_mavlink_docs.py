"""The table of parameters in docs/mavlink.md."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pymavlink", reason="needs pymavlink")

from distill_tracker_ros.mavlink.options import FIXED_AT_START, MavlinkOptions
from distill_tracker_ros.nodes.options import Option, flat

TEXT = (Path(__file__).parents[2] / "docs" / "mavlink.md").read_text()


def row(name: str, option: Option) -> str:
    value, accepted = option.value, " or ".join(option.accepted)
    if option.low is not None:
        accepted = f"{option.low:g} to {option.high:.10g}"
    default = str(value).lower() if isinstance(value, bool) else str(value)
    shown = f"`{default}`" if default else ""
    return f"| `{name}` | {type(value).__name__} | {shown} | {accepted} | {option.help} |"


def test_every_parameter_stands_in_the_docs() -> None:
    written = TEXT[TEXT.index("| parameter |") :].split("\n\n")[0].splitlines()[2:]
    assert written == [row(name, option) for name, option in flat(MavlinkOptions()).items()]


def test_what_is_fixed_at_start_stands_in_the_docs() -> None:
    names = [f"`{name}`" for name in FIXED_AT_START]
    assert f"{', '.join(names[:-1])} and {names[-1]} are fixed at its start" in TEXT


def test_every_option_is_described_and_every_number_has_a_range() -> None:
    for name, option in flat(MavlinkOptions()).items():
        assert option.help, name
        if isinstance(option.value, (int, float)) and not isinstance(option.value, bool):
            assert option.low is not None and option.low <= option.value <= option.high, name
