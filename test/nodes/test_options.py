"""Options by flat name, what they accept, and the parameter file that documents them."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill_tracker_ros.core.config import TrackerConfig
from distill_tracker_ros.nodes.options import (
    FIXED_WHILE_ACTIVE,
    FIXED_WHILE_CONFIGURED,
    Options,
    changed,
    flat,
)

ROOT = Path(__file__).parents[2]


def by_name(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested YAML as flat names."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= by_name(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_the_parameter_file_has_every_parameter_with_its_default() -> None:
    content = yaml.safe_load((ROOT / "config" / "tracker.yaml").read_text())
    written = by_name(content["/**"]["ros__parameters"])
    defaults = {name: option.value for name, option in flat(Options()).items()}
    assert written == defaults
    assert {n: type(v) for n, v in written.items()} == {n: type(v) for n, v in defaults.items()}


def test_every_parameter_of_the_file_has_a_comment() -> None:
    lines = (ROOT / "config" / "tracker.yaml").read_text().splitlines()
    leaves = {name.split(".")[-1] for name in flat(Options())}
    uncommented = [
        line
        for before, line in zip(lines, lines[1:], strict=False)
        if line.split(":")[0].strip() in leaves and not before.strip().startswith("#")
    ]
    # The second one of a pair that is explained together.
    assert [line.split(":")[0].strip() for line in uncommented] == [
        "region_growth_max",
        "cache_limit_mb",
        "megabytes",
        "jpeg_quality",
    ]


def test_every_option_is_described_and_every_number_has_a_range() -> None:
    for name, option in flat(Options()).items():
        assert option.help, name
        if isinstance(option.value, (int, float)) and not isinstance(option.value, bool):
            assert option.low is not None and option.low <= option.value <= option.high, name


def test_flat_names_reach_every_field() -> None:
    assert flat(Options())["tracker.lost_threshold"].value == TrackerConfig().lost_threshold
    leaves = sum(
        len(fields(value)) if is_dataclass(value := getattr(Options(), f.name)) else 1
        for f in fields(Options)
    )
    assert len(flat(Options())) == leaves


def test_names_that_cannot_change_while_running_exist() -> None:
    for name in (*FIXED_WHILE_CONFIGURED, *FIXED_WHILE_ACTIVE):
        assert any(known.startswith(name) for known in flat(Options())), name


def test_changed_replaces_only_what_is_named_and_leaves_the_old_value_alone() -> None:
    old = Options()
    new = changed(old, {"tracker.lost_after_ms": 7, "history.seconds": 3.5, "image_transport": "compressed"})
    assert (new.tracker.lost_after_ms, new.history.seconds, new.image_transport) == (7, 3.5, "compressed")
    assert old == Options()
    differing = {name for name in flat(old) if flat(old)[name] != flat(new)[name]}
    assert differing == {"tracker.lost_after_ms", "history.seconds", "image_transport"}
    assert changed(old, {}) == old


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("tracker.lost_threshold", math.nan, "0.0 to 1.0"),
        ("tracker.lost_threshold", 1.01, "0.0 to 1.0"),
        ("history.seconds", math.inf, "0.0 to 60.0"),
        ("session.max_targets", 0, "1 to 64"),
        ("image_transport", "theora", "raw or compressed"),
        ("backend", "", "auto or tensorrt or onnxruntime"),
        ("overlay.jpeg_quality", 101, "1 to 100"),
    ],
)
def test_what_is_not_accepted_is_named(name: str, value: Any, accepted: str) -> None:
    with pytest.raises(ValueError) as caught:
        changed(Options(), {"tracker.lost_after_ms": 7, name: value})
    assert str(caught.value).startswith(f"{name} = {value!r}: accepted is {accepted}")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("tracker.lost_thresh", 0.5, "there is no parameter 'tracker.lost_thresh'"),
        ("tracker", 0.5, "there is no parameter 'tracker'"),
        ("model", None, "model = None: accepted is a value of type str"),
        ("history.seconds", "0.5", "history.seconds = '0.5': accepted is a value of type float"),
        ("session.max_targets", True, "session.max_targets = True: accepted is a value of type int"),
        ("session.max_targets", 2.0, "session.max_targets = 2.0: accepted is a value of type int"),
        ("backend", "x" * 1000, r"backend = 'x{76}\.\.\.: accepted is auto or"),
    ],
)
def test_names_and_types_that_are_wrong_are_said(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        changed(Options(), {name: value})
