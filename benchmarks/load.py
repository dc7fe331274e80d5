"""What the tracker does when there is more to do than time: cameras and targets, and targets that are lost.

Each camera (640x480) has a tracker node of its own, in its own namespace and process, with one thread for
the network. This process is all of the cameras and the listener. A latency that grows while the load lasts
is a fault, and the exit code is 1 then; frames that are dropped are none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from traffic import Traffic
from writing import conditions, markdown_conditions

from distill_tracker_ros import command_line
from distill_tracker_ros.command_line import CommandError, Parser, write_json
from distill_tracker_ros.core.config import SessionConfig
from distill_tracker_ros.core.tracker import TrackState
from distill_tracker_ros.evaluation.report.tables import text_table
from distill_tracker_ros.processes import NodeProcess, own_graph
from distill_tracker_ros.runtime.load import find_model
from distill_tracker_ros.runtime.manifest import BundleError

if TYPE_CHECKING:
    from feed import Feed, Heard

_EXAMPLES = """
    python3 benchmarks/load.py
    python3 benchmarks/load.py --cameras 2 --targets 32 --seconds 60 --model eatrack_tiny
"""
SIZE = (640, 480)
GROWTH = 1.5  # of the median latency, from the first to the last third, that is still none
_SETTLE_S = 3.0  # after the targets have been set, or lost
_LOST_S = 60.0  # for all targets to be lost
_ATTEMPTS = 3  # at marking a target: an overloaded node may be too busy to answer in time
_END_S = 2.0


@dataclass(frozen=True)
class Case:
    """One load."""

    cameras: int
    targets: int  # of all cameras together
    lost: bool = False  # all of them, so that whole frames are searched

    @property
    def shares(self) -> list[int]:
        """Targets of each camera."""
        least, more = divmod(self.targets, self.cameras)
        return [least + (camera < more) for camera in range(self.cameras)]


def sweep(cameras: int, targets: int) -> list[Case]:
    """From one camera with one target to all, and all of them lost."""
    half = max(1, cameras // 2), max(1, targets // 2)
    cases = [Case(1, 1), Case(1, targets // cameras), Case(*half), Case(cameras, targets)]
    return list(dict.fromkeys([*cases, Case(cameras, targets, lost=True)]))


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        description=__doc__, examples=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=command_line.whole, default=4, help="at most (%(default)s)")
    parser.add_argument("--targets", type=command_line.whole, default=16, help="at most (%(default)s)")
    parser.add_argument(
        "--seconds", type=command_line.positive, default=20.0, help="for each load (%(default)s)"
    )
    parser.add_argument(
        "--rate", type=command_line.positive, default=30.0, metavar="HZ", help="of each camera (%(default)s)"
    )
    command_line.add_model_arguments(parser)
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build/field/load.json"),
        metavar="FILE",
        help="for other programs (%(default)s)",
    )
    parsed = parser.parse_args(arguments)
    if parsed.targets < parsed.cameras:
        parser.error(
            f"--targets {parsed.targets}: every camera has one at least (--cameras {parsed.cameras})"
        )
    return command_line.run("load", lambda: _benchmark(parsed), (BundleError,))


def _benchmark(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model).resolve()
    about = (
        f"{SIZE[0]}x{SIZE[1]} bgr8 at {arguments.rate:g} Hz for {arguments.seconds:g} s, {model.name}, "
        f"one thread a network; {markdown_conditions(conditions())}"
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, own_graph(Path(folder)):
        for case in sweep(arguments.cameras, arguments.targets):
            print(f"{case.cameras} camera(s), {case.targets} target(s){', all lost' * case.lost}", flush=True)
            rows.append(
                measure(case, model, arguments.backend, arguments.rate, arguments.seconds, Path(folder))
            )
            write_json(arguments.json, {"conditions": about, "rows": rows})
    print(about)
    print(text_table(("", *(f"load {n + 1}" for n in range(len(rows)))), _columns(rows)))
    return 0 if all(row["latency_stays"] for row in rows) else 1


def _columns(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A line a number, a column a load: there are many numbers and few loads."""
    return [(name, *(_text(row[name]) for row in rows)) for name in rows[0]]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


# One load.


def measure(
    case: Case, model: Path, backend: str, rate_hz: float, seconds: float, log: Path
) -> dict[str, Any]:
    """Bring up the cameras and their trackers, and collect what became of the images.

    Raises:
        CommandError: a node dies, refuses a target, or says nothing.
    """
    from feed import Feed, listen  # these need ROS

    from distill_tracker_ros.demo.client import Client

    names = [f"camera_{number + 1}" for number in range(case.cameras)]
    with ExitStack() as stack:
        trackers = [
            stack.enter_context(_tracker(name, share, model, backend, log))
            for name, share in zip(names, case.shares, strict=True)
        ]
        client = stack.enter_context(Client(trackers))
        feeds = [
            Feed(client, tracker, Traffic(SIZE, share), rate_hz, name)
            for tracker, share, name in zip(trackers, case.shares, names, strict=True)
        ]
        for feed in feeds:
            feed.wait_for_result()
        for feed, share in zip(feeds, case.shares, strict=True):
            for car in range(share):
                _mark(feed, car)
        if case.lost:
            for feed, share in zip(feeds, case.shares, strict=True):
                feed.absent.update(range(share))
            client.wait_until(lambda: _in_state(feeds, TrackState.LOST) == case.targets, "losses", _LOST_S)
        listen(client, _SETTLE_S)
        spans = [Span(feed) for feed in feeds]
        own_s = _cpu_s(psutil.Process())
        listen(client, seconds)
        return _row(case, [span.ended() for span in spans], (_cpu_s(psutil.Process()) - own_s) / seconds)


