"""What is done about an engine that does not work, and about a process that does nothing any more."""

from __future__ import annotations

import faulthandler
from dataclasses import dataclass

from ..core.config import check_ranges, option


@dataclass(frozen=True)
class WatchdogConfig:
    """Limits after which something is wrong."""

    call_timeout_s: float = option(
        3.0,
        "time after which an engine call counts as hung and another engine takes over, s; 0 = never",
        0.0,
        600.0,
    )
    failures: int = option(
        3, "images in a row on which the engine fails, after which another one takes over", 1, 10_000
    )
    frozen_s: float = option(
        30.0,
        "time without a sign of life after which the process ends itself, for launch to start it again, s; "
        "0 = never",
        0.0,
        3600.0,
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, least in (("call_timeout_s", 0.5), ("frozen_s", 2.0)):
            if 0 < (value := getattr(self, name)) < least:
                raise ValueError(
                    f"watchdog.{name} = {value:g}: accepted is 0 (never) or at least {least:g} s"
                )


def sign_of_life(frozen_s: float) -> None:
    """Put off the end of this process by so long; 0 = for ever.

    The end comes from a thread of C, so it comes also when a call holds Python's lock and never returns. It
    writes where every thread stands.
    """
    faulthandler.cancel_dump_traceback_later()
    if frozen_s:
        faulthandler.dump_traceback_later(frozen_s, exit=True)
