"""What is asked of the node: boxes, stamps, ids and labels of targets, and parameters."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import odd_numbers, odd_texts, odd_values
from stub_engine import StubEngine

from distill_tracker_ros.core.frame import ArrayFrame
from distill_tracker_ros.core.session import Session, TargetError
from distill_tracker_ros.core.texts import LONGEST_NAME
from distill_tracker_ros.messages import BoxError, box_from_msg, stamp_ns
from distill_tracker_ros.nodes.options import Options, changed, flat

FRAME = ArrayFrame(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))


def test_targets(fuzz: Callable[..., None]) -> None:
    engine = StubEngine(template_size=16, search_size=16, grid=4)
    inside, float64 = st.floats(-20, 80), st.floats()  # messages have 64 bits
    number, small = inside | inside | inside | float64, st.floats(2, 40) | st.floats(2, 40) | float64
    stamps = st.builds(
        SimpleNamespace, sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1)
    )

    usual = st.builds(SimpleNamespace, sec=st.just(1), nanosec=st.integers(0, 10**9 - 1))

    @st.composite
    def calls(draw: Any) -> tuple[Any, list[Any]]:
        centre = SimpleNamespace(position=SimpleNamespace(x=draw(number), y=draw(number)), theta=0.0)
        if draw(st.integers(0, 9)) == 0:
            centre.theta = draw(float64)
        box = SimpleNamespace(center=centre, size_x=draw(small), size_y=draw(small))
        times = draw(st.lists(stamps | usual, min_size=1, max_size=3))
        # The node takes no longer ones of a target.
        id, label = draw(odd_texts())[:LONGEST_NAME], draw(odd_texts())[:LONGEST_NAME]
        return box, [*times, id, label, draw(st.just("") | st.just(id) | odd_texts())]

    def call(case: tuple[Any, list[Any]]) -> None:
        box, (*times, id, label, other) = case
        session = Session(engine)
        session.set_target(FRAME, box_from_msg(box), stamp_ns(times[0]), id, label)
        for stamp in times[1:]:
            for track in session.update(FRAME, stamp_ns(stamp)).values():
                assert np.isfinite(track.box_xywh).all() and 0 <= track.confidence <= 1
        session.clear_target(other)

    fuzz(
        "targets",
        "boxes, stamps, ids and labels of targets",
        calls(),
        call,
        (BoxError, TargetError),
        share=0.1,
    )


def test_parameters(fuzz: Callable[..., None]) -> None:
    known = flat(Options())
    values = odd_values() | odd_numbers() | st.booleans()
    accepted = st.sampled_from([choice for option in known.values() for choice in option.accepted])
    names = st.sampled_from(list(known))
    odd_names = (
        names | odd_texts() | names.map(lambda name: f"{name}.x") | names.map(lambda n: n.split(".")[0])
    )

    def right_type(name: str) -> st.SearchStrategy[tuple[str, Any]]:
        """A value of the type of a parameter, often one that is accepted."""
        option = known[name]
        whole, low, high = st.integers(-(2**63), 2**63 - 1), option.low, option.high
        kinds = {bool: st.booleans(), int: whole, float: st.floats(), str: odd_texts()}
        kind = kinds[type(option.value)]
        if option.accepted:
            kind |= st.sampled_from(option.accepted)
        elif low is not None and isinstance(option.value, int):
            kind |= st.integers(int(low) - 1, int(high or 0) + 1)
        elif low is not None:
            kind |= st.floats(low, high)
        return st.tuples(st.just(name), kind)

    mistyped = st.dictionaries(names, values | accepted, min_size=1, max_size=3)
    misnamed = st.dictionaries(odd_names, values, min_size=1, max_size=2)
    cases = mistyped | misnamed | st.lists(names.flatmap(right_type), min_size=1, max_size=3).map(dict)

    def change(case: dict[str, Any]) -> None:
        made = flat(changed(Options(), case))
        for name, option in known.items():
            value = made[name].value
            assert type(value) is type(option.value), name
            assert option.low is None or option.low <= value <= option.high, name

    fuzz("parameters", "parameters of the node", cases, change, ValueError, share=0.12)
