"""A dataclass of options as ROS parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.parameter import Parameter

from .options import Option, changed, flat

T = TypeVar("T")


class Parameters(Generic[T]):
    """Declares every option of a (nested) frozen dataclass and keeps its present value.

    A change replaces the whole value at once, so that a reader in another thread never sees half of one.
    """

    def __init__(self, node: Node, options: T, refusal: Callable[[str], str] = lambda name: "") -> None:
        """
        Args:
            options: the defaults.
            refusal: asked for the name of a parameter that is to change; a text refuses the change.

        Raises:
            ParameterException, ValueError: a value given at start is not accepted.
        """
        self._refusal = refusal
        known = flat(options)
        for name, opt in known.items():
            try:
                node.declare_parameter(name, opt.value, _descriptor(opt))
            except InvalidParameterTypeException as error:
                hint = " (a whole one is written 12.0)" if isinstance(opt.value, float) else ""
                raise ValueError(f"{error}{hint}") from error
        self.value: T = changed(options, {name: node.get_parameter(name).value for name in known})
        self._names = frozenset(known)
        _warn_of_unknown(node, known)
        if hasattr(node, "add_post_set_parameters_callback"):
            node.add_on_set_parameters_callback(self._check)
            node.add_post_set_parameters_callback(self._apply)
        else:  # Humble: the check is the only callback, so it applies as well
            node.add_on_set_parameters_callback(self._check_and_apply)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            values = self._own(parameters)
            for name in values:
                if values[name] != flat(self.value)[name].value and (reason := self._refusal(name)):
                    raise ValueError(reason)
            changed(self.value, values)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        self.value = changed(self.value, self._own(parameters))

    def _check_and_apply(self, parameters: list[Parameter]) -> SetParametersResult:
        result = self._check(parameters)
        if result.successful:
            self._apply(parameters)
        return result

    def _own(self, parameters: Iterable[Parameter]) -> dict[str, Any]:
        return {p.name: p.value for p in parameters if p.name in self._names}


def _descriptor(opt: Option) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=opt.help, additional_constraints=opt.constraint)
    if opt.low is not None and opt.high is not None:
        if isinstance(opt.value, int):
            bounds = IntegerRange(from_value=int(opt.low), to_value=int(opt.high), step=0)
            descriptor.integer_range = [bounds]
        else:
            wide = FloatingPointRange(from_value=float(opt.low), to_value=float(opt.high), step=0.0)
            descriptor.floating_point_range = [wide]
    return descriptor


def _warn_of_unknown(node: Node, known: Iterable[str]) -> None:
    """A misspelt name in a parameter file is otherwise ignored in silence.

    Only names in a group of this node: a file for several nodes holds the others' names too.
    """
    groups = {name.split(".")[0] for name in known if "." in name}
    for name in getattr(node, "_parameter_overrides", {}):
        if name not in known and name.split(".")[0] in groups:
            node.get_logger().warning(
                f"unknown parameter {name!r} is ignored: accepted are {', '.join(known)}"
            )
