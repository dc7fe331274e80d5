"""COMMAND_LONG and COMMAND_INT as one thing."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from .peers import Address

_NO_INTEGER = 0x7FFFFFFF  # says in COMMAND_INT what nan says in COMMAND_LONG


@dataclass(frozen=True)
class Command:
    """A command, whichever message brought it."""

    id: int  # MAV_CMD
    sender: Address
    target: Address  # 0 = all
    params: tuple[float, ...]  # seven
    confirmation: int  # 0 = first transmission

    @property
    def content(self) -> tuple[Address, int, bytes]:
        """The same for a command that is sent again; a nan is equal to itself here."""
        return self.sender, self.id, struct.pack("<7d", *self.params)


def of(message: Any) -> Command:
    """The command of a COMMAND_LONG or COMMAND_INT."""
    first = (message.param1, message.param2, message.param3, message.param4)
    if message.get_type() == "COMMAND_LONG":
        last, confirmation = (message.param5, message.param6, message.param7), message.confirmation
    else:
        x, y = (math.nan if value == _NO_INTEGER else float(value) for value in (message.x, message.y))
        last, confirmation = (x, y, message.z), 0
    return Command(
        message.command,
        Address(message.get_srcSystem(), message.get_srcComponent()),
        Address(message.target_system, message.target_component),
        (*first, *last),
        confirmation,
    )
