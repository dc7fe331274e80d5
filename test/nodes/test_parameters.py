"""Options as parameters, on a node that knows no callback after a change (Humble) and on one that does."""

from __future__ import annotations

import ros_needed  # noqa: F401  isort: skip

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from distill_tracker_ros.nodes.lifecycle import answer_impossible_transitions, logged
from distill_tracker_ros.nodes.options import Options
from distill_tracker_ros.nodes.parameters import Parameters

pytestmark = pytest.mark.ros


class OldNode:
    """What `Parameters` needs of a node."""

    def __init__(self, **overrides: Any) -> None:
        self._parameter_overrides = overrides
        self.values: dict[str, Any] = {}
        self.checks: list[Callable[[list[Parameter]], Any]] = []
        self.logged: list[str] = []

    def declare_parameter(self, name: str, default: Any, descriptor: Any) -> None:
        self.values[name] = self._parameter_overrides.get(name, default)

    def get_parameter(self, name: str) -> Parameter:
        return Parameter(name, value=self.values[name])

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self.checks.append(callback)

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=self.logged.append, error=self.logged.append)

    def set(self, **values: Any) -> str:
        """The reason of a refusal, empty if there was none."""
        parameters = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        results = [check(parameters) for check in self.checks]
        return next((r.reason for r in results if not r.successful), "")


class NewNode(OldNode):
    """The same with a callback after the change."""

    def __init__(self, **overrides: Any) -> None:
        super().__init__(**overrides)
        self.effects: list[Callable[[list[Parameter]], Any]] = []

    def add_post_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self.effects.append(callback)

    def set(self, **values: Any) -> str:
        if not (reason := super().set(**values)):
            for effect in self.effects:
                effect([Parameter(name.replace("__", "."), value=value) for name, value in values.items()])
        return reason


@pytest.mark.parametrize("kind", [OldNode, NewNode])
class TestBothKinds:
    def test_overrides_make_the_first_value(self, kind: type[OldNode]) -> None:
        settings = Parameters(kind(**{"tracker.lost_after_ms": 7}), Options())
        assert settings.value.tracker.lost_after_ms == 7

    def test_a_change_replaces_the_value(self, kind: type[OldNode]) -> None:
        node = kind()
        settings = Parameters(node, Options())
        before = settings.value
        assert node.set(tracker__lost_after_ms=7, history__seconds=1.0, not_ours=3) == ""
        assert (settings.value.tracker.lost_after_ms, settings.value.history.seconds) == (7, 1.0)
        assert before == Options()

    def test_a_refused_change_changes_nothing(self, kind: type[OldNode]) -> None:
        node = kind()
        settings = Parameters(node, Options(), lambda name: "not now" if name == "model" else "")
        assert "image_transport = 'x'" in node.set(tracker__lost_after_ms=7, image_transport="x")
        assert node.set(tracker__lost_after_ms=7, model="m") == "not now"
        assert settings.value == Options()
        assert node.set(tracker__lost_after_ms=7, model=Options().model) == ""  # which is no change

    def test_a_misspelt_name_in_a_group_is_told(self, kind: type[OldNode]) -> None:
        node = kind(**{"tracker.lost_treshold": 0.5, "use_sim_time": False, "other_node_s.own": 1})
        Parameters(node, Options())
        (text,) = node.logged
        assert text.startswith("unknown parameter 'tracker.lost_treshold' is ignored: accepted are model, ")


def test_the_new_kind_checks_without_an_effect() -> None:
    """Another callback of the node may still refuse the change."""
    node = NewNode()
    settings = Parameters(node, Options())
    assert OldNode.set(node, tracker__lost_after_ms=7) == ""
    assert settings.value == Options()


def test_what_a_transition_raises_is_logged_and_an_error() -> None:
    @logged
    def on_configure(node: Any, state: Any) -> TransitionCallbackReturn:
        raise KeyError("oops")

    node = OldNode()
    assert on_configure(node, None) is TransitionCallbackReturn.ERROR
    assert "on_configure failed" in node.logged[0] and "KeyError: 'oops'" in node.logged[0]


def test_an_impossible_transition_is_answered() -> None:
    def callback(request: Any, response: Any) -> Any:
        raise RuntimeError("no such transition")

    service = SimpleNamespace(callback=callback)
    node = SimpleNamespace(_service_change_state=service, get_logger=OldNode().get_logger)
    answer_impossible_transitions(node)
    assert service.callback(None, SimpleNamespace(success=True)).success is False
