"""Score trackers on sequences, bags and benchmarks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, get_args

from .. import command_line
from ..command_line import DEFAULT_MODEL, CommandError
from ..evaluation.bags import rosbags_needed
from ..evaluation.baselines import BASELINES
from ..evaluation.benchmarks import FORMATS
from ..evaluation.jobs import Plan, TrackerChoice, first_of, make_plan
from ..evaluation.jobs import run as run_jobs
from ..evaluation.metrics import POLICIES, Policy
from ..evaluation.protocols import PROTOCOLS
from ..evaluation.replay import foreign
from ..evaluation.report import html, tables
from ..evaluation.result_files import ResultFormat, read_results, write_results
from ..evaluation.runs import Run, RunFolder
from ..evaluation.source import Source
from ..evaluation.summary import summary

EXAMPLES = """
    distill-tracker evaluate sequences/
    distill-tracker evaluate UAV123/ --tracker csrt --tracker model --out build/uav123
    distill-tracker evaluate flight.mcap --topic /image_raw --box 600,320,64,48 --write-bag tracked.mcap
    distill-tracker evaluate DTB70/ --results published=results/ARCF/
"""
_EPILOG = """
exit code: 0 everything was scored; 1 nothing was; 2 wrong arguments; 3 some sequences are missing or ended
early, and are listed. The same command again continues what was interrupted.
"""
INCOMPLETE = 3


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score trackers on sequences, bags, benchmarks",
        description=run.__doc__,
        epilog=_EPILOG,
        examples=EXAMPLES,
    )
    add_source_arguments(parser)
    what = parser.add_argument_group("trackers (none named: the shipped model)")
    what.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help=f"model bundle: a name in models/, or a folder with a manifest.yaml ({DEFAULT_MODEL})",
    )
    what.add_argument(
        "--tracker",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a tracker to compare with: {', '.join(BASELINES)}; model, the shipped one; LABEL=any of them",
    )
    what.add_argument(
        "--results",
        action="append",
        default=[],
        type=_labelled,
        metavar="LABEL=PATH",
        help="boxes that another tool has written: text files, GOT-10k's folders, TrackingNet's zip",
    )
    command_line.add_backend_argument(what)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--protocol",
        default=PROTOCOLS[0],
        choices=PROTOCOLS,
        help="from the first box to the end, from VOT's anchors, or from 20 starts (default: %(default)s)",
    )
    how.add_argument(
        "--policy",
        default=POLICIES[0],
        choices=POLICIES,
        help="how frames without a true box count; see docs/metrics.md (default: %(default)s)",
    )
    how.add_argument(
        "--processes",
        type=command_line.whole,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="that track at the same time; the boxes do not depend on it (default: %(default)s)",
    )
    out = parser.add_argument_group("results")
    out.add_argument(
        "--out", "--output", type=Path, default=Path("build/evaluate"), metavar="DIR", help="(%(default)s)"
    )
    command_line.add_json_argument(out)
    out.add_argument("--baseline", default="", metavar="LABEL", help="of the comparison (default: the last)")
    out.add_argument(
        "--write-bag",
        type=Path,
        metavar="FILE",
        help="write the detections as a bag, with the original stamps",
    )
    out.add_argument("--bag-images", action="store_true", help="copy the images into it as well")
    out.add_argument("--bag-overlay", action="store_true", help="draw the boxes into it as well")
    out.add_argument(
        "--write-results",
        type=_written,
        metavar="FORMAT=PATH",
        help=f"write the boxes for other tools: {', '.join(get_args(ResultFormat))}",
    )
    parser.set_defaults(command=run)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """The sequences, and what to read of them."""
    parser.add_argument(
        "source", nargs="?", type=Path, metavar="PATH", help="a sequence, bag, video, or folder of sequences"
    )
    parser.add_argument("--bag", dest="bag", type=Path, metavar="PATH", help="the same, for a bag")
    group = parser.add_argument_group("sequences")
    group.add_argument(
        "--format", default="auto", choices=("auto", *FORMATS), help="(default: by the folder's content)"
    )
    group.add_argument(
        "--groundtruth", type=Path, metavar="FILE", help="true boxes of a video, x,y,w,h a frame"
    )
    group.add_argument("--topic", default="", help="of the images in a bag (default: the only one)")
    group.add_argument("--truth-topic", default="", metavar="TOPIC", help="of the true boxes in a bag")
    group.add_argument(
        "--box", type=command_line.box_xywh, metavar="X,Y,W,H", help="start here, not on the first true box"
    )
    group.add_argument("--stamp", type=float, metavar="S", help="begin on the frame with this stamp, seconds")
    group.add_argument(
        "--rate",
        type=command_line.positive,
        metavar="HZ",
        help="frames a second (default: the sequence's own)",
    )


def source_of(arguments: argparse.Namespace) -> Source:
    """
    Raises:
        CommandError: none is named, or two.
    """
    if (arguments.source is None) == (arguments.bag is None):
        raise CommandError("name one source: a sequence, a bag, a video or a folder of sequences")
    return Source(
        path=arguments.source or arguments.bag,
        format=arguments.format,
        truth_file=arguments.groundtruth,
        image_topic=arguments.topic,
        truth_topic=arguments.truth_topic,
        box_xywh=arguments.box,
        from_s=arguments.stamp,
        rate_hz=arguments.rate,
    )


def run(arguments: argparse.Namespace) -> int:
    """Track sequences with one or more trackers and score them: report.html, evaluation.json, results.csv,
    figures, and a folder for each tracker with its boxes."""
    choices = _choices(arguments)
    for path in (arguments.write_bag, arguments.write_results and arguments.write_results[1]):
        if path and path.exists():  # said now, not after hours of tracking
            raise CommandError(f"{path} exists: name another file, or remove it")
    plan = make_plan(source_of(arguments), arguments.protocol)
    problems, runs = dict(plan.skipped), []
    for choice in choices:
        folder = RunFolder(arguments.out / choice.label)
        try:
            failed = run_jobs(plan, choice, folder, arguments.processes)
        except (ValueError, ImportError, BrokenProcessPool) as error:
            raise CommandError(f"{choice.label}: {error}") from error
        if len(failed) == len(plan.parts):
            raise CommandError(f"{choice.label}: {first_of(failed.values())}")
        runs.append(folder.read())
        problems |= {f"{name} ({choice.label})": reason for name, reason in failed.items()}
    runs += [_published(label, path, plan) for label, path in arguments.results]
    problems |= {f"{t.name} ({r.label})": t.broken for r in runs for t in r.sequences if t.broken}
    _write_files(arguments, plan, runs)
    for name, reason in problems.items():
        print(f"incomplete: {name}: {reason}")
    return INCOMPLETE if problems else 0


def _choices(arguments: argparse.Namespace) -> list[TrackerChoice]:
    """What was named, each under a label of its own."""
    models, baselines = list(arguments.model), []
    for name in arguments.tracker:
        if name == "model":
            models.append(DEFAULT_MODEL)
        else:
            baselines.append(name)
    if not (models or baselines or arguments.results):
        models = [DEFAULT_MODEL]
    choices = [TrackerChoice(Path(name).name, model=name, backend=arguments.backend) for name in models]
    choices += [_baseline(name) for name in baselines]
    labels = [choice.label for choice in choices] + [label for label, _ in arguments.results]
    if double := sorted({label for label in labels if labels.count(label) > 1}):
        raise CommandError(f"two trackers have the name {double[0]!r}: name each once")
    if arguments.baseline not in ("", *labels):
        raise CommandError(
            f"--baseline {arguments.baseline!r} is no tracker of this run: {', '.join(labels)}"
        )
    return choices


def _baseline(text: str) -> TrackerChoice:
    """`nano:A,B` under its own name, `LABEL=nano:A,B` under another."""
    label, separator, tracker = text.partition("=")
    return (
        TrackerChoice(label, baseline=tracker)
        if separator
        else TrackerChoice(text.partition(":")[0], baseline=text)
    )


def _published(label: str, path: Path, plan: Plan) -> Run:
    """What another tool has written for the sequences of this plan."""
    part = plan.open()
    boxes = read_results(path, [item.name for item in plan.parts])
    return Run(
        label,
        [foreign(part(name), rows) for name, rows in boxes.items()],
        {"label": label, "tracker": f"results in {path}", "protocol": plan.protocol},
    )


def _write_files(arguments: argparse.Namespace, plan: Plan, runs: Sequence[Run]) -> None:
    if arguments.write_results:
        _write_results(*arguments.write_results, runs)
    if arguments.write_bag:
        _write_bag(arguments, plan, runs)
    if not any(tracked.visible.any() for run in runs for tracked in run.sequences):
        print(f"written to {arguments.out}: the boxes; without a true box there is nothing to score")
        return
    summaries = {run.label: _content(run, arguments.policy) for run in runs}
    content = next(iter(summaries.values()))
    if len(runs) == 1:
        print(tables.text_table(*tables.per_sequence(content)))
    else:
        content = {**content, "runs": summaries}
    print(tables.text_table(*tables.per_tracker(summaries)))
    _draw(arguments, plan, runs)
    for path in (arguments.out / "evaluation.json", arguments.json):
        if path:
            command_line.write_json(path, content)
    print(f"written to {arguments.out}: report.html, evaluation.json, results.csv, figures, the boxes")


def _content(run: Run, policy: Policy) -> dict[str, Any]:
    rates = {tracked.rate_hz for tracked in run.sequences}
    rate_hz = rates.pop() if len(rates) == 1 else None  # None: they have different ones
    return {**run.conditions, "rate_hz": rate_hz, **summary(run, policy)}


def _draw(arguments: argparse.Namespace, plan: Plan, runs: Sequence[Run]) -> None:
    out, policy, baseline, part = arguments.out, arguments.policy, arguments.baseline, plan.open()
    title = plan.source.path.resolve().name
    out.mkdir(parents=True, exist_ok=True)
    html.write_report(out / "report.html", runs, lambda name: part(name).frames, title, policy, baseline)
    html.write_csv(out / "results.csv", runs, policy)
    html.write_figures(out, runs, policy, baseline)


def _write_results(format: str, path: Path, runs: Sequence[Run]) -> None:
    if len(runs) != 1:
        raise CommandError(f"--write-results is for one tracker; there are {len(runs)}")
    boxes = {tracked.name: tracked.boxes_xywh for tracked in runs[0].sequences}
    step_ms = {tracked.name: tracked.times.step_ms for tracked in runs[0].sequences}
    write_results(path, format, boxes, step_ms)


def _write_bag(arguments: argparse.Namespace, plan: Plan, runs: Sequence[Run]) -> None:
    if len(runs) != 1 or len(runs[0].sequences) != 1:
        raise CommandError("--write-bag is for one tracker on one bag or sequence")
    with rosbags_needed():
        from ..evaluation.bags.writing import write_detections
    tracked = runs[0].sequences[0]
    write_detections(
        arguments.write_bag,
        tracked,
        plan.open()(tracked.name).frames,
        images=arguments.bag_images,
        overlays=arguments.bag_overlay,
    )


def _written(text: str) -> tuple[str, Path]:
    format, path = _labelled(text)
    if format not in get_args(ResultFormat):
        accepted = ", ".join(get_args(ResultFormat))
        raise argparse.ArgumentTypeError(f"{format!r} is no format of results: accepted are {accepted}")
    return format, path


def _labelled(text: str) -> tuple[str, Path]:
    label, separator, path = text.partition("=")
    if not (label and separator and path):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=PATH")
    return label, Path(path)
