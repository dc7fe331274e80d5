"""What /diagnostics says: a status each for input, engine, latency, targets, store and node.

Pure functions examine facts and tell what they find; levels over time are kept in `Events.alarms`. Numbers
are those of the last seconds by the node's clock, which is asked elsewhere: times come in, in ns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ..core.tracker import TrackState
from ..runtime.load import Loaded
from .hysteresis import ERROR, OK, WARN, Alarms, Problem
from .logs import plain
from .resources import Resources
from .thresholds import DiagnosticsConfig
from .tracking import Counts, Followed, Outcome
from .windows import Window

NAMES = ("input", "engine", "latency", "targets", "store", "node")  # all of them always: none goes stale
SPAN_NS = 5_000_000_000  # what "now" means
SILENCE_PERIODS = 5  # frame periods without an image after which a slow camera is silent


def _window() -> Window:
    return field(default_factory=lambda: Window(SPAN_NS))


@dataclass
class Events:
    """What has happened since the node was activated. One thread may add while another one reads."""

    began_ns: int = 0
    began_with: Resources | None = None
    arrivals: Window = _window()
    drops: Window = _window()  # images replaced before the tracker was free
    unstamped: Window = _window()
    rejections: Window = _window()
    failures: Window = _window()  # of engine and publishing: no fault of the images
    latency_ms: Window = _window()  # publishing time minus stamp
    processing_ms: Window = _window()  # of the tracking thread for an image: engine and node
    engine_ms: Window = _window()
    node_ms: Window = _window()  # everything else that the tracking thread did for an image
    rejection: str = ""  # the last one
    failure: str = ""
    incompatible_qos: str = ""
    lost_in_transport: int = 0
    processed: Outcome | None = None  # the last one
    told_ns: int = -1  # when statuses were made last
    alarms: defaultdict[str, Alarms] = field(default_factory=lambda: defaultdict(Alarms))  # by status


@dataclass(frozen=True)
class Source:
    """Where images come from."""

    topic: str
    reliability: str
    publishers: int
    other_types: tuple[str, ...] = ()  # that others publish under the same name
    bearing: str = ""  # the calibration by which directions are told, or why they are not


@dataclass(frozen=True)
class EngineUse:
    """What is known of the engine that runs now."""

    in_use_s: float = 0.0
    trouble: str = ""  # what is wrong with it right now
    replaced: str = ""  # why it is not the first one


@dataclass(frozen=True)
class Stored:
    """What the update rule of one target holds."""

    views: int
    refreshed_s: float | None  # since the template was refreshed, by the stamps of images; None = never


@dataclass(frozen=True)
class Finding:
    """What is known of one part now."""

    name: str
    problems: tuple[Problem, ...]
    fine: str  # the message if there is no problem
    values: Mapping[str, object]


def statuses(
    now_ns: int, findings: Iterable[Finding], events: Events, config: DiagnosticsConfig, otherwise: str
) -> list[DiagnosticStatus]:
    """A status for each of NAMES, with levels that do not flap; `otherwise` is told of the others."""
    found = {finding.name: finding for finding in findings}
    events.told_ns = now_ns
    return [
        _settled(now_ns, found[name], events.alarms[name], config)
        if name in found
        else _status(name, OK, otherwise, {})
        for name in NAMES
    ]


def _settled(now_ns: int, finding: Finding, alarms: Alarms, config: DiagnosticsConfig) -> DiagnosticStatus:
    level, texts = alarms.judge(now_ns, finding.problems, config.raise_s, config.hold_s)
    return _status(finding.name, level, "; ".join(texts) or finding.fine, finding.values)


def _status(name: str, level: int, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=bytes([level]), message=message, values=pairs)


def examine_input(
    now_ns: int, events: Events, counts: Counts, source: Source, config: DiagnosticsConfig
) -> Finding:
    """Whether images come, whether they can be used, and whether the tracker keeps up with them."""
    rate_hz, arrived = events.arrivals.rate_hz(now_ns), events.arrivals.count(now_ns)
    dropped = events.drops.count(now_ns) / arrived if arrived else 0.0
    picture = _picture(events.processed)
    return Finding(
        "input",
        tuple(_input_problems(now_ns, events, source, rate_hz, dropped, config)),
        f"{rate_hz:.1f} images/s of {picture}",
        {
            "topic": source.topic,
            "reliability": source.reliability,
            "publishers": source.publishers,
            "rate_hz": f"{rate_hz:.2f}",
            "picture": picture,
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "dropped_share": f"{dropped:.2f}",
            "rejected": counts.rejected,
            "odd_stamps": counts.odd_stamps,
            "lost_in_transport": events.lost_in_transport,
            "unstamped_in_window": events.unstamped.count(now_ns),
            "last_rejection": events.rejection,
            "bearing": source.bearing,
        },
    )


def _input_problems(
    now_ns: int, events: Events, source: Source, rate_hz: float, dropped: float, config: DiagnosticsConfig
) -> Iterator[Problem]:
    if not now_ns:
        yield Problem("clock", WARN, "use_sim_time is set, but no time has come on /clock")
    elif now_ns == events.told_ns:
        text = "the clock stands still: no new time comes on /clock, so rates and silence cannot be told"
        yield Problem("clock", WARN, text)
    since_s = (now_ns - (events.arrivals.newest_ns(now_ns) or events.began_ns)) / 1e9
    if since_s > max(config.silence_s, SILENCE_PERIODS / rate_hz if rate_hz else 0):
        where = f"{source.topic}, which has {source.publishers} publisher(s)"
        yield Problem("silence", ERROR, f"no image for {since_s:.1f} s on {where}")
    if source.other_types:
        types = ", ".join(map(plain, source.other_types))
        yield Problem("type", WARN, f"{types} is published on {source.topic}, too: that is no image")
    if source.publishers > 1:
        what = f"{source.publishers} publishers send on {source.topic}: their pictures are mixed"
        text = f"{what} (one that was killed counts for some seconds more)"
        yield Problem("publishers", WARN, text, spiky=True)
    if rate_hz < config.least_rate_hz:
        text = f"{rate_hz:.1f} images/s: at least {config.least_rate_hz:g} are expected"
        yield Problem("rate", WARN, text, spiky=True)
    if dropped > config.most_dropped:
        text = f"{dropped:.0%} of the images were dropped: they come faster than the tracker is"
        yield Problem("drops", WARN, text, spiky=True)
    if events.incompatible_qos:
        yield Problem("qos", WARN, events.incompatible_qos)
    if rejected := events.rejections.count(now_ns):
        level = ERROR if rejected >= events.arrivals.count(now_ns) else WARN
        yield Problem("rejected", level, f"{rejected} image(s) could not be used: {events.rejection}")
    if unstamped := events.unstamped.count(now_ns):
        text = f"{unstamped} image(s) had no stamp: the time of their arrival was used"
        yield Problem("unstamped", WARN, text)


def examine_engine(now_ns: int, events: Events, loaded: Loaded, use: EngineUse) -> Finding:
    """Whether the model runs, and on what."""
    spec, failures = loaded.engine.spec, events.failures.count(now_ns)
    problems = []
    if use.trouble:
        problems.append(Problem("trouble", ERROR, use.trouble))
    if failures:
        problems.append(Problem("failures", ERROR, events.failure))
    if use.replaced:
        problems.append(Problem("replaced", WARN, use.replaced))
    return Finding(
        "engine",
        tuple(problems),
        f"{spec.name} on {loaded.backend}",
        {
            "model": spec.name,
            "method": spec.method,
            "backend": loaded.backend,
            "device": loaded.device,
            "in_use_s": f"{use.in_use_s:.0f}",
            "not_faster_because": "; ".join(loaded.notes),
            "not_the_first_because": use.replaced,
            "failures_in_window": failures,
            "last_failure": events.failure,
        },
    )


def failed(name: str, text: str) -> Finding:
    """For a part that could not be made."""
    return Finding(name, (Problem("failed", ERROR, text),), "", {})


def examine_latency(now_ns: int, events: Events, budget_ms: float, config: DiagnosticsConfig) -> Finding:
    """How old results are when they are published, and where the time went.

    Args:
        budget_ms: most for the median age; 0 = any.
    """
    values = {"budget_ms": f"{budget_ms:g}"}
    for name in ("latency_ms", "processing_ms", "engine_ms", "node_ms"):
        if summary := getattr(events, name).summary(now_ns):
            for what, value in summary._asdict().items():
                values[f"{name}_{what}"] = f"{value:.3f}"
    age = events.latency_ms.summary(now_ns)
    fine = f"results are {age.median:.1f} ms old" if age else "unknown: no stamped image was processed"
    return Finding("latency", tuple(_latency_problems(now_ns, events, budget_ms, config)), fine, values)


def _latency_problems(
    now_ns: int, events: Events, budget_ms: float, config: DiagnosticsConfig
) -> Iterator[Problem]:
    if age := events.latency_ms.summary(now_ns):
        if 0 < budget_ms < age.median:
            text = f"results are {age.median:.1f} ms old: more than the budget of {budget_ms:g} ms"
            yield Problem("old", WARN, text, spiky=True)
        elif 0 < config.latency_p95_ms < age.p95:
            text = f"5 % of the results are {age.p95:.1f} ms old: more than {config.latency_p95_ms:g} ms"
            yield Problem("old", WARN, text, spiky=True)
        if 0 < budget_ms < -age.median:
            text = f"stamps lie {-age.median:.1f} ms in the future: the camera has another clock"
            yield Problem("future", WARN, text, spiky=True)
    spent = events.processing_ms.summary(now_ns)
    if spent and 0 < config.processing_p95_ms < spent.p95:
        text = f"5 % of the images took {spent.p95:.1f} ms: more than {config.processing_p95_ms:g} ms"
        yield Problem("processing", WARN, text, spiky=True)


def examine_targets(events: Events) -> Finding:
    """What is tracked, and how well."""
    targets = events.processed.targets if events.processed else ()
    lost = sum(followed.track.state is TrackState.LOST for followed in targets)
    text = f"{len(targets)} target(s)" + (f", {lost} of them lost" if lost else "")
    problems = (Problem("lost", WARN, text),) if lost else ()
    return Finding("targets", problems, text, {f"target {f.target.id!r}": _describe(f) for f in targets})


def _describe(followed: Followed) -> str:
    track = followed.track
    unseen_s = (track.stamp_ns - track.last_seen_ns) / 1e9
    name = f"{plain(followed.target.label)}: " if followed.target.label else ""
    state = f"{track.state.name}, confidence {track.confidence:.2f}"
    why = f": {track.reason}" if track.reason else ""
    return f"{name}{state}, seen {unseen_s:.2f} s before the last image{why}"


def examine_store(stored: Mapping[str, Stored]) -> Finding:
    """What the Target Store (or another update rule) of each target holds."""
    views = sum(one.views for one in stored.values())
    values = {f"target {id!r}": _describe_stored(one) for id, one in stored.items()}
    return Finding("store", (), f"{views} view(s) of {len(stored)} target(s)", values)


def _describe_stored(stored: Stored) -> str:
    if stored.refreshed_s is None:
        return f"{stored.views} view(s), template never refreshed"
    return f"{stored.views} view(s), template refreshed {stored.refreshed_s:.1f} s before the last image"


def examine_node(
    now: Resources | None, events: Events, config: DiagnosticsConfig, namesake: str = "", not_kept: str = ""
) -> Finding:
    """The process, and its place in the graph.

    Args:
        now: None where the system does not tell.
        namesake: a sentence if another node has the same name.
        not_kept: a sentence if targets cannot be kept for a restart.
    """
    problems = []
    if namesake:
        problems.append(Problem("namesake", ERROR, namesake))
    if not_kept:
        problems.append(Problem("not_kept", WARN, not_kept))
    if now is None:
        return Finding("node", tuple(problems), "memory is unknown: /proc is missing", {})
    text = f"{now.memory_mb:.0f} MB in memory"
    if 0 < config.memory_mb < now.memory_mb:
        problems.append(Problem("memory", WARN, f"{text}: more than {config.memory_mb:g}", spiky=True))
    began = events.began_with or now
    values = {
        "memory_mb": f"{now.memory_mb:.1f}",
        "memory_growth_mb": f"{now.memory_mb - began.memory_mb:.1f}",
        "descriptors": now.descriptors,
        "threads": now.threads,
    }
    return Finding("node", tuple(problems), text, values)


def _picture(outcome: Outcome | None) -> str:
    """Encoding (or format) and size of an image."""
    if outcome is None or outcome.frame is None:
        return "unknown"
    msg = outcome.arrival.msg
    kind = msg.encoding if hasattr(msg, "encoding") else msg.format
    return f"{kind} {outcome.frame.width}x{outcome.frame.height}"
