"""python -m training <train | export | card | describe | show-batch>"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
examples:
  python -m training describe training/recipes/eatrack_deit_tiny.yaml
  python -m training show-batch training/recipes/eatrack_small.yaml --data DATA --output batch.png
  python -m training train training/recipes/eatrack_small.yaml --data DATA --output runs/eatrack_small
  python -m training export runs/eatrack_small/student.pt --name eatrack_small --output models/eatrack_small
  python -m training card models/eatrack_small evaluation.json --notes notes.md

DATA is a folder of sources: <source>/annotations.csv (image,x,y,w,h,label,track) and the images it names.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training", description=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="run a recipe, or go on with an interrupted run")
    train.add_argument("recipe", type=Path)
    train.add_argument("--data", type=Path, required=True, help="folder of source folders")
    train.add_argument(
        "--output", type=Path, help="folder of the run (default: runs/<name>); resumes if it holds one"
    )
    train.add_argument("--workers", type=int, help="processes that make samples (default: the recipe's)")
    describe = commands.add_parser("describe", help="print a student's size and cost as JSON")
    describe.add_argument("recipe", type=Path)
    show = commands.add_parser("show-batch", help="draw training samples into a picture")
    show.add_argument("recipe", type=Path)
    show.add_argument("--data", type=Path, required=True)
    show.add_argument("--output", type=Path, default=Path("batch.png"))
    export = commands.add_parser("export", help="make a model bundle from a student")
    export.add_argument("student", type=Path, help="student.pt of a run")
    export.add_argument("--name", required=True, help="name of the model")
    export.add_argument("--output", type=Path, required=True, help="folder of the bundle")
    export.add_argument(
        "--lost-threshold", type=float, default=0.25, help="confidence below which the box is held"
    )
    export.add_argument(
        "--window-weight", type=float, default=1.0, help="0 = no window, 1 = full Hann window"
    )
    export.add_argument("--precision", choices=["float32", "float16"], default="float32")
    export.add_argument("--data", nargs="*", default=[], help="names and licences of the training data")
    card = commands.add_parser(
        "card", help="write the scores of an evaluation into a bundle, and its model card"
    )
    card.add_argument("bundle", type=Path)
    card.add_argument("evaluation", type=Path, help="JSON of `distill-tracker evaluate --json`")
    card.add_argument("--notes", type=Path, help="Markdown: what the model is good and bad at")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (FileNotFoundError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    # torch takes seconds to import: only when a command needs it.
    if options.command == "export":
        from .export import export_bundle

        export_bundle(
            options.student,
            options.name,
            options.output,
            window_weight=options.window_weight,
            lost_threshold=options.lost_threshold,
            precision=options.precision,
            data=options.data,
        )
        return 0
    if options.command == "card":
        from .model_card import record_scores

        print(f"wrote {record_scores(options.bundle, options.evaluation, options.notes)}")
        return 0
    from .recipe import read_recipe

    recipe = read_recipe(options.recipe)
    if options.command == "describe":
        import json

        from .describe import describe

        print(json.dumps(describe(recipe), indent=2))
    elif options.command == "show-batch":
        from .show_batch import show_batch

        show_batch(recipe, options.data, options.output)
        print(f"wrote {options.output}")
    else:
        from .train import train

        student = train(recipe, options.data, options.output or Path("runs") / recipe.name, options.workers)
        print(f"the student is {student}; next: python -m training export {student} --name {recipe.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
