"""Whether the tracker node stays what it was over an hour: memory, open files, threads, latency.

This process is the camera, an operator and a listener; the node runs in a process of its own. In every round
of half a minute the operator marks a second target late, changes a parameter and drops the target, somebody
watches the overlay for some seconds, and in every second round the first target is gone for three seconds.

Flat is what the line "bound" of the result says; the exit code is 1 if something is not. Ctrl-C ends the run
early, and what was measured until then is judged and written.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from node_memory import resident_mb
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm
from traffic import Traffic
from writing import conditions, markdown_conditions

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.processes import NodeProcess, own_graph
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import BundleError

if TYPE_CHECKING:
    from feed import Feed

    from distill_tracker_ros.demo.client import Client

_EXAMPLES = """
    python3 benchmarks/soak.py
    python3 benchmarks/soak.py --minutes 5 --plot build/field/soak.png
    python3 benchmarks/soak.py --minutes 180 --rate 60 --targets 3 --model models/mine
"""
SIZE = (1280, 720)
LATE_S = 0.3  # age of the picture on which the operator marks
GONE_S = 3.0
ROUND_S, SAMPLE_S = 30.0, 10.0  # at most; in short runs there are three rounds and thirty samples
# What happens in a round, and when, in shares of it.
ROUND = {"mark": 0.1, "show": 0.15, "tune": 0.25, "hide": 0.35, "drop": 0.45}
_GONE_AT = 0.3  # early, so that there is time to find it again
_PARAMETER, _TUNED = "tracker.size_rate", (0.5, 0.4)  # the last one is the default

GROWTH_MB, GROWTH_SHARE = 5.0, 0.03
# Shared memory of the middleware: 32 MiB each of camera and node (config/fastdds_large_images.xml), whose
# pages count from their first use on, which comes little by little; small ones beside them.
SEGMENTS_MB = 72.0
COUNT_CHANGE = 1.0
LATENCY_RATIO = 1.25


@dataclass(frozen=True)
class Sample:
    """The node's process at a time, and what came since the sample before."""

    t_s: float  # since the flight began
    rss_mb: float
    private_mb: float  # the part of it that no file and no other process has
    segments_mb: float  # the part of it that is shared with other processes: messages on their way
    pss_mb: float | None  # changes with the other processes that share libraries; None if it cannot be read
    files: int
    threads: int
    cpu_cores: float
    machine_load: float  # of everything, over the last minute: other work shows in the latency
    sent: int
    processed: int
    dropped: int
    rejected: int
    tracking: int  # results in which the first target was so
    uncertain: int
    lost: int
    latency_p50_ms: float
    latency_p95_ms: float
    latency_max_ms: float


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, examples=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=command_line.positive, default=60.0, help="to fly (%(default)s)")
    parser.add_argument(
        "--rate", type=command_line.positive, default=30.0, metavar="HZ", help="of the images (%(default)s)"
    )
    parser.add_argument(
        "--targets", type=int, choices=(1, 2, 3), default=1, help="beside the late one (%(default)s)"
    )
    command_line.add_model_arguments(parser)
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/field/soak.json"),
        metavar="FILE",
        help="for other programs (%(default)s)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it over time, as a PNG")
    parsed = parser.parse_args(arguments)
    return command_line.run("soak", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model).resolve()
    about = markdown_conditions(conditions())
    seconds = arguments.minutes * 60
    with tempfile.TemporaryDirectory() as folder, own_graph(Path(folder)):
        flight = fly(model, arguments.backend, arguments.rate, arguments.targets, seconds, Path(folder))
    if len(flight.samples) < 2:
        raise CommandError(f"it ended before there was something to judge: {flight.ended_by or 'too short'}")
    lasted_s = flight.samples[-1].t_s
    rows = judge(flight.samples, flight.latency, lasted_s)
    is_flat = not flight.ended_by and all(row["flat"] for row in rows)
    conditions_text = (
        f"{lasted_s / 60:.1f} min of {SIZE[0]}x{SIZE[1]} bgr8 at {arguments.rate:g} Hz, "
        f"{arguments.targets} target(s) and a late one now and then, {model.name}; "
        f"warm-up of {warm_up_s(lasted_s) / 60:.1f} min left out; {about}"
    )
    result = {"conditions": conditions_text, "rows": rows, "flat": is_flat, "ended_by": flight.ended_by}
    samples = [vars(sample) for sample in flight.samples]
    write_json(arguments.json, result | {"events": flight.events, "samples": samples})
    print(conditions_text)
    print(text_table(tuple(rows[0]), [tuple(map(_text, row.values())) for row in rows]))
    print(", ".join(f"{name}: {count}" for name, count in flight.events.items()))
    print("flat" if is_flat else f"NOT flat{flight.ended_by and f': {flight.ended_by}'}")
    if arguments.plot:
        plot(flight.samples, arguments.plot)
    return 0 if is_flat else 1


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


