"""YAML from outside, in bounds: plain values alone, of a small file, without references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..core.texts import InputError

LARGEST_FILE = 64_000  # bytes, which take half a second; a manifest has some thousand
DEEPEST = 50  # mappings and lists in each other


def read_yaml(path: Path) -> Any:
    """The content of a file.

    Raises:
        InputError: it cannot be read, is larger than LARGEST_FILE, is no YAML of plain values, is nested
            deeper than DEEPEST, or has aliases, of which a few lines can stand for gigabytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE} bytes")
        return yaml.load(content.decode("utf-8"), _Loader)
    except Exception as error:  # its scanner and constructors raise what they meet: IndexError, OverflowError
        raise InputError(f"{path} cannot be read: {error}") from error


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has aliases (*): write the values out")
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node
