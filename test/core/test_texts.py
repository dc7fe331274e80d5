"""What comes from outside does no harm in the text of an error."""

from __future__ import annotations

import pickle

import pytest

from distill_tracker_ros.core.texts import LONGEST_LINE, InputError, one_line, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain: 1.5 px, ä", "plain: 1.5 px, ä"),
        ("two\r\nlines\n", "two lines"),
        ("a\x1b[2Jb\0c\x85d\u2028e\ud800f", "a [2Jb c d e f"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_line(text: str, line: str) -> None:
    assert one_line(text) == line
    assert str(InputError(text)) == line


def test_a_long_text_keeps_its_ends() -> None:
    line = one_line(f"config.yaml: {'x' * 100_000}: accepted is a number")
    assert len(line) <= LONGEST_LINE
    assert line.startswith("config.yaml: xxx") and line.endswith("xxx: accepted is a number")


def test_values_are_shown_short() -> None:
    assert shown("a\n") == r"'a\n'"
    assert shown([1] * 10_000) == f"[{'1, ' * 25}1..."
    assert shown(16**9000) == "a number of thousands of digits"


def test_an_error_goes_to_another_process() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("a\nb")))) == "a b"
