"""The numbers: described, in range, and refused outside."""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, fields

import pytest

from distill_tracker_ros.core.config import (
    UPDATE_RULES,
    SessionConfig,
    TrackerConfig,
)

CONFIGS = [*UPDATE_RULES.values(), TrackerConfig, SessionConfig]
RANGED = [(c, f) for c in CONFIGS for f in fields(c) if f.metadata["low"] is not None]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_number_is_described_and_cannot_be_changed(config: type) -> None:
    for f in fields(config):
        assert len(f.metadata["help"]) > 10
        assert (f.metadata["low"] is None) == (f.metadata["high"] is None) == isinstance(f.default, bool)
        with pytest.raises(FrozenInstanceError):
            setattr(config(), f.name, f.default)


@pytest.mark.parametrize(("config", "f"), RANGED, ids=[f.name for _, f in RANGED])
def test_the_ends_of_a_range_are_accepted_and_what_lies_outside_is_named(
    config: type, f: Field[float]
) -> None:
    low, high = f.metadata["low"], f.metadata["high"]
    for end in (low, high):
        assert getattr(config(**{f.name: end}), f.name) == end
    for bad in (low - 1, high + 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"{config.__name__}\.{f.name} = .*accepted is {low} to {high}"):
            config(**{f.name: bad})