# The flight.


@dataclass
class Flight:
    """What was seen of a flight."""

    samples: list[Sample]
    latency: NDArray[np.float64]  # (N, 2): when a result came, s since the beginning; its latency, ms
    events: dict[str, int]
    ended_by: str  # why it ended early; empty if it did not, or if the user ended it


def timetable(seconds: float) -> list[tuple[float, str]]:
    """What happens when: a flight of rounds, sampled at regular intervals and at its end."""
    round_s, sample_s = min(ROUND_S, seconds / 3), min(SAMPLE_S, seconds / 30)
    rounds = max(1, int(seconds / round_s + 1e-6))
    plan = [(sample_s * (n + 1), "sample") for n in range(int(seconds / sample_s + 1e-6))]
    for n in range(rounds):
        plan += [(round_s * (n + share), what) for what, share in ROUND.items()]
        if n % 2 == 0:
            gone_at = round_s * (n + _GONE_AT)
            plan += [(gone_at, "leave"), (gone_at + GONE_S, "come_back")]
    return sorted(plan)


def fly(model: Path, backend: str, rate_hz: float, targets: int, seconds: float, log: Path) -> Flight:
    """Bring the node up and fly; an interrupt or a dead node ends the flight, not the measurement.

    Raises:
        CommandError: the node does not come up, or refuses the targets.
    """
    from feed import Feed  # these need ROS

    from distill_tracker_ros.demo.client import Client

    with ExitStack() as stack:
        tracker = NodeProcess("tracker_node", log, model=str(model), backend=backend, autostart=True)
        stack.enter_context(tracker)
        client = stack.enter_context(Client([tracker]))
        feed = Feed(client, tracker, Traffic(SIZE, targets + 1), rate_hz)
        feed.wait_for_result()
        for car in range(targets):
            if refusal := feed.mark(car):
                raise CommandError(f"the tracker refused a target: {refusal}")
        print(f"flying for {seconds / 60:g} min", flush=True)
        crew = Crew(client, feed, late_car=targets)
        ended_by = ""
        with (
            tqdm(total=seconds, disable=None, bar_format=_BAR) as bar,
            _remembered_interrupt() as interrupted,
        ):
            try:
                crew.fly(timetable(seconds), interrupted, bar)
            except (CommandError, psutil.Error) as error:
                ended_by = _cause(tracker, error)
        if interrupted.is_set():
            print("interrupted: this is what there is", file=sys.stderr)
        return Flight(crew.samples, crew.latency(), crew.events(), ended_by)


def _cause(tracker: NodeProcess, error: Exception) -> str:
    """What ended the flight: the death of the node, if it is dead, else the error."""
    time.sleep(0.5)  # a process that is dying has no memory any more and no exit code yet
    try:
        tracker.check()
    except CommandError as death:
        error = death
    return " ".join(str(error).split())


@contextmanager
def _remembered_interrupt() -> Iterator[Event]:
    """Set by Ctrl-C in the block: an exception would strike in the middle of the middleware's calls."""
    interrupted = Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


_BAR = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s, {remaining} left{postfix}"


