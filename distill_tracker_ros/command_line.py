"""What all commands of the project share: help that starts with examples, and errors of one sentence."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from .core.engine import Engine
from .runtime.load import BACKENDS, ON_CPU, load_engine

DEFAULT_MODEL = ON_CPU


Arguments = argparse.ArgumentParser | argparse._ArgumentGroup


class CommandError(Exception):
    """What the user asked for cannot be done; the text is one sentence for the user."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose help starts with examples."""

    def __init__(self, *arguments: Any, examples: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._examples = textwrap.indent(textwrap.dedent(examples).strip(), "  ")

    def format_help(self) -> str:
        return f"Examples:\n{self._examples}\n\n{super().format_help()}"

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See {self.prog} --help\n")


def run(name: str, command: Callable[[], int], expected: tuple[type[Exception], ...] = ()) -> int:
    """Run a command and return its exit code: an expected error becomes one line on stderr and code 1.

    A warning becomes a line as well, and changes no code.
    """
    errors: tuple[type[Exception], ...] = (CommandError, OSError, *expected)
    told = set()

    def show(message: Warning | str, *place: object, **more: object) -> None:
        if str(message) not in told:  # a sequence may be opened more than once
            told.add(str(message))
            print(f"{name}: warning: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            return command()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except errors as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--model and --backend."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="model bundle: a name in models/, or a folder with a manifest.yaml (default: %(default)s)",
    )
    add_backend_argument(parser)


def add_backend_argument(parser: Arguments) -> None:
    parser.add_argument(
        "--backend",
        default="onnxruntime",
        choices=BACKENDS,
        help="auto takes the fastest that works here (default: %(default)s)",
    )


def add_json_argument(parser: Arguments) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for other programs, too")


def engine(arguments: argparse.Namespace) -> Engine:
    """The engine that --model and --backend name.

    Raises:
        CommandError: it cannot be loaded.
    """
    try:
        return load_engine(arguments.model, arguments.backend)
    except (ValueError, ImportError) as error:
        raise CommandError(str(error)) from error


def box_xywh(text: str) -> tuple[float, float, float, float]:
    """The type of a `--box` argument: left,top,width,height in pixels."""
    try:
        x, y, w, h = (float(field) for field in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box: give four numbers x,y,w,h") from None
    if not all(map(math.isfinite, (x, y, w, h))):
        raise argparse.ArgumentTypeError(f"{text!r} is not a box: every number must be finite")
    return x, y, w, h


def positive(text: str) -> float:
    """The type of an argument that must be above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def whole(text: str) -> int:
    """The type of an argument that must be a whole number above zero."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)


def write_json(path: Path, content: Any) -> None:
    """Write a result for other programs; what is not a number (nan, inf) becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
