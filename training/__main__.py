"""python -m training COMMAND: from data to a model bundle with scores and a calibrated confidence."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# torch takes seconds to import: only the commands that need it do.
from .data.images import TooManyUnreadable
from .interrupt import Stopped

EXAMPLES = """\
examples:
  python -m training describe training/recipes/eatrack_deit_tiny.yaml
  python -m training show-batch training/recipes/eatrack_small.yaml --data DATA --output batch.png
  python -m training train training/recipes/smoke.yaml --data DATA
  python -m training train TEACHER.yaml STUDENT.yaml --data DATA --output runs
  torchrun --nproc_per_node 4 -m training train training/recipes/eatrack_small.yaml --data DATA
  python -m training curves runs/eatrack_small --output curves.png
  python -m training export runs/eatrack_small/student.pt --name eatrack_small --output models/eatrack_small
  python -m training calibrate models/eatrack_small --recipe training/recipes/eatrack_small.yaml --data DATA
  python -m training card models/eatrack_small evaluation.json --notes notes.md

DATA is a folder of data sets: GOT-10k, LaSOT, TrackingNet, VisDrone-SOT and COCO as they are published, or
<name>/annotations.csv (image,x,y,w,h,label,track) and the images that it names.
"""


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error in one sentence, 2 wrong arguments, 128 + n left because of signal n."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except Stopped as stopped:
        _say(f"{stopped}; the same command goes on from there")
        return stopped.exit_code
    except KeyboardInterrupt:
        print("left at once; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (OSError, ValueError, FloatingPointError, TooManyUnreadable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: object, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    train = command(
        "train", _train, "run recipes one after the other; what is done or begun is not done again"
    )
    train.add_argument("recipes", type=Path, nargs="+", metavar="recipe")
    _add_data(train)
    train.add_argument("--output", type=Path, default=Path("runs"), help="the run of a recipe is OUTPUT/NAME")
    train.add_argument("--workers", type=int, help="processes that make samples (default: the recipe's)")
    train.add_argument(
        "--minutes",
        type=float,
        help="save and leave after so long; the same command goes on (default: never)",
    )

    describe = command("describe", _describe, "print a network's size and cost as JSON")
    describe.add_argument("recipe", type=Path)

    show = command("show-batch", _show_batch, "draw training samples into a picture")
    show.add_argument("recipe", type=Path)
    _add_data(show)
    show.add_argument("--output", type=Path, default=Path("batch.png"))
    show.add_argument("--part", help="of the sample making, a key of the recipe's data section: it alone")

    curves = command("curves", _curves, "draw the learning curves of runs into a picture")
    curves.add_argument("runs", type=Path, nargs="+", metavar="run", help="folder of a run")
    curves.add_argument("--names", nargs="*", default=[], help="what to draw (default: losses and scores)")
    curves.add_argument("--output", type=Path, default=Path("curves.png"))

    ablate = command("ablate", _ablate, "train with and without each part of the distillation; compare")
    ablate.add_argument("recipe", type=Path, help="of the method eatrack; its teacher is in OUTPUT")
    _add_data(ablate)
    ablate.add_argument("--output", type=Path, default=Path("runs"))
    ablate.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    ablate.add_argument("--steps", type=int, required=True, help="of each training")
    ablate.add_argument("--sequences", type=Path, help="real sequences to score on, beside held-out videos")

    compare = command("compare", _compare, "train methods for equally long, with and without their teachers")
    compare.add_argument(
        "chains", nargs="+", metavar="recipe[,recipe]...", help="the stages of a student, as one word"
    )
    _add_data(compare)
    compare.add_argument("--output", type=Path, default=Path("runs"), help="teachers are there already")
    compare.add_argument("--steps", type=int, required=True, help="of each student, all stages together")
    compare.add_argument("--sequences", type=Path, help="real sequences to score on, beside held-out videos")

    export = command("export", _export, "make a model bundle from a student")
    export.add_argument("student", type=Path, help="student.pt or best.pt of a run")
    export.add_argument("--name", required=True, help="name of the model")
    export.add_argument("--output", type=Path, required=True, help="folder of the bundle")
    export.add_argument(
        "--lost-threshold",
        type=float,
        help="confidence below which the box is held (default: 0.25, or 0 where it is no probability)",
    )
    export.add_argument(
        "--window-weight", type=float, default=1.0, help="0 = no window, 1 = full Hann window"
    )
    export.add_argument("--precision", choices=["float32", "float16"], default="float32")
    export.add_argument("--data", nargs="*", default=[], help="names and licences of the training data")

    calibrate = command(
        "calibrate", _calibrate, "make the confidence of bundles the probability that their box is right"
    )
    calibrate.add_argument("bundles", nargs="+", metavar="bundle", help="its manifest is written anew")
    calibrate.add_argument("--recipe", type=Path, required=True, help="names the tracks that were held out")
    _add_data(calibrate)
    calibrate.add_argument(
        "--flights", type=int, default=60, help="synthetic videos beside them (default: %(default)s)"
    )
    calibrate.add_argument(
        "--sequences", type=Path, help="more videos, neither trained on nor to be scored on"
    )

    card = command("card", _card, "write the scores of an evaluation into a bundle, and its model card")
    card.add_argument("bundle", type=Path)
    card.add_argument("evaluation", type=Path, help="JSON of `distill-tracker evaluate --json`")
    card.add_argument("--notes", type=Path, help="Markdown: what the model is good and bad at")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")


def _train(options: argparse.Namespace) -> None:
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    from .recipe import check_order, read_recipe
    from .train import train

    recipes = [read_recipe(path) for path in options.recipes]
    check_order(recipes, options.output)
    with _process_group():
        for recipe in recipes:
            student = train(recipe, options.data, options.output / recipe.name, options.workers, deadline)
            _say(f"{recipe.name} is done: {student}")
    _say(f"next: python -m training export {student} --name {recipe.name} --output models/{recipe.name}")


def _describe(options: argparse.Namespace) -> None:
    from .describe import describe
    from .recipe import read_recipe

    _say(json.dumps(describe(read_recipe(options.recipe)), indent=2))


def _show_batch(options: argparse.Namespace) -> None:
    from .recipe import read_recipe
    from .show_batch import show_batch

    show_batch(read_recipe(options.recipe), options.data, options.output, options.part)
    _say(f"wrote {options.output}")


def _curves(options: argparse.Namespace) -> None:
    from .curves import draw_curves

    draw_curves(options.runs, options.names).savefig(options.output, dpi=110)
    _say(f"wrote {options.output}")


def _ablate(options: argparse.Namespace) -> None:
    from .ablate import ablate
    from .recipe import read_recipe

    recipe = read_recipe(options.recipe)
    with _process_group():
        ablate(recipe, options.data, options.output, options.seeds, options.steps, options.sequences)
    _say(f"wrote {options.output / 'ablation.md'}")


def _compare(options: argparse.Namespace) -> None:
    from .compare import compare
    from .recipe import read_recipe

    chains = [[read_recipe(Path(file)) for file in chain.split(",")] for chain in options.chains]
    with _process_group():
        compare(chains, options.data, options.output, options.steps, options.sequences)
    _say(f"wrote {options.output / 'comparison.md'}")


def _export(options: argparse.Namespace) -> None:
    from .export import export_bundle

    bundle = export_bundle(
        options.student,
        options.name,
        options.output,
        window_weight=options.window_weight,
        lost_threshold=options.lost_threshold,
        precision=options.precision,
        data=options.data,
    )
    _say(f"wrote {bundle}")


def _calibrate(options: argparse.Namespace) -> None:
    from .calibrate import calibrate, videos_of
    from .recipe import read_recipe

    videos = videos_of(read_recipe(options.recipe), options.data, options.flights, options.sequences)
    for bundle in options.bundles:
        _say(calibrate(bundle, videos))


def _card(options: argparse.Namespace) -> None:
    from .model_card import record_scores

    _say(f"wrote {record_scores(options.bundle, options.evaluation, options.notes)}")


@contextlib.contextmanager
def _process_group() -> Iterator[None]:
    """Of a block that trains: what it opened between processes is closed."""
    import torch.distributed

    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _say(text: str) -> None:
    """Of several processes, the first one alone speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text)


if __name__ == "__main__":
    sys.exit(main())
