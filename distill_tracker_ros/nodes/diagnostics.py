"""What /diagnostics says: a status each for input, engine, latency and targets.

Numbers are those of the last seconds by the node's clock, which is asked elsewhere: times come in, in ns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ..core.tracker import TrackState
from ..runtime.load import Loaded
from .tracking import Counts, Followed, Outcome
from .windows import Window

SPAN_NS = 5_000_000_000  # what "now" means
SILENCE_NS = 1_000_000_000  # without images, after which something is wrong
SILENCE_PERIODS = 5  # the same for slow cameras, in frame periods
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def _window() -> Window:
    return field(default_factory=lambda: Window(SPAN_NS))


@dataclass
class Events:
    """What has happened since the node was activated. One thread may add while another one reads."""

    began_ns: int = 0
    arrivals: Window = _window()
    unstamped: Window = _window()
    rejections: Window = _window()
    failures: Window = _window()  # of engine and publishing: no fault of the images
    latency_ms: Window = _window()  # publishing time minus stamp
    engine_ms: Window = _window()
    node_ms: Window = _window()  # everything else that the tracking thread did for an image
    rejection: str = ""  # the last one
    failure: str = ""
    incompatible_qos: str = ""
    lost_in_transport: int = 0
    processed: Outcome | None = None  # the last one


@dataclass(frozen=True)
class Source:
    """Where images come from."""

    topic: str
    reliability: str
    publishers: int


def input_status(now_ns: int, events: Events, counts: Counts, source: Source) -> DiagnosticStatus:
    """Whether images come, and whether they can be used."""
    rate_hz = events.arrivals.rate_hz(now_ns)
    unstamped, picture = events.unstamped.count(now_ns), _picture(events.processed)
    problems = list(_input_problems(now_ns, events, source, rate_hz))
    level = max((level for level, _ in problems), default=OK)
    text = "; ".join(text for _, text in problems) or f"{rate_hz:.1f} images/s of {picture}"
    return _status(
        "input",
        level,
        text,
        topic=source.topic,
        reliability=source.reliability,
        publishers=source.publishers,
        rate_hz=f"{rate_hz:.2f}",
        picture=picture,
        received=counts.received,
        processed=counts.processed,
        dropped=counts.dropped,
        rejected=counts.rejected,
        repeated_stamps=counts.repeated,
        lost_in_transport=events.lost_in_transport,
        unstamped_in_window=unstamped,
        last_rejection=events.rejection,
    )


def _input_problems(
    now_ns: int, events: Events, source: Source, rate_hz: float
) -> Iterator[tuple[bytes, str]]:
    """Level and sentence of everything that is wrong."""
    if not now_ns:
        yield WARN, "use_sim_time is set, but no time has come on /clock"
    since_ns = now_ns - (events.arrivals.newest_ns or events.began_ns)
    if since_ns > max(SILENCE_NS, SILENCE_PERIODS * 1e9 / rate_hz if rate_hz else 0):
        where = f"{source.topic}, which has {source.publishers} publisher(s)"
        yield ERROR, f"no image for {since_ns / 1e9:.1f} s on {where}"
    if events.incompatible_qos:
        yield WARN, events.incompatible_qos
    if rejected := events.rejections.count(now_ns):
        level = ERROR if rejected >= events.arrivals.count(now_ns) else WARN
        yield level, f"{rejected} image(s) could not be used: {events.rejection}"
    if unstamped := events.unstamped.count(now_ns):
        yield WARN, f"{unstamped} image(s) had no stamp: the time of their arrival was used"


def engine_status(now_ns: int, events: Events, loaded: Loaded) -> DiagnosticStatus:
    """Whether the model runs, and on what."""
    spec, failures = loaded.engine.spec, events.failures.count(now_ns)
    level, text = (ERROR, events.failure) if failures else (OK, f"{spec.name} on {loaded.backend}")
    return _status(
        "engine",
        level,
        text,
        model=spec.name,
        method=spec.method,
        backend=loaded.backend,
        device=loaded.device,
        not_faster_because="; ".join(loaded.notes),
        failures_in_window=failures,
        last_failure=events.failure,
    )


def latency_status(now_ns: int, events: Events, budget_ms: float) -> DiagnosticStatus:
    """How old results are when they are published, and where the time went."""
    values = {"budget_ms": f"{budget_ms:g}"}
    for name in ("latency_ms", "engine_ms", "node_ms"):
        if summary := getattr(events, name).summary(now_ns):
            for what, value in summary._asdict().items():
                values[f"{name}_{what}"] = f"{value:.3f}"
    latency = events.latency_ms.summary(now_ns)
    if latency is None:
        return _status("latency", OK, "unknown: no stamped image was processed", **values)
    text = f"results are {latency.median:.1f} ms old"
    if budget_ms and latency.median > budget_ms:
        return _status("latency", WARN, f"{text}: more than the budget of {budget_ms:g} ms", **values)
    return _status("latency", OK, text, **values)


def targets_status(now_ns: int, events: Events) -> DiagnosticStatus:
    """What is tracked, and how well."""
    targets = events.processed.targets if events.processed else ()
    lost = sum(followed.track.state is TrackState.LOST for followed in targets)
    text = f"{len(targets)} target(s)" + (f", {lost} of them lost" if lost else "")
    values = {f"target {f.target.id}": _describe(f) for f in targets}
    return _status("targets", WARN if lost else OK, text, **values)


def idle_status(name: str, text: str, is_error: bool = False) -> DiagnosticStatus:
    """For a node that is not active: why there is nothing to tell."""
    return _status(name, ERROR if is_error else OK, text)


def _describe(followed: Followed) -> str:
    track = followed.track
    unseen_s = (track.stamp_ns - track.last_seen_ns) / 1e9
    name = f"{followed.target.label}: " if followed.target.label else ""
    state = f"{track.state.name}, confidence {track.confidence:.2f}"
    return f"{name}{state}, seen {unseen_s:.2f} s before the last image"


def _picture(outcome: Outcome | None) -> str:
    """Encoding (or format) and size of an image."""
    if outcome is None or outcome.frame is None:
        return "unknown"
    msg = outcome.arrival.msg
    kind = msg.encoding if hasattr(msg, "encoding") else msg.format
    return f"{kind} {outcome.frame.width}x{outcome.frame.height}"


def _status(name: str, level: bytes, message: str, **values: object) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=message, values=pairs)