def _tracker(name: str, targets: int, model: Path, backend: str, log: Path) -> NodeProcess:
    folder = log / name
    folder.mkdir(exist_ok=True)
    parameters = {
        "model": str(model),
        "backend": backend,
        "onnx.intra_op_threads": 1,
        "session.max_targets": max(targets, SessionConfig().max_targets),
    }
    return NodeProcess("tracker_node", folder, namespace=name, autostart=True, **parameters)


def _mark(feed: Feed, car: int) -> None:
    for _ in range(_ATTEMPTS):
        if not (refusal := feed.mark(car)):
            return
    raise CommandError(f"a target was refused {_ATTEMPTS} times: {refusal}")


def _in_state(feeds: Sequence[Feed], state: TrackState) -> int:
    """Targets that were in a state when the newest results came."""
    return sum(found == state for feed in feeds for found in feed.heard[-1].states.values())


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Seen:
    """One camera for as long as the load lasted."""

    seconds: float
    sent: int
    before: Heard  # the last result before it
    heard: list[Heard]
    cpu_cores: float


class Span:
    """From now on, until `ended`."""

    def __init__(self, feed: Feed) -> None:
        self._feed, self._process = feed, psutil.Process(feed.tracker.pid)
        self._first, self._sent, self._cpu_s = len(feed.heard), feed.sent, _cpu_s(self._process)
        self._began_ns = feed.now_ns()

    def ended(self) -> Seen:
        """What has come since."""
        feed, heard = self._feed, self._feed.heard[self._first :]
        if len(heard) < 3:
            raise CommandError(f"{feed.topic('status')} told of {len(heard)} images: run it for longer")
        seconds = (feed.now_ns() - self._began_ns) / 1e9
        cores = (_cpu_s(self._process) - self._cpu_s) / seconds
        return Seen(seconds, feed.sent - self._sent, feed.heard[self._first - 1], heard, cores)


def _row(case: Case, seen: Sequence[Seen], own_cores: float) -> dict[str, Any]:
    """The numbers of one load; times and rates are of all cameras together where nothing else is said."""
    totals = Counter[str]()
    for camera in seen:
        last, first = camera.heard[-1], camera.before
        for name in ("received", "processed", "dropped", "rejected"):
            totals[name] += getattr(last, name) - getattr(first, name)
        totals["sent"] += camera.sent
    rates_hz = [(camera.heard[-1].processed - camera.before.processed) / camera.seconds for camera in seen]
    first_ms, last_ms = (_third_ms(seen, third) for third in (0, 2))
    states = Counter(state for camera in seen for state in camera.heard[-1].states.values())
    latencies = [heard.latency_ms for camera in seen for heard in camera.heard]
    ends_ns = [camera.heard[-1].arrived_ns - _END_S * 1e9 for camera in seen]
    at_end = [
        h.latency_ms
        for camera, end_ns in zip(seen, ends_ns, strict=True)
        for h in camera.heard
        if h.arrived_ns >= end_ns
    ]
    return {
        "cameras": case.cameras,
        "targets": case.targets,
        "lost_on_purpose": case.lost,
        "sent_hz": float(np.mean([camera.sent / camera.seconds for camera in seen])),
        "processed_hz": float(np.mean(rates_hz)),
        "processed_hz_least": min(rates_hz),
        "least_to_most": min(rates_hz) / max(rates_hz),
        "dropped_percent": 100 * max(0.0, 1 - totals["processed"] / totals["sent"]),
        **totals,
        "latency_ms_median": float(np.median(latencies)),
        "latency_ms_p95": float(np.percentile(latencies, 95)),
        "latency_growth_median": last_ms[0] / first_ms[0],
        "latency_growth_p95": last_ms[1] / first_ms[1],
        "latency_ms_most_at_end": max(at_end),
        "latency_stays": bool(last_ms[0] <= GROWTH * first_ms[0]),
        "cores_a_node": float(np.mean([camera.cpu_cores for camera in seen])),
        "cores_of_all_nodes": sum(camera.cpu_cores for camera in seen),
        "cores_of_the_cameras": own_cores,
        "tracking_at_end": states[TrackState.TRACKING],
        "uncertain_at_end": states[TrackState.UNCERTAIN],
        "lost_at_end": states[TrackState.LOST],
    }


def _third_ms(seen: Sequence[Seen], third: int) -> tuple[float, float]:
    """Median and 95 % of the latency of all cameras in one third of the time."""
    values = []
    for camera in seen:
        began_ns, ended_ns = camera.heard[0].arrived_ns, camera.heard[-1].arrived_ns
        low, high = (began_ns + (ended_ns - began_ns) * share / 3 for share in (third, third + 1))
        values += [h.latency_ms for h in camera.heard if low <= h.arrived_ns <= high]
    median, p95 = np.percentile(values, [50, 95])
    return float(median), float(p95)


if __name__ == "__main__":
    sys.exit(main())
