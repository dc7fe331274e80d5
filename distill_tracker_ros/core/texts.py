"""Input from outside in the texts of errors: on one line, and never longer than one can read."""

from __future__ import annotations

import re

LONGEST_NAME = 256  # characters of an id, a label or a frame_id
LONGEST_VALUE = 80
LONGEST_LINE = 900

_CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class InputError(ValueError):
    """Input that cannot be used; the text is one line, whatever that input holds."""

    def __init__(self, text: object) -> None:
        super().__init__(one_line(text))


def one_line(text: object) -> str:
    """Without line ends and what else a terminal would obey; what is too long loses its middle."""
    line = _CONTROLS.sub(" ", str(text)).strip()
    half = LONGEST_LINE // 2 - 3
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def shown(value: object) -> str:
    """A value as Python writes it, up to LONGEST_VALUE characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write numbers of more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