class Crew:
    """Those around the node: each method is something that happens in the timetable."""

    def __init__(self, client: Client, feed: Feed, late_car: int) -> None:
        self.samples: list[Sample] = []
        self._client, self._feed, self._late_car = client, feed, late_car
        self._process = psutil.Process(feed.tracker.pid)
        self._done: Counter[str] = Counter()
        self._refusals: list[str] = []
        self._tunings = 0
        self._overlay: Any = None  # the subscription, while somebody watches
        self._began_s, self._began_ns = time.monotonic(), time.time_ns()
        self._first = len(feed.heard)
        self._begin_interval()

    def fly(self, plan: Sequence[tuple[float, str]], interrupted: Event, bar: Any) -> None:
        """Carry out a timetable; orders that take long make what follows late, and nothing is left out."""
        for at_s, what in plan:

            def due(at_s: float = at_s) -> bool:
                now_s = self._now_s()
                bar.update(min(now_s, at_s) - bar.n)
                return now_s >= at_s or interrupted.is_set()

            self._client.wait_until(due, "the next event", at_s - self._now_s() + 60)
            if interrupted.is_set():
                return
            getattr(self, what)()
            if what == "sample":
                newest = self.samples[-1]
                bar.set_postfix(rss_mb=f"{newest.rss_mb:.0f}", p95_ms=f"{newest.latency_p95_ms:.0f}")

    def latency(self) -> NDArray[np.float64]:
        heard = self._feed.heard[self._first :]
        rows = [((h.arrived_ns - self._began_ns) / 1e9, h.latency_ms) for h in heard]
        return np.array(rows, np.float64).reshape(-1, 2)

    def events(self) -> dict[str, int]:
        """How often what was done, and how often the first target was lost and found again."""
        states = [h.states.get("0") for h in self._feed.heard[self._first :]]
        changes = Counter(
            (before == TrackState.LOST, after == TrackState.LOST)
            for before, after in zip(states, states[1:], strict=False)
        )
        counts = dict(self._done) | {"lost": changes[False, True], "found again": changes[True, False]}
        return counts | {f"refused ({text})": n for text, n in Counter(self._refusals).items()}

    # What happens.

    def mark(self) -> None:
        self._note("marked late", self._feed.mark(self._late_car, LATE_S))

    def drop(self) -> None:
        self._note("dropped", self._feed.drop(self._late_car))

    def tune(self) -> None:
        value = _TUNED[self._tunings % len(_TUNED)]
        self._tunings += 1
        self._note("parameter changed", self._feed.set_parameter(_PARAMETER, value))

    def show(self) -> None:
        from sensor_msgs.msg import CompressedImage

        topic = self._feed.topic("overlay/compressed")

        def count(_: CompressedImage) -> None:
            self._done["overlay pictures"] += 1

        self._overlay = self._client.node.create_subscription(CompressedImage, topic, count, 1)

    def hide(self) -> None:
        self._client.node.destroy_subscription(self._overlay)

    def leave(self) -> None:
        self._feed.absent.add(0)
        self._note("left", "")

    def come_back(self) -> None:
        self._feed.absent.discard(0)

    def sample(self) -> None:
        self._feed.tracker.check()
        heard = self._feed.heard[self._from :]
        if not heard:
            raise CommandError(f"no result for {self._now_s() - self._from_s:.0f} s")
        rss, private, segments = (
            resident_mb(self._process.pid, kind) for kind in ("VmRSS", "RssAnon", "RssShmem")
        )
        latencies = [h.latency_ms for h in heard]
        states = Counter(h.states.get("0") for h in heard)
        p50, p95 = np.percentile(latencies, [50, 95])
        first, last = self._counted, heard[-1]
        self.samples.append(
            Sample(
                t_s=self._now_s(),
                rss_mb=rss,
                private_mb=private,
                segments_mb=segments,
                pss_mb=self._pss_mb(),
                files=self._process.num_fds(),
                threads=self._process.num_threads(),
                cpu_cores=(self._cpu_s() - self._from_cpu_s) / (self._now_s() - self._from_s),
                machine_load=os.getloadavg()[0],
                sent=self._feed.sent - self._from_sent,
                processed=last.processed - first.processed,
                dropped=last.dropped - first.dropped,
                rejected=last.rejected - first.rejected,
                tracking=states[TrackState.TRACKING],
                uncertain=states[TrackState.UNCERTAIN],
                lost=states[TrackState.LOST],
                latency_p50_ms=float(p50),
                latency_p95_ms=float(p95),
                latency_max_ms=max(latencies),
            )
        )
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._from, self._from_s, self._from_cpu_s = len(self._feed.heard), self._now_s(), self._cpu_s()
        self._from_sent, self._counted = self._feed.sent, self._feed.heard[-1]

    def _note(self, what: str, refusal: str) -> None:
        if refusal:
            self._refusals.append(refusal)
        else:
            self._done[what] += 1

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _pss_mb(self) -> float | None:
        try:
            return float(self._process.memory_full_info().pss / 1e6)
        except psutil.AccessDenied:
            return None


# The verdict.


def warm_up_s(seconds: float) -> float:
    """What is not judged: a tenth, at least two minutes, at most a third of the flight."""
    return min(max(seconds / 10, 120.0), seconds / 3)


