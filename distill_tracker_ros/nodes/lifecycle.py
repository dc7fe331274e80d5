"""What rclpy's lifecycle node keeps to itself: errors of transitions, and answers to impossible ones."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logged(transition: Transition) -> Transition:
    """Log what a transition raises, which rclpy swallows, and let the node go through error processing."""

    @wraps(transition)
    def wrapped(node: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return wrapped


def answer_impossible_transitions(node: LifecycleNode) -> None:
    """Say no to a transition that does not fit the state: rclpy raises, and its caller waits for ever."""
    service = node._service_change_state
    change_state = service.callback

    def answered(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:
            node.get_logger().error(f"change_state: {error}")
            response.success = False
            return response

    service.callback = answered
