"""When /diagnostics warns, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.config import check_ranges, option


@dataclass(frozen=True)
class DiagnosticsConfig:
    """What is too little, too much, or too late. Levels come from these numbers alone."""

    hold_s: float = option(
        5.0, "a level falls only after the better condition has lasted this long, s", 0.0, 600.0
    )
    raise_s: float = option(
        2.0,
        "rate, drops, times and memory must be bad for this long before the level rises, s; all else counts "
        "at once",
        0.0,
        600.0,
    )
    silence_s: float = option(
        1.0, "time without an image that is an error, s; for slow cameras five of their periods", 0.1, 600.0
    )
    least_rate_hz: float = option(
        0.0, "images per second below which diagnostics warn; 0 = never", 0.0, 1000.0
    )
    most_dropped: float = option(
        0.5, "share of the images that may be dropped before diagnostics warn; 1 = all", 0.0, 1.0
    )
    latency_p95_ms: float = option(
        250.0,
        "95th percentile of the age of the results, ms, above which diagnostics warn; 0 = never",
        0.0,
        60_000.0,
    )
    processing_p95_ms: float = option(
        0.0,
        "95th percentile of the time spent on an image, ms, above which diagnostics warn; 0 = never",
        0.0,
        60_000.0,
    )
    memory_mb: float = option(
        4096.0, "resident memory of the process, MB, above which diagnostics warn; 0 = never", 0.0, 1e6
    )

    def __post_init__(self) -> None:
        check_ranges(self)