def judge(samples: Sequence[Sample], latency: NDArray[np.float64], seconds: float) -> list[dict[str, Any]]:
    """A row a measure: its medians in the first and the last third after the warm-up, trend, verdict.

    Args:
        latency: (N, 2) when a result came, s, and its latency, ms; percentiles are those of whole thirds.
        seconds: that the flight lasted; the trend is extrapolated over it.
    """
    warm = warm_up_s(seconds)
    third = (seconds - warm) / 3
    kept = [sample for sample in samples if sample.t_s > warm]
    t_s = np.array([sample.t_s for sample in kept])

    def ends(at_s: NDArray[np.float64], values: NDArray[np.float64], of: Callable[..., Any]) -> list[float]:
        """Of the first and of the last third."""
        parts = (at_s > warm) & (at_s <= warm + third), at_s > seconds - third
        return [float(of(values[part])) if part.any() else float("nan") for part in parts]

    def row(measure: str, values: ArrayLike, after: float, end: float, flat: bool, bound: str) -> dict:
        trend = slope(t_s, values) * 3600
        return {
            "measure": measure,
            "after_warm_up": after,
            "at_end": end,
            "trend_per_hour": trend,
            "bound": bound,
            "flat": flat,
        }

    rows = []
    segments = np.array([sample.segments_mb for sample in kept])
    for name, values in (
        ("memory, RSS without segments, MB", np.array([sample.rss_mb for sample in kept]) - segments),
        ("of it private, MB", np.array([sample.private_mb for sample in kept])),
    ):
        after, end = ends(t_s, values, np.median)
        most = max(GROWTH_MB, GROWTH_SHARE * after)
        is_flat = slope(t_s, values) * seconds < most
        rows.append(row(name, values, after, end, is_flat, f"trend below {most:.1f} MB over the run"))
    after, end = ends(t_s, segments, np.median)
    fits, bound = float(segments.max(initial=0)) <= SEGMENTS_MB, f"at most {SEGMENTS_MB:g} MB"
    rows.append(row("segments of the middleware, MB", segments, after, end, fits, bound))
    for name, key in (("open file descriptors", "files"), ("threads", "threads")):
        values = np.array([getattr(sample, key) for sample in kept], np.float64)
        after, end = ends(t_s, values, np.median)
        is_same = abs(end - after) <= COUNT_CHANGE
        rows.append(row(name, values, after, end, is_same, f"at most {COUNT_CHANGE:g} more or less"))
    for percent in (50, 95):
        values = np.array([getattr(sample, f"latency_p{percent}_ms") for sample in kept])
        after, end = ends(latency[:, 0], latency[:, 1], lambda part, p=percent: np.percentile(part, p))
        bound = f"last third at most {LATENCY_RATIO:g} x first"
        rows.append(row(f"latency, {percent} %, ms", values, after, end, end <= LATENCY_RATIO * after, bound))
    return rows


def slope(t_s: ArrayLike, values: ArrayLike) -> float:
    """Theil and Sen's: the median of the slopes between all pairs; nan with fewer than two."""
    from scipy.stats import theilslopes

    return float(theilslopes(values, t_s).slope) if np.size(t_s) > 1 else float("nan")


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Four panels over time; the warm-up is shaded."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    from distill_tracker_ros.evaluation.report.plots import GRID, MUTED, SERIES, save_png

    minutes = np.array([sample.t_s for sample in samples]) / 60
    gaps_s = np.diff([0.0, *(sample.t_s for sample in samples)])

    def values(key: str) -> NDArray[np.float64]:
        return np.array([getattr(sample, key) for sample in samples], np.float64)

    panels = {
        "memory, MB": {
            "RSS": values("rss_mb"),
            "private": values("private_mb"),
            "segments": values("segments_mb"),
        },
        "open files and threads": {"file descriptors": values("files"), "threads": values("threads")},
        "latency, ms": {
            name: values(f"latency_{key}_ms")
            for name, key in (("median", "p50"), ("95 %", "p95"), ("most", "max"))
        },
        "images a second": {key: values(key) / gaps_s for key in ("sent", "processed", "dropped")},
    }
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
        axes.axvspan(0, warm_up_s(samples[-1].t_s) / 60, color=GRID, alpha=0.6, linewidth=0)
        for colour, (label, line) in zip(SERIES, lines.items(), strict=False):
            axes.plot(minutes, line, color=colour, linewidth=1.2, label=label)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlim(0, minutes[-1])
        most = max(np.nanmax(line) for line in lines.values())
        if title.startswith("latency"):  # a single late result must not hide all others
            axes.set_yscale("log")
            axes.set_ylim(0.7 * np.nanmin(lines["median"]), 3 * most)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(0, 1.3 * most)
        axes.tick_params(length=0, labelsize=9, labelcolor=MUTED, which="both")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper right")
    for axes in figure.axes[2:]:
        axes.set_xlabel("minutes (shaded: warm-up)", fontsize=9, color=MUTED)
    save_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
